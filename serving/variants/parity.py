"""How far a variant is from its parent, text by text."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from release.variants import Manifest, Task
from serving.replica.engines import Engine, Outputs, Tokens, load
from serving.replica.engines.tokens import apart
from serving.replica.engines.torch_float import TorchFloat
from serving.variants.packing import gap
from serving.variants.soundness import fitting, sound

TEXTS = 48
"""Texts that both answer."""


def parity(
    manifest: Manifest, source: Path, place: Path, calibration: Sequence[str]
) -> Mapping[str, float]:
    """Compare what a variant finds, as it is served, with what its parent does, each text alone.

    Returns:
        The number of `texts`, and `max_logit_error` and `argmax_agreement` (0..1), of texts or of
        tokens; or of vectors `max_vector_error` and `min_cosine`. Where texts are packed also
        `packing_error`, what packing alone does to the parent's answers in fp32.

    Raises:
        Invalid: an answer is no number.
    """
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    tokens = Tokens(place, config, manifest.longest_input, manifest.rows)
    ids = fitting(tokens, calibration)[-TEXTS:]
    parent = TorchFloat(source, 1, purpose=manifest.purpose)
    variant = load(place, manifest, 1)
    wanted = [apart([one], parent.predict(tokens.alone(one)))[0] for one in ids]
    found = _found(variant, tokens, ids)
    variant.close()
    packing = gap(source, tokens, ids, manifest.purpose) if manifest.rows else None
    return {
        **({} if packing is None else {"packing_error": packing}),
        **_compared(sound(np.vstack(wanted)), sound(np.vstack(found)), manifest.purpose.task),
        "texts": float(len(ids)),
    }


def _compared(wanted: Outputs, found: Outputs, task: Task) -> dict[str, float]:
    """Compare row by row; of token classification a row is a token."""
    error = float(np.abs(wanted - found).max())
    if task == Task.FEATURE_EXTRACTION:
        lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
        cosines = (wanted * found).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
        return {"max_vector_error": error, "min_cosine": float(cosines.min())}
    agreed = wanted.argmax(axis=1) == found.argmax(axis=1)
    return {"max_logit_error": error, "argmax_agreement": float(agreed.mean())}


def _found(engine: Engine, tokens: Tokens, ids: Sequence[list[int]]) -> list[Outputs]:
    """Ask for each text alone, or for as many as one row holds where they are packed."""
    found: list[Outputs] = []
    left = list(ids)
    while left:
        batch = tokens.first_row(left) if tokens.packs else left[:1]
        found += tokens.shares(batch, engine.predict(tokens.lay(batch)))
        left = left[len(batch) :]
    return found
