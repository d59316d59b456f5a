"""Measure variants beside each other: the same texts, the same machine, the same minutes.

A subject is a set of plain callables, so that the harness knows nothing of engines or processes.
Rounds are interleaved and their order turns, so that whatever else the machine does hits every
subject alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

import numpy as np

from evaluation.bootstrap import (
    Floats,
    Ints,
    Resamples,
    accuracy_of,
    macro_f1_of,
    measurement,
    quantile_of,
    widened,
)
from evaluation.metrics import score
from evaluation.suites import Suite
from release.reports import Measured, Measurement, Report
from release.variants import Variant

LATENCY_TEXTS = 200
"""Texts sent one by one; the rest are sent many at once."""

CONCURRENCY = 16
"""Requests in flight while throughput is measured."""

CHUNK = 25
"""Texts after which the next subject takes its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A variant that can be asked."""

    variant: Variant
    predict: Callable[[str], str]
    """Text to label, one request."""

    predict_many: Callable[[Sequence[str], int], Sequence[str]]
    """Texts to labels, each text a request, so many in flight."""

    memory_bytes: Callable[[], int]
    """Resident memory of the process that serves it."""


@dataclass(slots=True, kw_only=True)
class Sample:
    """What one subject answered, and how fast."""

    subject: Subject
    predicted: list[str] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    """Of the first texts, one by one."""

    rates: list[float] = field(default_factory=list)
    """Texts a second of each turn with many in flight."""

    memory: int = 0


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
    chunks = [(one, False) for one in _chunks(single, CHUNK)]
    chunks += [(one, True) for one in _chunks(many, 4 * CHUNK)]
    done, total = 0, len(texts) * len(samples)
    for turn, (chunk, at_once) in enumerate(chunks):
        shift = turn % len(samples)
        for sample in samples[shift:] + samples[:shift]:
            (_ask_together if at_once else _ask_singly)(sample, chunk)
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
        sample.predicted.append(sample.subject.predict(text))
        sample.latencies_ms.append((perf_counter() - started) * 1e3)


def _ask_together(sample: Sample, texts: Sequence[str]) -> None:
    started = perf_counter()
    sample.predicted.extend(sample.subject.predict_many(texts, CONCURRENCY))
    sample.rates.append(len(texts) / (perf_counter() - started))


def report(
    sample: Sample, suite: Suite, *, confidence: float = 0.95, champion: Sample | None = None
) -> Report:
    """Turn a sample into a report, against the champion's sample where there is one."""
    mine = _Scored.of(sample, suite)
    theirs = None if champion is None else _Scored.of(champion, suite)
    return Report(
        variant=sample.subject.variant,
        suite=suite.digest,
        confidence=confidence,
        metrics=mine.metrics(confidence),
        slices=mine.slices(suite, confidence),
        champion=None if champion is None else champion.subject.variant,
        differences={} if theirs is None else mine.minus(theirs, confidence),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """A sample with its resampled statistics, metric to shape [rounds]."""

    sample: Sample
    predicted: Ints
    reference: Ints
    values: Mapping[str, float]
    resampled: Mapping[str, Floats]
    points: Mapping[str, tuple[float, int]]
    """Metrics without an interval: value and sample size."""

    @classmethod
    def of(cls, sample: Sample, suite: Suite) -> "_Scored":
        index = {label: number for number, label in enumerate(suite.labels)}
        # A label that the suite does not know is an answer all the same: a wrong one.
        predicted = np.array([index.get(label, -1) for label in sample.predicted])
        reference = np.array(suite.references("test"))
        latencies = np.array(sample.latencies_ms)
        draws, timed = Resamples.draw(len(reference)), Resamples.draw(len(latencies))
        values = {
            **score(predicted.tolist(), reference.tolist()),
            "latency_p50_ms": float(np.quantile(latencies, 0.5)),
            "latency_p99_ms": float(np.quantile(latencies, 0.99)),
        }
        resampled = {
            "accuracy": draws.of(accuracy_of(predicted == reference)),
            "macro_f1": draws.of(macro_f1_of(predicted, reference, len(suite.labels))),
            "latency_p50_ms": timed.of(quantile_of(latencies, 0.5)),
            "latency_p99_ms": timed.of(quantile_of(latencies, 0.99)),
        }
        points = {
            "size_mb": (sample.subject.variant.size_bytes / 1e6, 1),
            "memory_mb": (sample.memory / 1e6, 1),
        }
        if sample.rates:
            points["throughput_per_s"] = (median(sample.rates), len(sample.rates))
        return cls(
            sample=sample,
            predicted=predicted,
            reference=reference,
            values=values,
            resampled=resampled,
            points=points,
        )

    def size(self, metric: str) -> int:
        return len(self.sample.latencies_ms if "latency" in metric else self.reference)

    def metrics(self, confidence: float) -> Measured:
        bounded = {
            name: measurement(value, self.resampled[name], self.size(name), confidence)
            for name, value in self.values.items()
        }
        bounded["accuracy"] = widened(bounded["accuracy"], confidence)
        points = {name: Measurement(value=value, n=n) for name, (value, n) in self.points.items()}
        return {**bounded, **points}

    def minus(self, other: "_Scored", confidence: float) -> Measured:
        bounded = {
            name: measurement(
                value - other.values[name],
                self.resampled[name] - other.resampled[name],
                self.size(name),
                confidence,
            )
            for name, value in self.values.items()
        }
        points = {
            name: Measurement(value=value - other.points[name][0], n=n)
            for name, (value, n) in self.points.items()
            if name in other.points
        }
        return {**bounded, **points}

    def slices(self, suite: Suite, confidence: float) -> Mapping[str, Measured]:
        slices = {}
        for number, label in enumerate(suite.labels):
            mask = self.reference == number
            if n := int(mask.sum()):
                correct = (self.predicted == self.reference)[mask]
                draws = Resamples.draw(n).of(accuracy_of(correct))
                value = float(correct.mean())
                found = widened(measurement(value, draws, n, confidence), confidence)
                slices[f"label={label}"] = {"accuracy": found}
        return slices
