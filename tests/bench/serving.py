"""Our scheduler and engine beside what nobody can do who does not know the whole trace beforehand.

One thread, in one process, 64 requests of one text under way at a time, tokenising included. The
padded ceiling sorts the whole trace by length and lays it out in batches of 2,048 padded tokens;
the packed one fills rows from the whole trace. Processor time, so that it does not matter who else
computes.
"""

import json
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from release.variants import Candidate, Recipe
from serving.replica.answers import ClassReader
from serving.replica.batching import Scheduler
from serving.replica.choosing import Layout, Padded, Waiting, choose
from serving.replica.engines import Engine, Tokens, load
from serving.replica.engines.openvino_graph import OpenVinoGraph
from serving.replica.jobs import Job
from serving.replica.messages import Answer, Problem
from serving.variants.build import build
from serving.variants.quantize import quantize
from serving.variants.store import Store
from tests.bench.figures import Figure, ratio
from tests.bench.variants import LABELS, a_candidate

TEXTS = 2_000
MEDIAN_WORDS, SPREAD, MOST_WORDS = 24, 0.75, 200
"""Of the lengths, which are log-normal: a mean of 32 words."""

LONGEST = 256
UNDER_WAY = 64
ROUNDS = 3
WORDS = ["the", "model", "is", "late", "and", "its", "canary", "fails", "when", "nobody", "asks"]


def trace(texts: int, seed: int) -> list[str]:
    """Give texts of random lengths, the same ones for the same seed."""
    chance = random.Random(seed)
    base = [chance.lognormvariate(0, SPREAD) * MEDIAN_WORDS for _ in range(texts)]
    return [" ".join(chance.choices(WORDS, k=max(1, min(MOST_WORDS, round(n))))) for n in base]


def figures() -> Iterator[Figure]:
    """Answer the trace in each way, and compare."""
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        source = a_candidate(Path(folder) / "candidate", LONGEST)
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
        calibration, texts = trace(64, 1), trace(TEXTS, 2)
        store, recipe = Store(Path(folder) / "store"), Recipe.parse("openvino-int8")
        built = build(recipe, Candidate(model="minilm", version=1), source, calibration, store)
        ours = load(store.path(built.variant.digest), built.manifest, 1)
        tokens = Tokens(source, config, LONGEST, built.manifest.rows)
        quantize(source, Path(folder), calibration, LONGEST, pack=False)
        padded = OpenVinoGraph(Path(folder), 1)
        sorts = _offline(padded, Tokens(source, config, LONGEST), Padded(longest=LONGEST), texts)
        fills = _offline(ours, tokens, tokens.layout, texts)
        yield _figure("padded", sorts, ours, tokens, texts, goal=1.0)
        yield _figure("packed", fills, ours, tokens, texts, goal=0.9)


def _figure(
    name: str,
    ceiling: Callable[[], object],
    engine: Engine,
    tokens: Tokens,
    texts: Sequence[str],
    *,
    goal: float,
) -> Figure:
    found = ratio(ceiling, lambda: online(engine, tokens, texts), ROUNDS, time.process_time)
    return Figure(
        id=f"serving.over-{name}-ceiling",
        what=f"texts a second of processor time, ours over the {name} ceiling ({found})",
        value=found.value,
        better="higher",
        goal=goal,
    )


def _offline(
    engine: Engine, tokens: Tokens, layout: Layout, texts: Sequence[str]
) -> Callable[[], None]:
    """Divide the whole trace, the shortest first; that alone is not counted."""
    lengths = [len(ids) for ids in tokens.encode(texts)]
    left = sorted(range(len(texts)), key=lambda place: lengths[place])
    batches: list[list[int]] = []
    while left:
        places = choose([Waiting(tokens=lengths[one]) for one in left], layout)
        batches.append([left[place] for place in places])
        left = [one for place, one in enumerate(left) if place not in places]

    def work() -> None:
        ids = tokens.encode(texts)
        for batch in batches:
            engine.predict(tokens.lay([ids[place] for place in batch]))

    return work


def online(engine: Engine, tokens: Tokens, texts: Sequence[str]) -> list[Answer | Problem]:
    """Ask for each text by itself, so many at a time, in the order of the trace."""
    gate, done = threading.Semaphore(UNDER_WAY), []

    def answered(reply: Answer | Problem) -> None:
        done.append(reply)
        gate.release()

    scheduler = Scheduler([engine], tokens, ClassReader(LABELS))
    for number, text in enumerate(texts):
        gate.acquire()
        scheduler.submit(
            Job(id=number, texts=[text], deadline=time.monotonic() + 600, answer=answered)
        )
    scheduler.drain(600)
    return done
