"""Measure variants beside each other: the same texts, the same machine, the same minutes.

`measure` asks; what the answers are worth is `evaluation.scoring`'s.

A subject is a set of plain callables, so that the harness knows nothing of engines or processes.
Rounds are interleaved and their order turns, so that whatever else the machine does hits every
subject alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

from evaluation.bootstrap import Floats
from evaluation.examples import Span
from evaluation.suites import Suite
from release.variants import Variant

LATENCY_TEXTS = 200
"""Texts sent one by one; the rest are sent many at once, or all once more if there is no rest."""

CONCURRENCY = 16
"""Requests in flight while throughput is measured."""

CHUNK = 25
"""Texts after which the next subject takes its turn."""


class Said(NamedTuple):
    """One answer of a classifier."""

    label: str
    probability: float
    """Given to the label, 0..1."""


class Marks(NamedTuple):
    """One answer of a model that names entities."""

    entities: frozenset[Span]


class Embedded(NamedTuple):
    """One answer of a model that gives vectors."""

    vector: Floats
    """Shape [width]; its length means nothing."""


Answered = Said | Marks | Embedded
"""By the task of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A variant that can be asked."""

    variant: Variant
    predict: Callable[[str], Answered]
    """Text to answer, one request."""

    predict_many: Callable[[Sequence[str], int], Sequence[Answered]]
    """Texts to answers, each text a request, so many in flight."""

    memory_bytes: Callable[[], int]
    """Resident memory of the process that serves it."""


@dataclass(slots=True, kw_only=True)
class Sample:
    """What one subject answered, and how fast."""

    subject: Subject
    answers: list[Answered] = field(default_factory=list)
    """In the order of the suite's texts; of a pair first the one, then the other."""

    latencies_ms: list[float] = field(default_factory=list)
    """Of the first texts, one by one."""

    rates: list[float] = field(default_factory=list)
    """Texts a second of each turn with many in flight."""

    memory: int = 0


Ask = Callable[[Sample, Sequence[str]], object]


def measure(
    subjects: Sequence[Subject], suite: Suite, *, told: Callable[[int, int], None] | None = None
) -> list[Sample]:
    """Put the suite's test texts to every subject in turn.

    Args:
        subjects: the variants and, where there is one, the champion.
        suite: verified suite.
        told: called with texts done and texts in all, over all subjects.
    """
    texts = suite.texts("test")
    single, many = texts[:LATENCY_TEXTS], texts[LATENCY_TEXTS:]
    samples = [Sample(subject=subject) for subject in subjects]
    chunks: list[tuple[Sequence[str], Ask]] = [(one, _ask_singly) for one in _chunks(single, CHUNK)]
    chunks += [(one, _ask_together) for one in _chunks(many, 4 * CHUNK)]
    if not many:
        chunks += [(one, _time_together) for one in _chunks(single, 4 * CHUNK)]
    done, total = 0, len(samples) * sum(len(chunk) for chunk, _ in chunks)
    for turn, (chunk, ask) in enumerate(chunks):
        shift = turn % len(samples)
        for sample in samples[shift:] + samples[:shift]:
            ask(sample, chunk)
            done += len(chunk)
            if told is not None:
                told(done, total)
    for sample in samples:
        sample.memory = sample.subject.memory_bytes()
    return samples


def _chunks(texts: Sequence[str], size: int) -> list[Sequence[str]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]


def _ask_singly(sample: Sample, texts: Sequence[str]) -> None:
    for text in texts:
        started = perf_counter()
        sample.answers.append(sample.subject.predict(text))
        sample.latencies_ms.append((perf_counter() - started) * 1e3)


def _ask_together(sample: Sample, texts: Sequence[str]) -> None:
    sample.answers.extend(_time_together(sample, texts))


def _time_together(sample: Sample, texts: Sequence[str]) -> Sequence[Answered]:
    started = perf_counter()
    said = sample.subject.predict_many(texts, CONCURRENCY)
    sample.rates.append(len(texts) / (perf_counter() - started))
    return said
