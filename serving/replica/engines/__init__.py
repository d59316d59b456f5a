"""What runs the weights, behind one port: token ids in, logits out; no engine knows of requests.

port ← tokens, torch_float, torch_int8, onnx_graph, openvino_graph ← load

Each library is imported with the engine that needs it, so that a process with one engine stays
small.
"""

from pathlib import Path

from release.variants import Engine as EngineName
from release.variants import Manifest, Precision, Recipe
from serving.replica.engines.port import Engine, Ids, Logits, finite, softmax, translating
from serving.replica.engines.tokens import Tokens

__all__ = [
    "Engine",
    "Ids",
    "Logits",
    "Tokens",
    "finite",
    "load",
    "softmax",
    "translating",
]


def load(folder: Path, manifest: Manifest, threads: int) -> Engine:
    """Load a verified variant with the engine of its recipe.

    Args:
        folder: where it lies.
        manifest: of it.
        threads: for computing.

    Raises:
        Unavailable: the engine is not installed.
        Unsafe: the weights or the graph are not what the recipe gives.
    """
    recipe = Recipe.parse(manifest.recipe)
    with translating(f"{manifest.recipe} in {folder}"):
        match recipe.engine:
            case EngineName.TORCH:
                return _torch(folder, recipe.precision, threads)
            case EngineName.ONNX:
                from serving.replica.engines.onnx_graph import OnnxGraph

                return OnnxGraph(folder, threads)
            case EngineName.OPENVINO:
                from serving.replica.engines.openvino_graph import OpenVinoGraph

                return OpenVinoGraph(folder, threads, packed=bool(manifest.rows))


def _torch(folder: Path, precision: Precision, threads: int) -> Engine:
    if precision is Precision.INT8:
        from serving.replica.engines.torch_int8 import TorchInt8

        return TorchInt8(folder, threads)
    from serving.replica.engines.torch_float import TorchFloat

    return TorchFloat(folder, threads, precision)
