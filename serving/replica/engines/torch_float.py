"""Floating-point weights, run by transformers."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging

from release.variants import Precision
from serving.replica.engines.port import Ids, Logits

DTYPES = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16}


class TorchFloat:
    """The weights as they were trained, in the precision that the recipe names.

    Args:
        folder: with `config.json` and `model.safetensors`.
        threads: for computing.
        precision: that it computes in, whatever the files were stored in.
    """

    def __init__(self, folder: Path, threads: int, precision: Precision = Precision.FP32) -> None:
        torch.set_num_threads(threads)
        self._model = read_model(folder, DTYPES[precision])

    def predict(self, inputs: dict[str, Ids]) -> Logits:
        """Run the model; logits are given as fp32 in any case."""
        return run(self._model, inputs)

    def close(self) -> None:
        """Let go of the model."""
        del self._model


def read_model(folder: Path, dtype: torch.dtype, **how: Any) -> Any:
    """Read plain weights into a model that is ready to answer.

    Args:
        folder: with `config.json` and `model.safetensors`.
        dtype: of the model, whatever its files were stored in.
        how: more for `from_pretrained`.
    """
    # A log would keep the half lines of a bar.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return AutoModelForSequenceClassification.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=dtype,
        **how,
    ).eval()


def run(model: Any, inputs: dict[str, Ids]) -> Logits:
    """Run a model of transformers on arrays."""
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(ids) for name, ids in inputs.items()}
        logits: Logits = model(**tensors).logits.float().numpy()
    return logits
