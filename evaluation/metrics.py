"""Scores of predictions, as metrics of the `evaluate` library that need no download."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import datasets
from sklearn.metrics import accuracy_score, f1_score


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

_FEATURES = datasets.Features(
    {"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}
)


class _Local(evaluate.Metric):  # type: ignore[misc]
    """A metric that lives here instead of on a hub."""

    about: ClassVar[str]

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.about, citation="", inputs_description="", features=_FEATURES
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


def score(predictions: list[int], references: list[int]) -> dict[str, float]:
    """Score predicted label indices, shape [n], against the true ones, shape [n]."""
    both = evaluate.combine([Accuracy(), MacroF1()])
    scores: dict[str, float] = both.compute(predictions=predictions, references=references)
    return scores
