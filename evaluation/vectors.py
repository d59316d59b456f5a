"""Score answers that are vectors: how their cosines go with labelled similarities."""

from collections.abc import Sequence

import numpy as np

from evaluation.bootstrap import Floats, Resampled, Resamples, Statistics, correlation_of
from evaluation.harness import Answered, Embedded
from evaluation.metrics import correlate
from evaluation.scores import Scores, of_kind
from evaluation.suites import Suite

FEWEST_PAIRS = 10
"""Pairs of a slice below which a correlation is not given: of two it is always perfect."""

MOST_SHOWN = 400
"""Pairs that a report keeps."""


def score_vectors(answers: Sequence[Answered], suite: Suite) -> Scores:
    """Score a model's vectors of a suite's test pairs."""
    cosines = cosines_of(
        np.array([one.vector for one in of_kind(answers, Embedded)], dtype=np.float64)
    )
    labelled = np.array(suite.similarities("test"))
    return Scores(
        statistics=_statistics(cosines, labelled),
        slices={
            name: _statistics(cosines[mask], labelled[mask])
            for name, mask in suite.masks("test").items()
            if mask.sum() >= FEWEST_PAIRS
        },
        pairs=_shown(labelled, cosines),
    )


def cosines_of(vectors: Floats) -> Floats:
    """Cosine of each two vectors that follow each other, [2 n, width] to [n].

    Not a number where a vector has no direction.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray((directions[0::2] * directions[1::2]).sum(axis=1), dtype=np.float64)


def _statistics(cosines: Floats, labelled: Floats) -> Statistics:
    """Correlate; nothing correlates with what is always the same, or is no number."""
    if not np.isfinite(cosines).all() or np.ptp(cosines) == 0 or np.ptp(labelled) == 0:
        return {}
    values, n = correlate(cosines.tolist(), labelled.tolist()), len(labelled)
    draws = Resamples.draw(n)
    return {
        name: Resampled(
            value=values[name],
            draws=draws.of(correlation_of(cosines, labelled, ranked=name == "spearman")),
            n=n,
        )
        for name in ("spearman", "pearson")
    }


def _shown(labelled: Floats, cosines: Floats) -> tuple[tuple[float, float], ...]:
    """Choose pairs spread evenly over the suite, the same of every subject."""
    count = min(MOST_SHOWN, len(labelled))
    kept = np.linspace(0, len(labelled) - 1, count).round().astype(np.int64)
    points = zip(labelled[kept].tolist(), cosines[kept].tolist(), strict=True)
    return tuple((one, round(other, 4)) for one, other in points if np.isfinite(other))
