"""Linear layers in int8, the rest in fp32, run by torch's dynamically quantized linear.

On disk a layer is plain tensors: `NAME.weight` as int8 [out, in], `NAME.weight_scale` as fp32 [out]
and `NAME.bias`. Nothing is quantized at load: the weights approved are the weights that compute.
"""

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig

from release.errors import Unavailable, Unsafe
from release.variants import Purpose, Task
from serving.replica.engines.nets import CLASSES, POOLER, without_pooler
from serving.replica.engines.torch_float import TorchNet, attention, prepare

SCALE = "_scale"
"""What the name of a layer's scales has after that of its weights."""


class TorchInt8(TorchNet):
    """Weights in int8, activations quantized as they come.

    Args:
        folder: with `config.json` and `model.safetensors`.
        threads: for computing.
        purpose: what it is for.
        device: only `cpu` has the kernels.
        packed: whether it takes packed rows.

    Raises:
        Unsafe: a tensor is missing, strange, or of another shape or type than the model has.
        Unavailable: the device has no such kernels.
    """

    def __init__(
        self,
        folder: Path,
        threads: int,
        purpose: Purpose = Purpose(),  # noqa: B008, it is frozen
        *,
        device: str = "cpu",
        packed: bool = False,
    ) -> None:
        if device != "cpu":
            raise Unavailable(f"torch-int8 runs on cpu only, not on {device}.")
        prepare(device, threads)
        tensors = load_file(folder / "model.safetensors")
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model = CLASSES[purpose.task].from_config(
            config, dtype=torch.float32, **attention(packed=packed)
        )
        model = without_pooler(model, purpose.task)
        if purpose.task == Task.FEATURE_EXTRACTION:
            # Variants of before have one; it was never asked.
            tensors = {name: one for name, one in tensors.items() if not name.startswith(POOLER)}
        _check(tensors, _wanted(model))
        for parent, name, path, _ in list(linears(model)):
            taken = tensors.pop(f"{path}.weight"), tensors.pop(f"{path}.weight{SCALE}")
            setattr(parent, name, Int8Linear(*taken, tensors.pop(f"{path}.bias", None)))
        model.load_state_dict(tensors, assign=True)
        super().__init__(model.eval(), purpose, device, packed=packed)


class Int8Linear(torch.nn.Module):
    """A linear layer that quantizes what comes in to eight bits, on one scale for a whole batch.

    Args:
        weight: int8 of shape [out, in].
        scale: fp32 of shape [out], what one step of a row's weights is worth.
        bias: fp32 of shape [out], if there is one.
    """

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        zeros = torch.zeros(len(scale), dtype=torch.int64)
        with warnings.catch_warnings():
            # torch means to drop quantized tensors some day. They are how int8 weights are handed
            # to its kernel, which stays; the locked version has both.
            warnings.filterwarnings("ignore", message="torch.quantize_per_tensor")
            made = torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)
        self._packed = torch.ops.quantized.linear_prepack(made, bias)

    def forward(self, rows: Tensor) -> Tensor:
        """Map fp32 of shape [..., in] to fp32 of shape [..., out]."""
        # The weights leave the room that kernels without VNNI need (see LIMIT of the builder), so
        # that the activations may use all of their eight bits.
        found: Tensor = torch.ops.quantized.linear_dynamic(rows, self._packed, reduce_range=False)
        return found


def linears(model: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, str, str, torch.nn.Linear]]:
    """Give each linear layer: its parent, its name there, its path and itself."""
    for place, parent in model.named_modules():
        for name, child in parent.named_children():
            if type(child) is torch.nn.Linear:
                yield parent, name, f"{place}.{name}" if place else name, child


def _wanted(model: torch.nn.Module) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Name every tensor that a model in int8 has, with its type and shape."""
    wanted = {name: (one.dtype, tuple(one.shape)) for name, one in model.state_dict().items()}
    for _, _, path, layer in linears(model):
        wanted[f"{path}.weight"] = (torch.int8, tuple(layer.weight.shape))
        wanted[f"{path}.weight{SCALE}"] = (torch.float32, (layer.out_features,))
    return wanted


def _check(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
) -> None:
    if strange := sorted(tensors.keys() ^ wanted.keys()):
        has = "has no" if strange[0] in wanted else "has a strange"
        raise Unsafe(f"model.safetensors {has} tensor {strange[0]} ({len(strange)} differ).")
    for name, (dtype, shape) in wanted.items():
        one = tensors[name]
        if (one.dtype, tuple(one.shape)) != (dtype, shape):
            found = f"{one.dtype} {list(one.shape)}"
            raise Unsafe(f"{name} of model.safetensors is {found}, not {dtype} {list(shape)}.")
        if name.endswith(SCALE) and not bool(((one > 0) & one.isfinite()).all()):
            raise Unsafe(f"{name} of model.safetensors has a scale that is no positive number.")
