"""How far a variant is from its parent, text by text."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from release.variants import Manifest
from serving.replica.engines import Engine, Logits, Tokens, load
from serving.replica.engines.torch_float import TorchFloat
from serving.variants.packing import gap

TEXTS = 48
"""Texts that both answer."""


def parity(
    manifest: Manifest, source: Path, place: Path, calibration: Sequence[str]
) -> Mapping[str, float]:
    """Compare a variant's logits, as it is served, with its parent's, each text alone.

    Returns:
        `max_logit_error`, `argmax_agreement` (0..1) and the number of `texts`; where these are
        packed also `packing_error`, what packing alone does to the parent's logits in fp32.
    """
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    tokens = Tokens(place, config, manifest.longest_input, manifest.rows)
    ids = [one for one in tokens.encode(calibration) if len(one) <= manifest.longest_input]
    ids = ids[-TEXTS:]
    parent, variant = TorchFloat(source, 1), load(place, manifest, 1)
    wanted = np.concatenate([parent.predict(tokens.pad([one])) for one in ids])
    found = _logits(variant, tokens, ids)
    variant.close()
    packing = {"packing_error": gap(source, tokens, ids)} if manifest.rows else {}
    return {
        **packing,
        "max_logit_error": float(np.abs(wanted - found).max()),
        "argmax_agreement": float((wanted.argmax(axis=1) == found.argmax(axis=1)).mean()),
        "texts": float(len(ids)),
    }


def _logits(engine: Engine, tokens: Tokens, ids: Sequence[list[int]]) -> Logits:
    """Ask for each text alone, or for as many as one row holds where they are packed."""
    found: list[Logits] = []
    left = list(ids)
    while left:
        batch = tokens.first_row(left) if tokens.packs else left[:1]
        found.append(engine.predict(tokens.lay(batch))[: len(batch)])
        left = left[len(batch) :]
    rows: Logits = np.concatenate(found)
    return rows
