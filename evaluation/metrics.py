"""Scores of predictions, as metrics of the `evaluate` library that need no download."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import datasets
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Make a package look absent for a while."""
    known = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if known is None:
            del sys.modules[name]
        else:
            sys.modules[name] = known


# `evaluate` imports the pipelines of transformers, and torch with them, for evaluators that nobody
# here uses: seven of its eight seconds. It copes with their absence.
with _hidden("transformers"):
    import evaluate


class _Local(evaluate.Metric):  # type: ignore[misc]
    """A metric that lives here instead of on a hub."""

    about: ClassVar[str]
    kind: ClassVar[str] = "int32"

    def _info(self) -> evaluate.MetricInfo:
        kinds = {name: datasets.Value(self.kind) for name in ("predictions", "references")}
        return evaluate.MetricInfo(
            description=self.about,
            citation="",
            inputs_description="",
            features=datasets.Features(kinds),
        )


class Accuracy(_Local):
    """Part of the texts that got their label, 0..1."""

    about = "Part of the texts that got their label."

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class MacroF1(_Local):
    """Mean over the labels of the harmonic mean of precision and recall, 0..1."""

    about = "Unweighted mean of the labels' F1."

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        score = f1_score(references, predictions, average="macro", zero_division=0.0)
        return {"macro_f1": float(score)}


class Found(_Local):
    """Precision, recall and F1 of what was found, each 0..1; 0 where there is nothing to divide."""

    about = "Precision, recall and F1 of 1 against 0."

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        precision, recall, f1, _ = precision_recall_fscore_support(
            references, predictions, average="binary", zero_division=0.0
        )
        return {"precision": float(precision), "recall": float(recall), "f1": float(f1)}


class Correlation(_Local):
    """Spearman's and Pearson's correlation, each -1..1."""

    about = "Rank correlation and linear correlation."
    kind = "float64"

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {
            "spearman": float(spearmanr(predictions, references).statistic),
            "pearson": float(pearsonr(predictions, references).statistic),
        }


def score(predictions: list[int], references: list[int]) -> dict[str, float]:
    """Score predicted label indices, shape [n], against the true ones, shape [n]."""
    both = evaluate.combine([Accuracy(), MacroF1()])
    scores: dict[str, float] = both.compute(predictions=predictions, references=references)
    return scores


def score_found(predictions: list[int], references: list[int]) -> dict[str, float]:
    """Score what was found (1) against what there is (1), both of shape [n]."""
    scores: dict[str, float] = Found().compute(predictions=predictions, references=references)
    return scores


def correlate(predictions: list[float], references: list[float]) -> dict[str, float]:
    """Correlate two series of shape [n], neither of which is all of one value."""
    scores: dict[str, float] = Correlation().compute(predictions=predictions, references=references)
    return scores
