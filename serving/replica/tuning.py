"""How the compute threads are divided: few that compute wide, or many that compute apart.

Measured where it will be served, at warm-up, since it depends on the model, the engine and the
processor; with one thread there is nothing to measure.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from serving.replica.engines import Engine, Ids

Batch = dict[str, Ids]

SECONDS = 0.5
"""How long each way to divide is measured."""


class Aim(StrEnum):
    """What threads are divided for."""

    THROUGHPUT = "throughput"
    """Texts a second, with full batches."""

    LATENCY = "latency"
    """Seconds of a lone text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A division of threads."""

    runners: int = 1
    threads: int = 1
    """Of each."""

    def __str__(self) -> str:
        return f"{self.runners}×{self.threads}"


def splits(threads: int) -> list[Split]:
    """Give the ways to divide so many threads: one runner, two, or one for each."""
    counts = [1, *([2] if threads % 2 == 0 else []), threads]
    return [Split(runners=one, threads=threads // one) for one in dict.fromkeys(counts)]


def best(speeds: dict[Split, float]) -> Split:
    """Give the fastest; of equals the first, which has the fewest runners."""
    return max(speeds, key=lambda one: speeds[one])


def texts_a_second(engines: Sequence[Engine], batch: Batch, texts: int) -> float:
    """Measure how many texts all runners together compute, each with full batches.

    Args:
        engines: one for each runner.
        batch: a full one.
        texts: that are in it.
    """
    done = [0] * len(engines)
    until = time.monotonic() + SECONDS

    def work(number: int, engine: Engine) -> None:
        while time.monotonic() < until:
            engine.predict(batch)
            done[number] += texts

    started = time.monotonic()
    threads = [threading.Thread(target=work, args=one) for one in enumerate(engines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.monotonic() - started)


def lone_texts_a_second(engine: Engine, batch: Batch) -> float:
    """Measure one over the median time of a text by itself."""
    times: list[float] = []
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        started = time.monotonic()
        engine.predict(batch)
        times.append(time.monotonic() - started)
    return 1 / median(times)


def choose_split(
    threads: int, measure: Callable[[Split], float]
) -> tuple[Split, dict[Split, float]]:
    """Measure every way to divide so many threads; where there is one only, measure nothing.

    Returns:
        The best, and the speed of each.
    """
    ways = splits(threads)
    if len(ways) == 1:
        return ways[0], {}
    speeds = {way: measure(way) for way in ways}
    return best(speeds), speeds
