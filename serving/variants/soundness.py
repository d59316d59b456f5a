"""Whether a candidate's answers are its own: asked before anything is built of it."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from release.errors import Invalid
from serving.replica.engines import Outputs, Tokens, finite
from serving.replica.engines.tokens import apart
from serving.replica.engines.torch_float import TorchFloat
from serving.variants.facts import FACTS, Facts
from serving.variants.packing import MOST_ERROR, PROBED


def check_sound(source: Path, calibration: Sequence[str], facts: Facts) -> None:
    """Refuse a candidate whose answers are no numbers, or depend on the padding beside a text.

    Args:
        source: candidate, checked.
        calibration: texts to ask about.
        facts: of the candidate.

    Raises:
        Invalid: it does, or none of the texts fits into its longest input.
    """
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    tokens = Tokens(source, config, facts.longest_input)
    ids = fitting(tokens, calibration)[:PROBED]
    parent = TorchFloat(source, 1, purpose=facts.purpose)
    for one in ids:
        alone = sound(apart([one], parent.predict(tokens.alone(one)))[0])
        padded = sound(apart([one], parent.predict(tokens.pad([one])))[0])
        error, most = float(np.abs(alone - padded).max()), float(np.abs(alone).max())
        if error > MOST_ERROR * max(1.0, most):
            raise Invalid(
                f"The model answers otherwise where padding follows a text: by {error:.2g}, of "
                f"{MOST_ERROR * max(1.0, most):.2g} at most.",
                "a model that reads the last token needs pad_token_id in config.json",
            )
    parent.close()


def fitting(tokens: Tokens, texts: Sequence[str]) -> list[list[int]]:
    """Give the ids of those texts that fit into the longest input.

    Raises:
        Invalid: none does, or one has ids that the model does not know.
    """
    try:
        ids = [item.ids for item in tokens.items(texts, spans=False)]
    except ValueError as error:
        raise Invalid(
            f"A calibration text cannot be read: {error}.", "save the model with its own tokenizer"
        ) from error
    found = [one for one in ids if 0 < len(one) <= tokens.longest]
    if not found:
        shortest = min(map(len, ids), default=0)
        raise Invalid(
            f"None of {len(ids)} calibration texts fits: the shortest has {shortest} tokens, of "
            f"{tokens.longest} at most.",
            f"see longest_input in {FACTS}, or give the suite shorter texts",
        )
    return found


def sound(found: Outputs) -> Outputs:
    """Give a model's numbers back.

    Raises:
        Invalid: one of them is none.
    """
    try:
        return finite(found)
    except ArithmeticError as error:
        raise Invalid(
            f"A text cannot be answered: {error}.", "look for NaN in the model's weights"
        ) from error
