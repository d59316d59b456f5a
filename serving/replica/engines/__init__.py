"""What runs the weights, behind one port: token ids in, what the task needs out.

port ← nets, tokens ← torch_float, torch_int8, onnx_graph, openvino_graph ← load

No engine knows of requests. Each library is imported with the engine that needs it, so that a
process with one engine stays small.
"""

from pathlib import Path

from release.errors import Unavailable
from release.variants import Engine as EngineName
from release.variants import Manifest, Precision, Recipe
from serving.replica.engines.port import Engine, Ids, Outputs, finite, softmax, translating
from serving.replica.engines.tokens import Tokens

__all__ = [
    "Engine",
    "Ids",
    "Outputs",
    "Tokens",
    "finite",
    "load",
    "softmax",
    "translating",
]


def load(
    folder: Path, manifest: Manifest, threads: int, *, askers: int = 1, device: str = ""
) -> Engine:
    """Load a verified variant with the engine of its recipe.

    Args:
        folder: where it lies.
        manifest: of it.
        threads: for computing, of each who asks at the same time.
        askers: how many will ask at the same time: the engine and its twins.
        device: to run on; empty where the manifest decides.

    Raises:
        Unavailable: the engine or the device is not there.
        Unsafe: the weights or the graph are not what the recipe gives.
    """
    recipe = Recipe.parse(manifest.recipe)
    place = device or manifest.device
    if manifest.device not in ("cpu", place):
        raise Unavailable(
            f"{manifest.recipe} of {manifest.candidate} needs {manifest.device}, not {place}."
        )
    with translating(f"{manifest.recipe} in {folder}"):
        match recipe.engine:
            case EngineName.TORCH:
                return _torch(folder, manifest, recipe.precision, threads, place)
            case EngineName.ONNX:
                from serving.replica.engines.onnx_graph import OnnxGraph

                return OnnxGraph(folder, threads, device=place)
            case EngineName.OPENVINO:
                from serving.replica.engines.openvino_graph import OpenVinoGraph

                packed = bool(manifest.rows)
                return OpenVinoGraph(folder, threads, packed=packed, askers=askers, device=place)


def _torch(
    folder: Path, manifest: Manifest, precision: Precision, threads: int, device: str
) -> Engine:
    purpose, packed = manifest.purpose, bool(manifest.rows)
    if precision == Precision.INT8:
        from serving.replica.engines.torch_int8 import TorchInt8

        return TorchInt8(folder, threads, purpose, device=device, packed=packed)
    from serving.replica.engines.torch_float import TorchFloat

    return TorchFloat(folder, threads, precision, purpose, device=device, packed=packed)
