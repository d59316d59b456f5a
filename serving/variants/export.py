"""Export to ONNX and quantize to int8, activations quantized as they come (ONNX Runtime)."""

import json
import logging
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from onnxruntime.quantization import QuantType, quant_pre_process, quantize_dynamic

from release.errors import Invalid
from release.variants import Purpose
from serving.replica.engines import Tokens
from serving.replica.engines.nets import PaddedNet, read_model

MOST_BYTES = 2**31
"""Size of weights that one ONNX message can hold; more would need files beside it."""

EXAMPLE = [[0] * 8] * 2
"""Two texts: a batch of one would be taken for a constant."""


def export(
    source: Path,
    place: Path,
    longest: int,
    purpose: Purpose = Purpose(),  # noqa: B008, it is frozen
) -> None:
    """Write `model.onnx` into a folder, for any batch and any length up to the longest.

    Args:
        source: candidate, checked.
        place: where the graph is written.
        longest: most tokens of a text.
        purpose: of the candidate.

    Raises:
        Invalid: the candidate is too large.
    """
    size = (source / "model.safetensors").stat().st_size
    if size >= MOST_BYTES:
        raise Invalid(
            f"An ONNX file holds less than {MOST_BYTES / 2**30:g} GiB, not {size / 2**30:.1f} GiB.",
            "take onnx-int8 out of [variants]",
        )
    graph = _convert(source, longest, purpose)
    with TemporaryDirectory() as aside:
        prepared = Path(aside) / "prepared.onnx"
        # Shapes only: the runtime optimizes whatever it loads.
        quant_pre_process(graph, prepared, skip_optimization=True, skip_symbolic_shape=True)
        quantize_dynamic(
            prepared,
            place / "model.onnx",
            per_channel=True,
            # Weights of seven bits, so that processors without VNNI do not overflow; see LIMIT in
            # serving/variants/weights.py.
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )


def _convert(source: Path, longest: int, purpose: Purpose) -> onnx.ModelProto:
    model = read_model(source, torch.float32, purpose.task, attn_implementation="eager")
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    example = Tokens(source, config, longest).pad(EXAMPLE)
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.inference_mode(), warnings.catch_warnings():
        # The exporter warns of deprecations in torch itself.
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            PaddedNet(model, purpose),
            kwargs={name: torch.from_numpy(ids) for name, ids in example.items()},
            output_names=["found"],
            dynamic_shapes=dict.fromkeys(example, free),
            verbose=False,
        )
    if made is None:
        raise Invalid(f"{source} cannot be exported to ONNX.")
    graph: onnx.ModelProto = made.model_proto
    return _without_origins(graph)


def _without_origins(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what the exporter notes of the source code that each node came from."""
    for node in graph.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    return graph
