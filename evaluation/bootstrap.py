"""Intervals by the paired percentile bootstrap (Efron and Tibshirani 1993, chapter 13).

Every statistic is computed on the same resamples of the texts, so that the interval of a
difference between two variants takes into account that they answered the same texts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from release.reports import Measurement

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SEED = 20_240_501
"""Fixed, so that the same sample always has the same interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resamples:
    """Resampled text indices, shape [rounds, n]."""

    indices: Ints

    @classmethod
    def draw(cls, n: int, rounds: int = 1_000) -> "Resamples":
        """Draw `rounds` resamples of `n` texts with replacement."""
        generator = np.random.default_rng(SEED)
        return cls(indices=generator.integers(0, n, size=(rounds, n)))

    def of(self, statistic: Callable[[Ints], Floats]) -> Floats:
        """Compute a statistic of every resample; `statistic` maps [rounds, n] to [rounds]."""
        return statistic(self.indices)


def accuracy_of(correct: NDArray[np.bool_]) -> Callable[[Ints], Floats]:
    """Accuracy of each resample; `correct` has shape [n]."""
    return lambda indices: np.asarray(correct[indices].mean(axis=1), dtype=np.float64)


def macro_f1_of(predicted: Ints, reference: Ints, labels: int) -> Callable[[Ints], Floats]:
    """Macro-averaged F1 of each resample; both arrays have shape [n]."""

    def statistic(indices: Ints) -> Floats:
        said, true = predicted[indices], reference[indices]
        scores = np.zeros((labels, len(indices)))
        present = np.zeros((labels, len(indices)), dtype=bool)
        for label in range(labels):
            hits = ((said == label) & (true == label)).sum(axis=1)
            total = (said == label).sum(axis=1) + (true == label).sum(axis=1)
            present[label] = total > 0
            scores[label] = 2 * hits / np.maximum(total, 1)
        return np.asarray(scores.sum(axis=0) / present.sum(axis=0), dtype=np.float64)

    return statistic


def quantile_of(values: Floats, q: float) -> Callable[[Ints], Floats]:
    """Quantile `q` (0..1) of each resample; `values` has shape [n]."""
    return lambda indices: np.asarray(np.quantile(values[indices], q, axis=1), dtype=np.float64)


def measurement(value: float, resampled: Floats, n: int, confidence: float) -> Measurement:
    """Put a value and the percentile interval of its resamples together."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Measurement(value=value, n=n, low=float(low), high=float(high))


def widened(share: Measurement, confidence: float) -> Measurement:
    """Give a share's interval at least the width of Wilson's.

    Resamples of answers that are all right are all right too: the bootstrap alone would be sure.

    Source: E. B. Wilson, Probable inference, the law of succession, 1927.
    """
    z, n = NormalDist().inv_cdf(0.5 + confidence / 2), share.n
    centre = (share.value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share.value * (1 - share.value) / n + z * z / (4 * n * n))
    low = centre - half if share.low is None else min(share.low, centre - half)
    high = centre + half if share.high is None else max(share.high, centre + half)
    return replace(share, low=max(0.0, low), high=min(1.0, high))
