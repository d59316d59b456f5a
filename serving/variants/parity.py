"""How far a variant is from its parent, text by text."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from release.variants import Manifest
from serving.replica.engines import Engine, Logits, Tokens, Torch, load

TEXTS = 48
"""Texts that both answer."""


def parity(
    manifest: Manifest, source: Path, place: Path, calibration: Sequence[str]
) -> Mapping[str, float]:
    """Compare a variant's logits with its parent's, each text alone.

    Returns:
        `max_logit_error`, `argmax_agreement` (0..1) and the number of `texts`.
    """
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    tokens = Tokens(place, config, manifest.longest_input)
    ids = [one for one in tokens.encode(calibration) if len(one) <= manifest.longest_input]
    ids = ids[-TEXTS:]
    parent, variant = Torch(source, 1), load(place, manifest, 1)
    wanted, found = _logits(parent, tokens, ids), _logits(variant, tokens, ids)
    variant.close()
    return {
        "max_logit_error": float(np.abs(wanted - found).max()),
        "argmax_agreement": float((wanted.argmax(axis=1) == found.argmax(axis=1)).mean()),
        "texts": float(len(ids)),
    }


def _logits(engine: Engine, tokens: Tokens, ids: Sequence[Sequence[int]]) -> Logits:
    rows: Logits = np.concatenate([engine.predict(tokens.pad([one])) for one in ids])
    return rows
