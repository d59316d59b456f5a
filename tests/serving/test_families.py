"""Every recipe, for models that take other inputs or count their positions otherwise than BERT."""

import json
from pathlib import Path
from typing import Any

import pytest

from release.variants import RECIPES
from serving.client import replica_sessions
from serving.replica.verify import read_manifest
from serving.variants.intake import read_facts
from tests.fakes.tiny_families import FAMILIES, LONGEST, make_family
from tests.serving.conftest import build_apart

EXACT = "torch-fp32"
TEXTS = [f"{n} {word} {n * 3}" for n, word in enumerate(["alpha", "beta", "gamma"] * 3)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every recipe of every family was built, in a process of its own."""
    root = tmp_path_factory.mktemp("families")
    build_apart("tests.fakes.tiny_families", root)
    return root


def _built(place: Path, family: str) -> dict[str, dict[str, Any]]:
    built: dict[str, dict[str, Any]] = json.loads((place / "built.json").read_text())[family]
    assert set(built) == {recipe.label for recipe in RECIPES}
    return built


@pytest.mark.parametrize("family", FAMILIES)
def test_every_recipe_stays_near_its_parent(place: Path, family: str) -> None:
    errors = {
        label: one["parity"]["max_logit_error"] for label, one in _built(place, family).items()
    }
    assert errors.pop(EXACT) == 0
    assert 0 < errors.pop("torch-bf16") < 0.06
    assert all(0 < error < 0.2 for error in errors.values()), errors


@pytest.mark.parametrize("family", FAMILIES)
def test_every_recipe_is_served_and_answers_alike(place: Path, family: str) -> None:
    built = _built(place, family)
    store = place / "store" / "sha256"
    served = {one["digest"]: store / one["digest"][7:] for one in built.values()}
    longest = " ".join(["7"] * (LONGEST - 2))
    with replica_sessions(served) as sessions:
        found = {
            label: [one.scores for one in session.predict([*TEXTS, longest])]
            for label, session in zip(built, sessions, strict=True)
        }
    exact = found.pop(EXACT)
    assert max(max(column) - min(column) for column in zip(*exact, strict=True)) > 0.2
    for label, scores in found.items():
        for mine, wanted in zip(scores, exact, strict=True):
            assert mine == pytest.approx(wanted, abs=0.1), label


@pytest.mark.parametrize("family", FAMILIES)
def test_the_longest_input_is_what_the_positions_have_room_for(tmp_path: Path, family: str) -> None:
    assert read_facts(make_family(tmp_path / family, family)).longest_input == LONGEST


@pytest.mark.parametrize(("family", "packed"), [("distilbert", True), ("roberta", False)])
def test_what_can_be_packed_is(place: Path, family: str, packed: bool) -> None:  # noqa: FBT001
    built = _built(place, family)["openvino-int8"]
    manifest = read_manifest(place / "store" / "sha256" / built["digest"][7:])
    assert bool(manifest.rows) is packed
    assert ("packing_error" in built["parity"]) is packed
