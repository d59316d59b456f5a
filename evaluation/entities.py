"""Score answers that are entities: precision, recall and F1 of exact matches.

An entity is right where its first and last character and its label are right, as seqeval has it of
words. Counts are added up over all texts (micro average), and texts are resampled whole.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from evaluation.bootstrap import Floats, Resampled, Resamples, Statistics, ratio, sums_of
from evaluation.examples import Span
from evaluation.harness import Answered, Marks
from evaluation.metrics import score_found
from evaluation.scores import Scores, of_kind
from evaluation.suites import Suite

HITS, NAMED, MARKED = range(3)
"""Columns of counts: entities that the model found, that it named, that there are."""


def score_entities(answers: Sequence[Answered], suite: Suite) -> Scores:
    """Score what a model named in a suite's test texts."""
    named = [one.entities for one in of_kind(answers, Marks)]
    marked = suite.marks("test")
    counts = _counts(named, marked)
    slices = {f"label={label}": _of_label(named, marked, label) for label in suite.labels}
    slices |= {name: counts[mask] for name, mask in suite.masks("test").items()}
    return Scores(
        statistics=_statistics(counts, _scored(named, marked)),
        slices={name: _statistics(some, _ratios(some)) for name, some in slices.items()},
    )


Entities = Sequence[frozenset[Span]]
"""Of each text."""


def _counts(named: Entities, marked: Entities) -> Floats:
    """Count hits, what was named and what is marked in each text, shape [n, 3]."""
    rows = [
        (len(said & true), len(said), len(true)) for said, true in zip(named, marked, strict=True)
    ]
    return np.array(rows, dtype=np.float64)


def _of_label(named: Entities, marked: Entities, label: str) -> Floats:
    def only(entities: Iterable[Span]) -> frozenset[Span]:
        return frozenset(one for one in entities if one.label == label)

    return _counts([only(one) for one in named], [only(one) for one in marked])


def _scored(named: Entities, marked: Entities) -> dict[str, float]:
    """Let the library say it of every entity that was named or is marked."""
    both = [
        (one in said, one in true)
        for said, true in zip(named, marked, strict=True)
        for one in said | true
    ]
    scores = (
        score_found([int(said) for said, _ in both], [int(true) for _, true in both])
        if both
        else {}
    )
    return {f"entity_{name}": value for name, value in scores.items()}


def _ratios(counts: Floats) -> dict[str, float]:
    return {
        name: float(value[0]) for name, value in _rates(counts.sum(axis=0, keepdims=True)).items()
    }


def _rates(sums: Floats) -> dict[str, Floats]:
    """Precision, recall and F1 of summed counts, [rounds, 3] to [rounds] each."""
    hits, named, marked = sums.T
    return {
        "entity_f1": ratio(2 * hits, named + marked),
        "entity_precision": ratio(hits, named),
        "entity_recall": ratio(hits, marked),
    }


def _statistics(counts: Floats, values: dict[str, float]) -> Statistics:
    """Put the values of some texts and their resamples together; what is not defined is absent."""
    draws = _rates(Resamples.draw(len(counts)).of(lambda indices: sums_of(counts, indices)))
    beneath = {
        "entity_f1": (counts[:, NAMED] + counts[:, MARKED]) / 2,
        "entity_precision": counts[:, NAMED],
        "entity_recall": counts[:, MARKED],
    }
    return {
        name: Resampled(
            value=values[name],
            draws=draws[name],
            n=int((of > 0).sum()),
            trials=int(np.ceil(of.sum())),
        )
        for name, of in beneath.items()
        if of.any()
    }
