"""Rewrite weights for torch: in bf16, or with linear layers in int8. No text is needed for it."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from release.errors import Invalid
from release.variants import Purpose
from serving.replica.engines.nets import read_model
from serving.replica.engines.torch_int8 import SCALE, linears

WEIGHTS = "model.safetensors"
PLAIN = {"format": "pt"}
"""What transformers wants to read in a file's header."""

LIMIT = 63
"""Largest int8 weight. Without VNNI a kernel adds products in pairs of 16 bits, and 255 · 127 twice
would not fit; with 7 of 8 bits for the weights every processor computes the same."""


def halve(source: Path, place: Path) -> None:
    """Write a candidate's weights in bf16: its range is that of fp32, with 8 bits of precision.

    Args:
        source: candidate, checked.
        place: where `model.safetensors` is written.
    """
    tensors = load_file(source / WEIGHTS)
    small = {
        name: one.to(torch.bfloat16) if one.is_floating_point() else one
        for name, one in tensors.items()
    }
    save_file(small, place / WEIGHTS, PLAIN)


def quantize_linears(
    source: Path,
    place: Path,
    purpose: Purpose = Purpose(),  # noqa: B008, it is frozen
) -> None:
    """Write a candidate's weights, those of its linear layers in int8 with a scale for each output.

    Embeddings and norms stay in fp32.

    Args:
        source: candidate, checked.
        place: where `model.safetensors` is written.
        purpose: of the candidate.

    Raises:
        Invalid: a weight is not finite.
    """
    model = read_model(source, torch.float32, purpose.task)
    tensors = dict(model.state_dict())
    for _, _, path, layer in linears(model):
        if not layer.weight.isfinite().all():
            raise Invalid(f"{path}.weight of the candidate holds what is not a finite number.")
        small, scale = quantize_rows(layer.weight.detach())
        tensors[f"{path}.weight"], tensors[f"{path}.weight{SCALE}"] = small, scale
    save_file(tensors, place / WEIGHTS, PLAIN)


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize fp32 of shape [out, in], symmetrically, row by row.

    Returns:
        int8 of shape [out, in] within ± `LIMIT`, and the scales, fp32 of shape [out].
    """
    largest = weight.abs().amax(dim=1)
    # A row of zeros has any scale; zero itself would divide by nothing.
    scale = torch.where(largest > 0, largest / LIMIT, torch.ones_like(largest))
    return torch.round(weight / scale[:, None]).to(torch.int8), scale
