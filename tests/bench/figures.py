"""A figure with its goal, and the ratio of two ways to do the same work. No clock of its own."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table."""

    id: str
    """Group, then what: `journey.orchestration`."""

    what: str
    """For people; says the unit, and what it is a share or a multiple of."""

    value: float | None
    """None where it could not be measured; `what` then says why."""

    better: Literal["higher", "lower"]
    goal: float | None = None
    """None where nothing is demanded."""

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"{self.id} is {self.value}, which no table can compare")

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal or a value."""
        if self.value is None or self.goal is None:
            return None
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal

    def as_json(self) -> dict[str, Any]:
        """Give plain JSON data."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times as long one way takes as another."""

    value: float
    """Median of the one over the median of the other."""

    low: float
    high: float
    """The smallest and largest ratio of any single round."""

    rounds: int

    def __str__(self) -> str:
        return f"{self.low:.3g} to {self.high:.3g} in {self.rounds} rounds"


def ratio(
    one: Callable[[], object],
    other: Callable[[], object],
    rounds: int = 9,
    clock: Callable[[], float] = perf_counter,
) -> Ratio:
    """Compare two ways to do the same work, on this machine and in these minutes.

    Each is done once to warm up; then both are done in every round, and who begins turns, so that
    whatever else the machine does hits both alike.

    Args:
        one: whose time stands above the line.
        other: whose time stands below it.
        rounds: how often each is done, 1 at least.
        clock: seconds.
    """
    times: dict[int, list[float]] = {0: [], 1: []}
    for turn in range(-1, rounds):
        for who in (0, 1) if turn % 2 else (1, 0):
            started = clock()
            (one, other)[who]()
            if turn >= 0:
                times[who].append(clock() - started)
    single = [above / below for above, below in zip(times[0], times[1], strict=True)]
    value = median(times[0]) / median(times[1])
    return Ratio(value=value, low=min(single), high=max(single), rounds=rounds)


def seconds(
    work: Callable[[], object], rounds: int = 5, clock: Callable[[], float] = perf_counter
) -> float:
    """Give the median time of some work after a warm-up; only ever to be put beside another time.

    Args:
        work: what is done.
        rounds: how often, 1 at least.
        clock: seconds.
    """
    work()
    times = []
    for _ in range(rounds):
        started = clock()
        work()
        times.append(clock() - started)
    return median(times)
