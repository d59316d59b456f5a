"""What a replica says, as the evaluation takes it. No Prefect."""

import numpy as np

from evaluation.examples import Span
from evaluation.harness import Answered, Embedded, Marks, Said
from serving.client import Naming, Prediction, Result


def answered(result: Result) -> Answered:
    """Give what a model found in one text to the evaluation."""
    if isinstance(result, Prediction):
        return Said(result.label, result.probability)
    if isinstance(result, Naming):
        return Marks(frozenset(Span(one.start, one.end, one.label) for one in result.entities))
    return Embedded(np.frombuffer(result.data, dtype="<f4").astype(np.float64))
