"""Turn what a subject answered into a report: metrics, slices, confusion, calibration.

Everything is computed on the same resamples of the texts, so that differences are paired.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

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
from evaluation.harness import Sample
from evaluation.metrics import score
from evaluation.suites import Suite
from release.reports import Bin, Measured, Measurement, Profile, Report

Mask = NDArray[np.bool_]

BINS = 10
"""Equal parts of 0..1 into which answers are sorted by their confidence."""

FEWEST_TIMED = 5
"""Texts of a slice below which a latency is not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampled:
    """A statistic's value, and its values on every resample, shape [rounds]."""

    value: float
    draws: Floats
    n: int

    def measured(self, confidence: float, *, share: bool = False) -> Measurement:
        """Give the value with its interval; a share's is at least as wide as Wilson's."""
        found = measurement(self.value, self.draws, self.n, confidence)
        return widened(found, confidence) if share else found

    def minus(self, other: "Resampled", confidence: float) -> Measurement:
        """Give the difference to the same statistic of another subject, paired by resample."""
        value, draws = self.value - other.value, self.draws - other.draws
        return measurement(value, draws, self.n, confidence)


Statistics = Mapping[str, Resampled]


def report(
    sample: Sample, suite: Suite, *, confidence: float = 0.95, champion: Sample | None = None
) -> Report:
    """Turn a sample into a report, against the champion's sample where there is one.

    Args:
        sample: what the challenger answered.
        suite: that it was asked.
        confidence: coverage of every interval.
        champion: what the champion answered in the same turns.
    """
    mine = Scored.of(sample, suite)
    theirs = None if champion is None else Scored.of(champion, suite)
    own = mine.profile(confidence)
    return Report(
        variant=own.variant,
        metrics=own.metrics,
        slices=own.slices,
        confusion=own.confusion,
        calibration=own.calibration,
        suite=suite.digest,
        confidence=confidence,
        labels=suite.labels,
        champion=None if theirs is None else theirs.profile(confidence),
        differences={} if theirs is None else mine.minus(theirs, confidence),
        slice_differences={} if theirs is None else mine.slices_minus(theirs, confidence),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A sample, scored and resampled."""

    sample: Sample
    predicted: Ints
    reference: Ints
    statistics: Statistics
    slices: Mapping[str, Statistics]
    labels: int

    @classmethod
    def of(cls, sample: Sample, suite: Suite) -> "Scored":
        """Score a sample of a suite's test texts."""
        index = {label: number for number, label in enumerate(suite.labels)}
        # A label that the suite does not know is an answer all the same: a wrong one.
        predicted = np.array([index.get(said.label, -1) for said in sample.answers])
        reference = np.array(suite.references("test"))
        latencies = np.array(sample.latencies_ms)
        return cls(
            sample=sample,
            predicted=predicted,
            reference=reference,
            statistics=_statistics(sample, predicted, reference, len(suite.labels)),
            slices={
                name: _slice(mask, predicted == reference, latencies)
                for name, mask in suite.masks("test").items()
            },
            labels=len(suite.labels),
        )

    @property
    def correct(self) -> Mask:
        """Which answers are right, shape [n]."""
        right: Mask = self.predicted == self.reference
        return right

    def profile(self, confidence: float) -> Profile:
        """Give everything that is known of the subject alone."""
        points = {
            name: Measurement(value=value, n=n)
            for name, (value, n) in _points(self.sample, self.correct).items()
        }
        return Profile(
            variant=self.sample.subject.variant,
            metrics=_measured(self.statistics, confidence) | points,
            slices={name: _measured(one, confidence) for name, one in self.slices.items()},
            confusion=_confusion(self.predicted, self.reference, self.labels),
            calibration=_bins(_probabilities(self.sample), self.correct),
        )

    def minus(self, other: "Scored", confidence: float) -> Measured:
        """Give the differences of all metrics to another subject's."""
        theirs = _points(other.sample, other.correct)
        points = {
            name: Measurement(value=value - theirs[name][0], n=n)
            for name, (value, n) in _points(self.sample, self.correct).items()
            if name in theirs
        }
        return _differences(self.statistics, other.statistics, confidence) | points

    def slices_minus(self, other: "Scored", confidence: float) -> Mapping[str, Measured]:
        """Give the differences of all slices to another subject's."""
        return {
            name: _differences(mine, other.slices[name], confidence)
            for name, mine in self.slices.items()
        }


def _measured(statistics: Statistics, confidence: float) -> dict[str, Measurement]:
    return {
        name: one.measured(confidence, share=name == "accuracy") for name, one in statistics.items()
    }


def _differences(mine: Statistics, theirs: Statistics, confidence: float) -> dict[str, Measurement]:
    return {
        name: one.minus(theirs[name], confidence) for name, one in mine.items() if name in theirs
    }


def _statistics(sample: Sample, predicted: Ints, reference: Ints, labels: int) -> Statistics:
    scores = score(predicted.tolist(), reference.tolist())
    draws = Resamples.draw(len(reference))
    found = {
        "accuracy": (scores["accuracy"], draws.of(accuracy_of(predicted == reference))),
        "macro_f1": (scores["macro_f1"], draws.of(macro_f1_of(predicted, reference, labels))),
    }
    quality = {
        name: Resampled(value=value, draws=drawn, n=len(reference))
        for name, (value, drawn) in found.items()
    }
    return {**quality, **_timed(np.array(sample.latencies_ms))}


def _timed(latencies: Floats) -> Statistics:
    draws = Resamples.draw(len(latencies))
    return {
        f"latency_p{percent}_ms": Resampled(
            value=float(np.quantile(latencies, percent / 100)),
            draws=draws.of(quantile_of(latencies, percent / 100)),
            n=len(latencies),
        )
        for percent in (50, 99)
    }


def _slice(mask: Mask, correct: Mask, latencies: Floats) -> Statistics:
    """Score the texts of a slice; of latencies only those that were asked one by one."""
    mine = correct[mask]
    draws = Resamples.draw(len(mine)).of(accuracy_of(mine))
    accuracy = Resampled(value=float(mine.mean()), draws=draws, n=len(mine))
    timed = latencies[mask[: len(latencies)]]
    return {
        "accuracy": accuracy,
        **(_timed(timed) if len(timed) >= FEWEST_TIMED else {}),
    }


def _points(sample: Sample, correct: Mask) -> Mapping[str, tuple[float, int]]:
    """Give the metrics without an interval: value and sample size."""
    points = {
        "calibration_error": (_calibration_error(_probabilities(sample), correct), len(correct)),
        "size_mb": (sample.subject.variant.size_bytes / 1e6, 1),
        "memory_mb": (sample.memory / 1e6, 1),
    }
    if sample.rates:
        points["throughput_per_s"] = (median(sample.rates), len(sample.rates))
    return points


def _probabilities(sample: Sample) -> Floats:
    return np.clip([said.probability for said in sample.answers], 0.0, 1.0)


def _confusion(predicted: Ints, reference: Ints, labels: int) -> tuple[tuple[int, ...], ...]:
    counts = np.zeros((labels, labels + 1), dtype=np.int64)
    # -1, an answer that is no label, lands in the last column.
    np.add.at(counts, (reference, predicted), 1)
    return tuple(tuple(map(int, row)) for row in counts)


def _calibration_error(probabilities: Floats, correct: Mask) -> float:
    """Expected calibration error (Naeini, Cooper and Hauskrecht 2015).

    It is biased upwards on few texts, and resampling repeats the bias: it is given no interval.
    """
    gaps = [one.n * abs(one.accuracy - one.confidence) for one in _bins(probabilities, correct)]
    return sum(gaps) / len(correct)


def _bins(probabilities: Floats, correct: Mask) -> tuple[Bin, ...]:
    bins = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    return tuple(
        Bin(
            n=int(mine.sum()),
            confidence=float(probabilities[mine].mean()),
            accuracy=float(correct[mine].mean()),
        )
        for number in range(BINS)
        if (mine := bins == number).any()
    )
