"""An exported graph, run by ONNX Runtime on the CPU."""

from pathlib import Path

import numpy as np
import onnxruntime

from serving.replica.engines.port import Ids, Logits

ERRORS_ONLY = 3
"""Severity from which ONNX Runtime writes to stderr."""


class OnnxGraph:
    """A graph that names its inputs as transformers does, and its output `logits`.

    Args:
        folder: with `model.onnx`.
        threads: for computing.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that wait must sleep: they share their cores with gateways and trainings.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self._takes = {port.name for port in self._session.get_inputs()}

    def predict(self, inputs: dict[str, Ids]) -> Logits:
        """Run the graph."""
        taken = {name: ids for name, ids in inputs.items() if name in self._takes}
        (found,) = self._session.run(["logits"], taken)
        return np.asarray(found, dtype=np.float32)

    def close(self) -> None:
        """Let go of the graph."""
        del self._session
