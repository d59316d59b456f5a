"""A converted graph, run by OpenVINO."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino

from release.errors import Unavailable
from serving.replica.choosing import FULL_ROW, texts_in
from serving.replica.engines.port import Ids, Outputs


class OpenVinoGraph:
    """A graph that names its inputs as transformers does, with one output.

    Args:
        folder: with `model.xml` and `model.bin`.
        threads: for computing, of each who asks at the same time.
        packed: whether it takes packed rows. The full one is then compiled apart: a shape that is
            fixed costs a quarter less than the same shape in a graph of any.
        askers: how many ask at the same time: itself and its twins.
        device: as OpenVINO names it, such as `CPU`, `GPU` or `NPU`.

    Raises:
        Unavailable: there is no such device.
    """

    def __init__(
        self,
        folder: Path,
        threads: int,
        *,
        packed: bool = False,
        askers: int = 1,
        device: str = "cpu",
    ) -> None:
        core = openvino.Core()
        place = _device(core, device)
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if place == "CPU":
            options |= {"INFERENCE_NUM_THREADS": threads * askers, "NUM_STREAMS": askers}
        graph = core.read_model(folder / "model.xml")
        self._models = [core.compile_model(graph, place, options)]
        if packed:
            graph.reshape(_full_shapes(graph))
            self._models.append(core.compile_model(graph, place, options))
        self._begin()

    def _begin(self) -> None:
        self._requests = [model.create_infer_request() for model in self._models]
        self._takes = {name for port in self._models[0].inputs for name in port.get_names()}

    def predict(self, inputs: dict[str, Ids]) -> Outputs:
        """Run the graph."""
        taken = {name: ids for name, ids in inputs.items() if name in self._takes}
        # The last is of the full row where there is one.
        full = len(self._requests) > 1 and inputs["input_ids"].shape[1] == FULL_ROW
        found = self._requests[-1 if full else 0].infer(taken, share_inputs=True)
        outputs: Outputs = np.array(found[0], dtype=np.float32)
        return outputs

    def twin(self) -> "OpenVinoGraph":
        """Give one with requests of its own for the same compiled graphs."""
        made = object.__new__(OpenVinoGraph)
        made._models = self._models
        made._begin()
        return made

    def close(self) -> None:
        """Let go of the graph."""
        del self._requests, self._models


def _device(core: openvino.Core, device: str) -> str:
    name, there = device.upper(), core.available_devices
    if not any(name == one or one.startswith(f"{name}.") for one in there):
        raise Unavailable(
            f"There is no device {device} for OpenVINO.", f"there is {', '.join(there)}"
        )
    return name


def _full_shapes(graph: openvino.Model) -> dict[str, list[int]]:
    """Name the shape of every input for a full row."""
    names = [port.get_any_name() for port in graph.inputs]
    return {name: [texts_in(FULL_ROW)] if name == "starts" else [1, FULL_ROW] for name in names}
