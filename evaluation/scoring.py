"""Turn what a subject answered into a report: metrics, slices, and what the task shows besides.

How good the answers are is for the task's own module to say. Everything is computed on the same
resamples of the texts, so that differences are paired.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from evaluation.bootstrap import Floats, Resampled, Resamples, Statistics, quantile_of
from evaluation.classes import score_classes
from evaluation.entities import score_entities
from evaluation.harness import Answered, Sample
from evaluation.scores import Scores
from evaluation.suites import Suite
from evaluation.vectors import score_vectors
from release.reports import Measured, Measurement, Profile, Report
from release.variants import Task

FEWEST_TIMED = 5
"""Texts of a slice below which a latency is not given."""

SCORERS: Mapping[Task, Callable[[Sequence[Answered], Suite], Scores]] = {
    Task.TEXT_CLASSIFICATION: score_classes,
    Task.TOKEN_CLASSIFICATION: score_entities,
    Task.FEATURE_EXTRACTION: score_vectors,
}


def report(
    sample: Sample, suite: Suite, *, confidence: float = 0.95, champion: Sample | None = None
) -> Report:
    """Turn a sample into a report, against the champion's sample where there is one.

    Args:
        sample: what the challenger answered.
        suite: that it was asked.
        confidence: coverage of every interval.
        champion: what the champion answered in the same turns.

    Raises:
        Invalid: a subject's answers are not of the suite's task.
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
        pairs=own.pairs,
        suite=suite.digest,
        confidence=confidence,
        labels=suite.labels,
        task=suite.task,
        champion=None if theirs is None else theirs.profile(confidence),
        differences={} if theirs is None else mine.minus(theirs, confidence),
        slice_differences={} if theirs is None else mine.slices_minus(theirs, confidence),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A sample, scored and resampled."""

    sample: Sample
    scores: Scores
    statistics: Statistics
    """How good and how fast."""

    slices: Mapping[str, Statistics]

    @classmethod
    def of(cls, sample: Sample, suite: Suite) -> "Scored":
        """Score a sample of a suite's test texts."""
        scores = SCORERS[suite.task](sample.answers, suite)
        latencies = np.array(sample.latencies_ms)
        return cls(
            sample=sample,
            scores=scores,
            statistics={**scores.statistics, **_timed(latencies)},
            slices=_slices(scores, suite, latencies),
        )

    def profile(self, confidence: float) -> Profile:
        """Give everything that is known of the subject alone."""
        points = {
            name: Measurement(value=value, n=n) for name, (value, n) in self._points().items()
        }
        return Profile(
            variant=self.sample.subject.variant,
            metrics=_measured(self.statistics, confidence) | points,
            slices={name: _measured(one, confidence) for name, one in self.slices.items()},
            confusion=self.scores.confusion,
            calibration=self.scores.calibration,
            pairs=self.scores.pairs,
        )

    def minus(self, other: "Scored", confidence: float) -> Measured:
        """Give the differences of all metrics to another subject's."""
        theirs = other._points()
        points = {
            name: Measurement(value=value - theirs[name][0], n=n)
            for name, (value, n) in self._points().items()
            if name in theirs
        }
        return _differences(self.statistics, other.statistics, confidence) | points

    def slices_minus(self, other: "Scored", confidence: float) -> Mapping[str, Measured]:
        """Give the differences of all slices to another subject's."""
        return {
            name: _differences(mine, other.slices.get(name, {}), confidence)
            for name, mine in self.slices.items()
        }

    def _points(self) -> Mapping[str, tuple[float, int]]:
        """Give the metrics without an interval: value and sample size."""
        sample = self.sample
        points = {
            **self.scores.points,
            "size_mb": (sample.subject.variant.size_bytes / 1e6, 1),
            "memory_mb": (sample.memory / 1e6, 1),
        }
        if sample.rates:
            points["throughput_per_s"] = (median(sample.rates), len(sample.rates))
        return points


def _measured(statistics: Statistics, confidence: float) -> dict[str, Measurement]:
    return {name: one.measured(confidence) for name, one in statistics.items()}


def _differences(mine: Statistics, theirs: Statistics, confidence: float) -> dict[str, Measurement]:
    return {
        name: one.minus(theirs[name], confidence) for name, one in mine.items() if name in theirs
    }


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


def _slices(scores: Scores, suite: Suite, latencies: Floats) -> Mapping[str, Statistics]:
    """Add to each slice its latencies, of the texts that were asked one by one."""
    timed = {}
    for name, mask in suite.text_masks("test").items():
        mine = latencies[mask[: len(latencies)]]
        timed[name] = _timed(mine) if len(mine) >= FEWEST_TIMED else {}
    order = [*scores.slices, *(name for name in timed if name not in scores.slices)]
    found = {name: {**scores.slices.get(name, {}), **timed.get(name, {})} for name in order}
    return {name: one for name, one in found.items() if one}
