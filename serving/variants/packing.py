"""Whether a candidate's texts can be packed, several in one row, and into which rows."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from release.variants import Engine, Purpose
from serving.replica.choosing import SHAPES, rounded
from serving.replica.engines import Tokens
from serving.replica.engines.nets import HEADS, SLICED, PackedNet, PaddedNet, read_model, run
from serving.replica.engines.tokens import apart
from serving.replica.engines.torch_float import without_rest

MOST_ERROR = 1e-4
"""How far an answer for a packed text may be from that for the text alone, in fp32."""

PROBED = 16
"""Texts that are compared before a candidate is packed."""

LARGEST_ROW = 256
"""Size that the largest row has at least, though no text be so long."""

LONG_ROW = 512
"""Size of the row where the engine pays for its tokens alone, and not for new shapes."""


def rows_of(longest: int, engine: Engine = Engine.OPENVINO) -> tuple[int, ...]:
    """Sizes of the rows for texts of at most so many tokens, smallest first."""
    if engine == Engine.TORCH:
        return (max(LONG_ROW, longest),)
    most = max(LARGEST_ROW, rounded(longest, SHAPES, max(longest, SHAPES[-1])))
    return tuple(dict.fromkeys([*(shape for shape in SHAPES if shape < most), most]))


def torch_rows(
    source: Path, calibration: Sequence[str], longest: int, purpose: Purpose
) -> tuple[int, ...]:
    """Give the rows into which torch packs a candidate's texts; none where it may not."""
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    rows = rows_of(longest, Engine.TORCH)
    tokens = Tokens(source, config, longest, rows)
    ids = [one for one in tokens.encode(calibration[: 4 * PROBED]) if len(one) <= longest]
    return rows if packed_net(source, tokens, ids, purpose, SLICED) else ()


def packed_net(
    source: Path, tokens: Tokens, ids: Sequence[list[int]], purpose: Purpose, attention: str
) -> PackedNet | None:
    """Read a candidate as a net of packed rows; None where that would change its answers.

    Args:
        source: candidate, checked.
        tokens: that pack.
        ids: of texts to compare with.
        purpose: of the candidate.
        attention: how it attends.
    """
    model = read_model(source, torch.float32, purpose.task, attn_implementation=attention)
    if model.config.model_type not in HEADS or getattr(model.config, "is_decoder", False):
        return None
    net = PackedNet(model, purpose).eval()
    alone = PaddedNet(read_model(source, torch.float32, purpose.task), purpose).eval()
    return net if _gap(net, alone, tokens, ids[:PROBED]) <= MOST_ERROR else None


def gap(source: Path, tokens: Tokens, ids: Sequence[list[int]], purpose: Purpose) -> float:
    """Give how far packing alone, in fp32, moves the answers of a candidate that can be packed."""
    model = read_model(source, torch.float32, purpose.task, attn_implementation="sdpa")
    net, alone = PackedNet(model, purpose).eval(), PaddedNet(model, purpose).eval()
    return _gap(net, alone, tokens, ids[:PROBED])


def _gap(net: PackedNet, alone: PaddedNet, tokens: Tokens, ids: Sequence[list[int]]) -> float:
    found, batch = 0.0, list(ids)
    while batch:
        row = tokens.first_row(batch)
        batch = batch[len(row) :]
        together = tokens.shares(row, run(net, without_rest(tokens.pack(row))))
        for share, one in zip(together, row, strict=True):
            (single,) = apart([one], run(alone, tokens.pad([one])))
            # Not `max`, which would forget what is not a number.
            found = float(np.maximum(found, abs(share - single).max()))
    return found
