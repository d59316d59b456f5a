"""Floating-point weights, run by transformers."""

from pathlib import Path
from typing import Any

import torch

from release.errors import Unavailable
from release.variants import Precision, Purpose
from serving.replica.engines.nets import SLICED, PackedNet, PaddedNet, read_model, run
from serving.replica.engines.port import Ids, Outputs

DTYPES = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16}


class TorchNet:
    """A net, in padded batches or packed rows.

    Args:
        model: of transformers.
        purpose: what it is for.
        device: that it lies on.
        packed: whether it takes packed rows.
    """

    def __init__(self, model: Any, purpose: Purpose, device: str, *, packed: bool) -> None:
        kind = PackedNet if packed else PaddedNet
        self._net = kind(model, purpose).to(device).eval()
        self._device = device
        self._packed = packed

    def predict(self, inputs: dict[str, Ids]) -> Outputs:
        """Run the net."""
        return run(self._net, without_rest(inputs) if self._packed else inputs, self._device)

    def twin(self) -> "TorchNet":
        """Give itself: a net keeps nothing of a call."""
        return self

    def close(self) -> None:
        """Let go of the net."""
        del self._net


class TorchFloat(TorchNet):
    """The weights as they were trained, in the precision that the recipe names.

    Args:
        folder: with `config.json` and `model.safetensors`.
        threads: for computing.
        precision: that it computes in, whatever the files were stored in.
        purpose: what it is for.
        device: `cpu` or one that torch knows.
        packed: whether it takes packed rows.

    Raises:
        Unavailable: there is no such device.
    """

    def __init__(
        self,
        folder: Path,
        threads: int,
        precision: Precision = Precision.FP32,
        purpose: Purpose = Purpose(),  # noqa: B008, it is frozen
        *,
        device: str = "cpu",
        packed: bool = False,
    ) -> None:
        prepare(device, threads)
        model = read_model(folder, DTYPES[precision], purpose.task, **attention(packed=packed))
        super().__init__(model, purpose, device, packed=packed)


def attention(*, packed: bool) -> dict[str, str]:
    """Say how a model attends whose texts lie one behind the other, or not."""
    return {"attn_implementation": SLICED} if packed else {}


def prepare(device: str, threads: int) -> None:
    """Say how many threads compute, once the device is known to be there.

    Raises:
        Unavailable: there is no such device.
    """
    torch.set_num_threads(threads)
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise Unavailable(f"torch runs on cpu or cuda here, not on {device}.")
    if device != "cpu" and not torch.cuda.is_available():
        raise Unavailable(f"There is no device {device} that torch could use.")


def without_rest(inputs: dict[str, Ids]) -> dict[str, Ids]:
    """Take away what a row has behind its texts: torch pays for tokens, not for new shapes."""
    used = max(1, int((inputs["segment_ids"] > 0).sum()))
    return {name: ids if name == "starts" else ids[:, :used].copy() for name, ids in inputs.items()}
