"""Score answers that are entities: precision, recall and F1 of exact matches.

An entity is right where its first and last character and its label are right, as seqeval has it of
words. Counts are added up over all texts (micro average), and texts are resampled whole.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

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
    labels = [_of_label(named, marked, label) for label in suite.labels]
    counts = _counts(named, marked)
    whole, *by_label = _statistics(np.stack([counts, *labels], axis=1))
    scored = _scored(named, marked)
    slices = {f"label={label}": one for label, one in zip(suite.labels, by_label, strict=True)}
    for name, mask in suite.masks("test").items():
        (slices[name],) = _statistics(counts[mask][:, None])
    return Scores(
        statistics={name: replace(one, value=scored[name]) for name, one in whole.items()},
        slices=slices,
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
        (int(one in said), int(one in true))
        for said, true in zip(named, marked, strict=True)
        for one in said | true
    ]
    if not both:
        return {}
    scores = score_found([said for said, _ in both], [true for _, true in both])
    return {f"entity_{name}": value for name, value in scores.items()}


def _rates(sums: Floats) -> dict[str, Floats]:
    """Precision, recall and F1 of summed counts, [rounds, 3] to [rounds] each."""
    hits, named, marked = sums.T
    return {
        "entity_f1": ratio(2 * hits, named + marked),
        "entity_precision": ratio(hits, named),
        "entity_recall": ratio(hits, marked),
    }


def _statistics(counts: Floats) -> list[Statistics]:
    """Rate texts and their resamples, [n, kinds, 3], each kind of entity for itself.

    All kinds are added up at once: to draw the texts is most of the work.
    """
    n, kinds, _ = counts.shape
    flat = counts.reshape(n, kinds * 3)
    draws = Resamples.draw(n).of(lambda indices: sums_of(flat, indices)).reshape(-1, kinds, 3)
    return [_statistic(counts[:, kind], draws[:, kind]) for kind in range(kinds)]


def _statistic(counts: Floats, draws: Floats) -> Statistics:
    """Rate one kind of entity; what is not defined is absent."""
    values, drawn = _rates(counts.sum(axis=0, keepdims=True)), _rates(draws)
    beneath = {
        "entity_f1": (counts[:, NAMED] + counts[:, MARKED]) / 2,
        "entity_precision": counts[:, NAMED],
        "entity_recall": counts[:, MARKED],
    }
    return {
        name: Resampled(
            value=float(values[name][0]),
            draws=drawn[name],
            n=int((of > 0).sum()),
            trials=int(np.ceil(of.sum())),
        )
        for name, of in beneath.items()
        if of.any()
    }
