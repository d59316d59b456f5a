"""Score answers that are labels: accuracy and F1, confusion, calibration."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.bootstrap import (
    Floats,
    Ints,
    Resampled,
    Resamples,
    Statistics,
    accuracy_of,
    macro_f1_of,
)
from evaluation.harness import Answered, Said
from evaluation.metrics import score
from evaluation.scores import Scores, of_kind
from evaluation.suites import Suite
from release.reports import Bin

Mask = NDArray[np.bool_]

BINS = 10
"""Equal parts of 0..1 into which answers are sorted by their confidence."""


def score_classes(answers: Sequence[Answered], suite: Suite) -> Scores:
    """Score a classifier's answers to a suite's test texts."""
    said = of_kind(answers, Said)
    index = {label: number for number, label in enumerate(suite.labels)}
    # A label that the suite does not know is an answer all the same: a wrong one.
    predicted = np.array([index.get(one.label, -1) for one in said])
    reference = np.array(suite.references("test"))
    correct = predicted == reference
    probabilities = np.clip([one.probability for one in said], 0.0, 1.0)
    return Scores(
        statistics=_statistics(predicted, reference, len(suite.labels)),
        slices={name: _slice(correct[mask]) for name, mask in suite.masks("test").items()},
        points={"calibration_error": (_calibration_error(probabilities, correct), len(correct))},
        confusion=_confusion(predicted, reference, len(suite.labels)),
        calibration=_bins(probabilities, correct),
    )


def _statistics(predicted: Ints, reference: Ints, labels: int) -> Statistics:
    scores, n = score(predicted.tolist(), reference.tolist()), len(reference)
    draws = Resamples.draw(n)
    accuracy = draws.of(accuracy_of(predicted == reference))
    macro_f1 = draws.of(macro_f1_of(predicted, reference, labels))
    return {
        "accuracy": Resampled(value=scores["accuracy"], draws=accuracy, n=n, trials=n),
        "macro_f1": Resampled(value=scores["macro_f1"], draws=macro_f1, n=n),
    }


def _slice(correct: Mask) -> Statistics:
    n = len(correct)
    draws = Resamples.draw(n).of(accuracy_of(correct))
    return {"accuracy": Resampled(value=float(correct.mean()), draws=draws, n=n, trials=n)}


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
