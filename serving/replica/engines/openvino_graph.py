"""A converted graph, run by OpenVINO on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino

from serving.replica.choosing import FULL_ROW, texts_in
from serving.replica.engines.port import Ids, Logits


class OpenVinoGraph:
    """A graph that names its inputs as transformers does, with one output.

    Args:
        folder: with `model.xml` and `model.bin`.
        threads: for computing.
        packed: whether it takes packed rows. The full one is then compiled apart: a shape that is
            fixed costs a quarter less than the same shape in a graph of any.
    """

    def __init__(self, folder: Path, threads: int, *, packed: bool = False) -> None:
        core = openvino.Core()
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        graph = core.read_model(folder / "model.xml")
        self._model = core.compile_model(graph, "CPU", options)
        self._request = self._model.create_infer_request()
        self._full: Any = None
        if packed:
            graph.reshape(_full_shapes(graph))
            self._full = core.compile_model(graph, "CPU", options).create_infer_request()
        self._takes = {name for port in self._model.inputs for name in port.get_names()}

    def predict(self, inputs: dict[str, Ids]) -> Logits:
        """Run the graph."""
        taken = {name: ids for name, ids in inputs.items() if name in self._takes}
        full = self._full is not None and inputs["input_ids"].shape[1] == FULL_ROW
        found = (self._full if full else self._request).infer(taken, share_inputs=True)
        logits: Logits = np.array(found[0], dtype=np.float32)
        return logits

    def close(self) -> None:
        """Let go of the graph."""
        del self._request, self._model, self._full


def _full_shapes(graph: openvino.Model) -> dict[str, list[int]]:
    """Name the shape of every input for a full row."""
    names = [port.get_any_name() for port in graph.inputs]
    return {name: [texts_in(FULL_ROW)] if name == "starts" else [1, FULL_ROW] for name in names}
