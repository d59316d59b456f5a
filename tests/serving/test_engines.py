"""What each engine makes of the files of its recipe, and of files that are not what they should be.

Sums catch a byte that differs from what was approved. Here what was approved is itself wrong.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from infra.settings import inherited
from release.digests import canonical
from release.errors import Invalid, Unavailable, Unsafe
from serving.client import replica_command
from serving.replica.engines import load, translating
from serving.replica.verify import MANIFEST, read_manifest, sum_of
from serving.replica.worker import UNFIT
from serving.variants.export import MOST_BYTES, export
from serving.variants.weights import LIMIT, quantize_linears, quantize_rows
from tests.serving.conftest import ROOT, Tiny

WEIGHTS = "model.safetensors"
QUERY = "bert.encoder.layer.0.attention.self.query"


def _copy(tiny: Tiny, recipe: str, place: Path) -> Path:
    folder = shutil.copytree(tiny.folder(tiny.variant(1, recipe)), place / "variant")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o700)
    return folder


def _approve(folder: Path, **changes: Any) -> str:
    """Make the manifest say what now lies there; give its digest."""
    old = read_manifest(folder)
    files = {name: sum_of(folder / name) for name in old.files}
    manifest = replace(old, files=files, **changes)
    (folder / MANIFEST).write_bytes(canonical(manifest.as_json()))
    return manifest.digest


def _header(tiny: Tiny, recipe: str) -> dict[str, str]:
    """Tensor to type, as the file itself says."""
    content = (tiny.folder(tiny.variant(1, recipe)) / WEIGHTS).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return {name: one["dtype"] for name, one in header.items() if name != "__metadata__"}


def test_weights_lie_in_the_precision_of_their_recipe(tiny: Tiny) -> None:
    full, half, small = (_header(tiny, f"torch-{kind}") for kind in ("fp32", "bf16", "int8"))
    assert set(full.values()) == {"F32"}
    assert half == dict.fromkeys(full, "BF16")
    linear = {name for name, kind in small.items() if kind == "I8"}
    assert linear == {
        name for name in full if re.search(r"(query|key|value|dense|classifier)\.weight", name)
    }
    assert small == full | dict.fromkeys(linear, "I8") | {f"{one}_scale": "F32" for one in linear}


def test_rows_are_quantized_to_the_nearest_step_and_leave_a_bit_free() -> None:
    torch.manual_seed(0)
    weight = torch.randn(50, 40) * torch.logspace(-6, 3, 50)[:, None]
    weight[7] = 0
    small, scale = quantize_rows(weight)
    assert small.dtype == torch.int8
    assert small.abs().amax(dim=1).tolist() == [0 if row == 7 else LIMIT for row in range(50)]
    assert 2 * 255 * LIMIT < 2**15, "two products must fit into 16 bits"
    # Half a step, and what fp32 itself rounds.
    assert ((small * scale[:, None] - weight).abs() <= scale[:, None] * 0.5001).all()


def test_weights_that_no_step_can_hold_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny.root / "tiny-1", tmp_path / "candidate")
    tensors = load_file(folder / WEIGHTS)
    tensors[f"{QUERY}.weight"][0, 0] = float("nan")
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    with pytest.raises(Invalid, match=f"{QUERY}.weight of the candidate holds what is not a fin"):
        quantize_linears(folder, tmp_path)


def test_what_is_too_large_for_one_graph_is_refused_at_once(tiny: Tiny, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny.root / "tiny-1", tmp_path / "candidate")
    os.truncate(folder / WEIGHTS, MOST_BYTES)  # sparse, so that it takes no room
    with pytest.raises(Invalid, match="holds less than 2 GiB, not 2.0 GiB"):
        export(folder, tmp_path, 128)


def _without_scale(tensors: dict[str, Tensor]) -> None:
    del tensors[f"{QUERY}.weight_scale"]


def _without_embeddings(tensors: dict[str, Tensor]) -> None:
    del tensors["bert.embeddings.word_embeddings.weight"]


def _with_another(tensors: dict[str, Tensor]) -> None:
    tensors["hook"] = torch.zeros(1)


def _narrower(tensors: dict[str, Tensor]) -> None:
    tensors[f"{QUERY}.weight"] = tensors[f"{QUERY}.weight"][:, 1:].contiguous()


def _in_fp32(tensors: dict[str, Tensor]) -> None:
    tensors[f"{QUERY}.weight"] = tensors[f"{QUERY}.weight"].float()


def _bias_too_long(tensors: dict[str, Tensor]) -> None:
    tensors[f"{QUERY}.bias"] = torch.zeros(33)


def _scale_of_nothing(tensors: dict[str, Tensor]) -> None:
    tensors[f"{QUERY}.weight_scale"][3] = 0


def _scale_without_end(tensors: dict[str, Tensor]) -> None:
    tensors[f"{QUERY}.weight_scale"][3] = float("inf")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without_scale, f"has no tensor {QUERY}.weight_scale (1 differ)"),
        (_without_embeddings, "has no tensor bert.embeddings.word_embeddings.weight"),
        (_with_another, "has a strange tensor hook"),
        (_narrower, f"{QUERY}.weight of model.safetensors is torch.int8 [32, 31], not torch.int8"),
        (_in_fp32, "is torch.float32 [32, 32], not torch.int8 [32, 32]"),
        (_bias_too_long, "is torch.float32 [33], not torch.float32 [32]"),
        (_scale_of_nothing, f"{QUERY}.weight_scale of model.safetensors has a scale that is no"),
        (_scale_without_end, "has a scale that is no positive number"),
    ],
)
def test_tensors_that_are_not_the_models_are_refused(
    tiny: Tiny, tmp_path: Path, spoil: Callable[[dict[str, Tensor]], None], said: str
) -> None:
    folder = _copy(tiny, "torch-int8", tmp_path)
    manifest = read_manifest(folder)
    load(folder, manifest, 1).close()
    tensors = load_file(folder / WEIGHTS)
    spoil(tensors)
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(Unsafe) as caught:
        load(folder, manifest, 1)
    assert said in str(caught.value)


def _unreadable(name: str) -> Callable[[Path], None]:
    def overwrite(folder: Path) -> None:
        (folder / name).write_bytes(b"neither graph nor weights")

    return overwrite


def _cut_short(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return cut


@pytest.mark.parametrize(
    ("recipe", "spoil"),
    [
        ("onnx-int8", _unreadable("model.onnx")),
        ("onnx-int8", _cut_short("model.onnx")),
        ("onnx-int8", _unreadable("config.json")),
        ("openvino-int8", _unreadable("model.xml")),
        ("openvino-int8", _cut_short("model.bin")),
        ("torch-bf16", _cut_short(WEIGHTS)),
        ("torch-int8", _unreadable(WEIGHTS)),
    ],
)
def test_a_replica_that_cannot_load_what_was_approved_ends_with_a_sentence(
    tiny: Tiny, tmp_path: Path, recipe: str, spoil: Callable[[Path], None]
) -> None:
    folder = _copy(tiny, recipe, tmp_path)
    spoil(folder)
    said = _refusal(folder, _approve(folder), tmp_path / "socket")
    assert f"{recipe} in {folder} cannot be loaded" in said


def test_a_replica_whose_model_gives_other_labels_than_approved_ends(
    tiny: Tiny, tmp_path: Path
) -> None:
    folder = _copy(tiny, "onnx-int8", tmp_path)
    digest = _approve(folder, labels=("alpha", "beta", "gamma", "delta"))
    assert "answers a text with shape (3,), not (4,)" in _refusal(
        folder, digest, tmp_path / "socket"
    )


def _refusal(folder: Path, digest: str, address: Path) -> str:
    """Start a replica that must end by itself; give its last words."""
    done = subprocess.run(
        replica_command(folder, digest, address, 1),
        cwd=ROOT,
        env=inherited(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == UNFIT, done.stderr
    assert "Traceback" not in done.stderr
    assert not address.exists()
    return done.stderr.splitlines()[-1]


def test_an_engine_that_is_not_installed_is_named() -> None:
    with (
        pytest.raises(Unavailable, match="onnx-int8 needs no_such_engine, which is not installed"),
        translating("onnx-int8"),
    ):
        __import__("no_such_engine")
