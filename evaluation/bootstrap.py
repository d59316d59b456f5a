"""Intervals by the paired percentile bootstrap (Efron and Tibshirani 1993, chapter 13).

Every statistic is computed on the same resamples of the texts, so that the interval of a
difference between two variants takes into account that they answered the same texts.
"""

from collections.abc import Callable, Mapping
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

AT_ONCE = 500_000
"""Drawn texts that are looked at together where a statistic takes several arrays of them."""

ROUNDING = 1e-9


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


def drawn(indices: Ints) -> Floats:
    """Count how often each text stands in each resample; [rounds, n] to [rounds, n]."""
    rounds, n = indices.shape
    places = indices + n * np.arange(rounds)[:, None]
    counts = np.bincount(places.ravel(), minlength=rounds * n)
    return counts.reshape(rounds, n).astype(np.float64)


def sums_of(counts: Floats, indices: Ints) -> Floats:
    """Add up what the texts of each resample have; [n, columns] to [rounds, columns]."""
    parts = -(-indices.size // AT_ONCE)
    return np.concatenate([drawn(some) @ counts for some in np.array_split(indices, parts)])


def correlation_of(one: Floats, other: Floats, *, ranked: bool) -> Callable[[Ints], Floats]:
    """Pearson's correlation of each resample, or Spearman's; both arrays have shape [n].

    A resample all of one value has none: not a number. Ranks are counted off the whole sample's
    order, which is ten times as fast as to sort every resample.
    """
    both = [one, other] if ranked else [(v - v.mean()) / v.std() for v in (one, other)]

    def some(indices: Ints) -> Floats:
        counts = drawn(indices)
        first, second = (_ranks(values, counts) if ranked else values for values in both)
        return _correlations(first, second, counts)

    def statistic(indices: Ints) -> Floats:
        parts = -(-indices.size // AT_ONCE)
        return np.concatenate([some(part) for part in np.array_split(indices, parts)])

    return statistic


def _ranks(values: Floats, counts: Floats) -> Floats:
    """Rank each value [n] in each resample [rounds, n]; equal ones share their mean rank."""
    _, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    same = np.add.reduceat(counts[:, order], starts, axis=1)
    middle = np.cumsum(same, axis=1) - (same - 1) / 2
    return np.asarray(middle[:, place], dtype=np.float64)


def _correlations(one: Floats, other: Floats, counts: Floats) -> Floats:
    n = counts.shape[1]
    first = one - (counts * one).sum(axis=1, keepdims=True) / n
    second = other - (counts * other).sum(axis=1, keepdims=True) / n
    together = (counts * first * second).sum(axis=1)
    spread = np.sqrt((counts * first**2).sum(axis=1) * (counts * second**2).sum(axis=1))
    # Both are of about one, or ranks: what is smaller is what rounding leaves of a single value.
    return ratio(together, np.where(spread > ROUNDING, spread, 0.0))


def ratio(part: Floats, whole: Floats) -> Floats:
    """Divide; not a number where there is nothing to divide by."""
    found: Floats = np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)
    return found


def measurement(value: float, resampled: Floats, n: int, confidence: float) -> Measurement:
    """Put a value and the percentile interval of its resamples together.

    A resample in which the statistic is not defined, such as the recall of what it does not hold,
    says nothing and is left out.
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled[~np.isnan(resampled)], [tail, 1 - tail])
    return Measurement(value=value, n=n, low=float(low), high=float(high))


def widened(share: Measurement, confidence: float, trials: int) -> Measurement:
    """Give a share's interval at least the width of Wilson's.

    Resamples of answers that are all right are all right too: the bootstrap alone would be sure.

    Args:
        share: with the interval of its resamples.
        confidence: coverage.
        trials: what it is a share of.

    Source: E. B. Wilson, Probable inference, the law of succession, 1927.
    """
    z, n = NormalDist().inv_cdf(0.5 + confidence / 2), trials
    centre = (share.value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share.value * (1 - share.value) / n + z * z / (4 * n * n))
    low = centre - half if share.low is None else min(share.low, centre - half)
    high = centre + half if share.high is None else max(share.high, centre + half)
    return replace(share, low=max(0.0, low), high=min(1.0, high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampled:
    """A statistic's value, and its values on every resample, shape [rounds]."""

    value: float
    draws: Floats
    n: int
    trials: int = 0
    """What it is a share of, whose interval is at least as wide as Wilson's; 0 for no share."""

    def measured(self, confidence: float) -> Measurement:
        """Give the value with its interval."""
        found = measurement(self.value, self.draws, self.n, confidence)
        return widened(found, confidence, self.trials) if self.trials else found

    def minus(self, other: "Resampled", confidence: float) -> Measurement:
        """Give the difference to the same statistic of another subject, paired by resample."""
        value, draws = self.value - other.value, self.draws - other.draws
        return measurement(value, draws, min(self.n, other.n), confidence)


Statistics = Mapping[str, Resampled]
