"""Convert to OpenVINO and quantize to int8, calibrated (NNCF post-training quantization)."""

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import nncf
import openvino
import torch
from transformers import AutoModelForSequenceClassification

from serving.replica.engines import Ids, Tokens

SUBSET = 64
"""Calibration texts; more of them change the ranges little and cost seconds."""


def quantize(source: Path, place: Path, calibration: Sequence[str], longest: int) -> None:
    """Write `model.xml` and `model.bin` into a folder.

    Args:
        source: candidate, checked.
        place: where the graph is written.
        calibration: texts whose activations set the quantization ranges.
        longest: most tokens of a text; longer calibration texts are left out.
    """
    nncf.set_log_level(logging.ERROR)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    tokens = Tokens(source, config, longest)
    fitting = [ids for ids in tokens.encode(calibration) if len(ids) <= longest]
    rows = [tokens.pad([ids]) for ids in fitting[:SUBSET]]
    graph = _convert(source, rows[0])
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


def _convert(source: Path, example: dict[str, Ids]) -> openvino.Model:
    model = AutoModelForSequenceClassification.from_pretrained(
        source,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation="eager",
    ).eval()
    inputs = {name: torch.from_numpy(ids) for name, ids in example.items()}
    with torch.inference_mode(), warnings.catch_warnings():
        # Tracing warns of every Python branch; the parity numbers tell whether one mattered.
        warnings.simplefilter("ignore")
        graph = openvino.convert_model(model, example_input=inputs)
    names = list(inputs)
    for port, name in zip(graph.inputs, names, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
    graph.validate_nodes_and_infer_types()
    return graph
