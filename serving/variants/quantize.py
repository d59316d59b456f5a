"""Convert to OpenVINO and quantize to int8, calibrated (NNCF post-training quantization)."""

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import nncf
import openvino
import torch

from release.variants import Purpose
from serving.replica.engines import Ids, Tokens
from serving.replica.engines.nets import PaddedNet, read_model
from serving.variants.packing import packed_net, rows_of

SUBSET = 64
"""Calibration texts; more of them change the ranges little and cost seconds."""


ALONE = 16
"""Of them, how many are also shown alone where texts are packed."""


def quantize(
    source: Path,
    place: Path,
    calibration: Sequence[str],
    longest: int,
    purpose: Purpose = Purpose(),  # noqa: B008, it is frozen
    *,
    pack: bool = True,
) -> tuple[int, ...]:
    """Write `model.xml` and `model.bin` into a folder.

    A candidate of a type that can be packed gives a graph of packed rows, any other one of padded
    batches.

    Args:
        source: candidate, checked.
        place: where the graph is written.
        calibration: texts whose activations set the quantization ranges.
        longest: most tokens of a text; longer calibration texts are left out.
        purpose: of the candidate.
        pack: whether to pack what can be packed.

    Returns:
        Sizes of the rows that the graph takes; none where it takes padded batches.
    """
    nncf.set_log_level(logging.ERROR)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    tokens = Tokens(source, config, longest, rows_of(longest))
    fitting = [ids for ids in tokens.encode(calibration) if len(ids) <= longest][:SUBSET]
    net = packed_net(source, tokens, fitting, purpose, "sdpa") if pack else None
    if net:
        rows = _packed_rows(tokens, fitting)
        graph = _convert(net, rows[0])
    else:
        rows = [tokens.pad([ids]) for ids in fitting]
        model = read_model(source, torch.float32, purpose.task, attn_implementation="eager")
        graph = _convert(PaddedNet(model, purpose), rows[0])
    takes = {name for port in graph.inputs for name in port.get_names()}
    dataset = nncf.Dataset([{name: row[name] for name in takes} for row in rows])
    small = nncf.quantize(
        graph,
        dataset,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(rows),
        fast_bias_correction=True,
    )
    openvino.save_model(small, place / "model.xml", compress_to_fp16=False)
    return rows_of(longest) if net else ()


def _packed_rows(tokens: Tokens, fitting: Sequence[list[int]]) -> list[dict[str, Ids]]:
    """Lay texts into full rows, and a few into rows of their own, as a quiet hour would."""
    rows, left = [], list(fitting)
    while left:
        row = tokens.first_row(left)
        rows.append(tokens.pack(row))
        left = left[len(row) :]
    return rows + [tokens.pack([ids]) for ids in fitting[:ALONE]]


def _convert(net: torch.nn.Module, example: dict[str, Ids]) -> openvino.Model:
    inputs = {name: torch.from_numpy(ids) for name, ids in example.items()}
    with torch.inference_mode(), warnings.catch_warnings():
        # Tracing warns of every Python branch; the parity numbers tell whether one mattered.
        warnings.simplefilter("ignore")
        graph = openvino.convert_model(net, example_input=inputs)
    names = list(inputs)
    for port, name in zip(graph.inputs, names, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_partial_shape(openvino.PartialShape(_any(name, names)))
    graph.validate_nodes_and_infer_types()
    return graph


def _any(name: str, names: Sequence[str]) -> list[int]:
    """Shape of an input, -1 where it may be anything."""
    if name == "starts":
        return [-1]
    return [1, -1] if "starts" in names else [-1, -1]
