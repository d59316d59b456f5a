"""An exported graph, run by ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnxruntime

from release.errors import Unavailable
from serving.replica.engines.port import Ids, Outputs

ERRORS_ONLY = 3
"""Severity from which ONNX Runtime writes to stderr."""

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Device to what ONNX Runtime calls it."""


class OnnxGraph:
    """A graph that names its inputs as transformers does, with one output.

    Args:
        folder: with `model.onnx`.
        threads: for computing.
        device: `cpu` or `cuda`.

    Raises:
        Unavailable: there is no such device.
    """

    def __init__(self, folder: Path, threads: int, *, device: str = "cpu") -> None:
        onnxruntime.disable_telemetry_events()
        self._made_of = (folder, threads, device)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that wait must sleep: they share their cores with gateways and trainings.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            folder / "model.onnx", options, providers=[_provider(device)]
        )
        self._takes = {port.name for port in self._session.get_inputs()}

    def predict(self, inputs: dict[str, Ids]) -> Outputs:
        """Run the graph."""
        taken = {name: ids for name, ids in inputs.items() if name in self._takes}
        (found,) = self._session.run(None, taken)
        return np.asarray(found, dtype=np.float32)

    def twin(self) -> "OnnxGraph":
        """Give itself where the caller computes alone, else a session with threads of its own."""
        folder, threads, device = self._made_of
        return self if threads == 1 else OnnxGraph(folder, threads, device=device)

    def close(self) -> None:
        """Let go of the graph."""
        del self._session


def _provider(device: str) -> str:
    name = PROVIDERS.get(device.partition(":")[0], device)
    there = onnxruntime.get_available_providers()
    if name not in there:
        known = ", ".join(one for one, provider in PROVIDERS.items() if provider in there)
        raise Unavailable(f"There is no device {device} for ONNX Runtime.", f"there is {known}")
    return name
