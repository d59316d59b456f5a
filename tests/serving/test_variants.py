"""What comes in, what is built of it, and that what was built is what is served."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from infra.settings import inherited
from release.digests import digest_of
from release.errors import Invalid, SlipwayError, Unsafe
from release.variants import RECIPES, Candidate, Task
from serving.client import replica_command
from serving.replica.worker import UNFIT
from serving.variants.build import BUILDER, REVISIONS, TOOLS, recipe_digest
from serving.variants.facts import read_facts
from serving.variants.intake import check_files
from tests.serving.conftest import ROOT, Tiny


def test_a_second_build_is_found_in_the_store(tiny: Tiny) -> None:
    for one in tiny.facts["built"].values():
        assert one["cached"] == [False, True]
        assert one["same"]


def test_recipes_and_contents_have_digests_of_their_own(tiny: Tiny) -> None:
    built = tiny.facts["built"].values()
    digests = {one["variant"]["digest"] for one in built} | {one["recipe_digest"] for one in built}
    assert len(digests) == 2 * len(built)


def test_a_revision_of_one_recipe_leaves_what_the_others_have_built() -> None:
    candidate = Candidate(model="tiny", version=1)
    for recipe in RECIPES:
        before = {
            "builder": BUILDER,
            "candidate": "tiny@1",
            "parent": "sha256:00",
            "recipe": recipe.label,
            "calibration": digest_of(["a text"]),
            "tools": {tool: version(tool) for tool in TOOLS[recipe.label]},
        }
        same = recipe_digest(recipe, candidate, "sha256:00", ["a text"]) == digest_of(before)
        assert same is (recipe.label not in REVISIONS)
    assert REVISIONS.keys() < {recipe.label for recipe in RECIPES}


def test_parity_with_the_parent_is_measured(tiny: Tiny) -> None:
    exact = dict(tiny.facts["built"]["1/torch-fp32"]["parity"])
    assert exact.pop("max_logit_error") < 1e-5
    assert exact.pop("packing_error") < 1e-5
    assert exact == {"argmax_agreement": 1.0, "texts": 12.0}
    for recipe in RECIPES[1:]:
        small = tiny.facts["built"][f"1/{recipe.label}"]["parity"]
        assert 0 < small["max_logit_error"] < 2, recipe.label
        assert small["argmax_agreement"] == 1.0, recipe.label


def test_nothing_is_unpickled_while_building(tiny: Tiny) -> None:
    assert tiny.facts["unpickled"] == []


@pytest.mark.parametrize("damage", ["weights", "labels", "extra", "missing"])
def test_a_replica_refuses_what_is_not_what_was_approved(
    tiny: Tiny, tmp_path: Path, damage: str
) -> None:
    variant = tiny.variant(1)
    folder = shutil.copytree(tiny.folder(variant), tmp_path / "variant")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o700)
    if damage == "weights":
        content = bytearray((folder / "model.bin").read_bytes())
        content[100] ^= 1
        (folder / "model.bin").write_bytes(content)
    elif damage == "labels":
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["labels"] = manifest["labels"][::-1]
        (folder / "manifest.json").write_text(json.dumps(manifest))
    elif damage == "extra":
        (folder / "hook.py").write_text("print('never run')")
    else:
        (folder / "tokenizer.json").unlink()
    command = replica_command(folder, variant.digest, tmp_path / "socket", 1)
    done = subprocess.run(
        command, cwd=ROOT, env=inherited(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == UNFIT, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "socket").exists()


def _pickle(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def _checkpoint(folder: Path) -> None:
    """As the Trainer leaves it, under git."""
    for name in ("optimizer.pt", "scheduler.pt", "training_args.bin", ".git/HEAD", ".git/refs/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"PK\x03\x04")


def _many(folder: Path) -> None:
    for n in range(12):
        (folder / f"shard-{n:02}.bin").touch()


def _disguised(folder: Path) -> None:
    (folder / "vocab.txt").write_bytes(b"\x80\x04cos\nsystem\n.")


def _archive(folder: Path) -> None:
    (folder / "extra.json").write_bytes(b"PK\x03\x04....")


def _not_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x80\x04" + bytes(100))


def _cut_off(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])


def _no_header(folder: Path) -> None:
    header = b'{"a": {"data_offsets": [0]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def _endless(folder: Path) -> None:
    header = b'{"a": {"data_offsets": [0, 1e999]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def _link(folder: Path) -> None:
    (folder / "notes.txt").symlink_to("/etc/hostname")


def _own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "code.Model"}
    (folder / "config.json").write_text(json.dumps(config))


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (_pickle, Unsafe, "pytorch_model.bin is not of a kind that may be loaded"),
        (
            _checkpoint,
            Unsafe,
            ".git/, optimizer.pt, scheduler.pt, training_args.bin are not of a kind that may be",
        ),
        (_many, Unsafe, "shard-09.bin and 2 more are not of a kind"),
        (_disguised, Unsafe, "vocab.txt begins like a pickle"),
        (_archive, Unsafe, "extra.json is an archive under another name"),
        (_not_weights, Unsafe, "model.safetensors is not a safetensors file"),
        (_cut_off, Unsafe, "it is cut off or damaged"),
        (_no_header, Unsafe, "The header of model.safetensors cannot be read"),
        (_endless, Unsafe, "The header of model.safetensors cannot be read"),
        (_link, Unsafe, "notes.txt is a link"),
        (_own_code, Unsafe, "names code of its own (auto_map)"),
        (_no_tokenizer, Invalid, "has no tokenizer.json"),
    ],
)
def test_intake_refuses(
    tiny: Tiny,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    error: type[SlipwayError],
    said: str,
) -> None:
    folder = shutil.copytree(tiny.root / "tiny-1", tmp_path / "candidate")
    check_files(folder)
    spoil(folder)
    with pytest.raises(error) as caught:
        check_files(folder)
    assert said in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architectures": ["BertForMaskedLM"]}, "'BertForMaskedLM' is not supported"),
        ({"problem_type": "multi_label_classification"}, "several labels to one text"),
        ({"id2label": {"0": "one"}}, "two or more labels"),
        ({"id2label": {"0": "one", "2": "two"}}, "has no label '1'"),
        ({"max_position_embeddings": 64}, "within 2..64 tokens, not 128"),
        (
            {"model_type": "roberta", "max_position_embeddings": 129, "pad_token_id": 1},
            "within 2..127 tokens, not 128",
        ),
    ],
)
def test_facts_that_cannot_be_are_refused(
    tiny: Tiny, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    folder = shutil.copytree(tiny.root / "tiny-1", tmp_path / "candidate")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(Invalid, match=said):
        read_facts(folder)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"thresholds": {"delta": 0.5}}, "'delta', which is no label"),
        ({"thresholds": {"alpha": 1}}, "between 0 and 1, not 1"),
        ({"thresholds": {"alpha": True}}, "between 0 and 1, not True"),
        ({"thresholds": {"alpha": "high"}}, "between 0 and 1, not 'high'"),
        ({"thresholds": [0.5]}, "a probability, not [0.5]"),
        ({"thresholds": {"alpha": 0.5, "beta": 0.5, "gamma": 0.5}}, "Every label has a threshold"),
        ({"task": "token-classification"}, "cannot be 'token-classification'"),
        ({"task": "feature-extraction", "pooling": "max"}, "pooling must be mean or cls"),
        ({"task": "feature-extraction", "normalize": 1}, "normalize must be true or false"),
        ({"task": "feature-extraction", "thresholds": {"alpha": 0.5}}, "Thresholds give labels"),
    ],
)
def test_what_a_candidate_says_of_itself_is_checked(
    tiny: Tiny, tmp_path: Path, said: dict[str, object], wrong: str
) -> None:
    folder = shutil.copytree(tiny.root / "tiny-1", tmp_path / "candidate")
    (folder / "slipway.json").write_text(json.dumps(said))
    with pytest.raises(Invalid, match=re.escape(wrong)):
        read_facts(folder)


def test_any_encoder_may_give_vectors(tiny: Tiny, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny.root / "tiny-1", tmp_path / "candidate")
    assert read_facts(folder).width == 0
    (folder / "slipway.json").write_text(json.dumps({"task": "feature-extraction"}))
    facts = read_facts(folder)
    assert (facts.task, facts.labels, facts.width) == (Task.FEATURE_EXTRACTION, (), 32)
