"""Every recipe, for every task and for models that take other inputs than BERT."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from infra.settings import inherited
from release.variants import RECIPES, Pooling
from serving.client import replica_sessions
from serving.replica.engines import Tokens
from serving.replica.messages import Classes, Entities, Found, Vectors
from serving.replica.verify import read_manifest
from serving.variants.facts import read_facts
from serving.variants.packing import MOST_ERROR
from tests.fakes.suite import LABELS
from tests.fakes.tiny_families import (
    FAMILIES,
    LONGEST,
    PACKED,
    TOKEN,
    VECTOR,
    WIDTH,
    make_family,
)
from tests.serving.asking import asked
from tests.serving.conftest import ROOT, build_apart

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
    built = _built(place, family)
    name = "max_vector_error" if FAMILIES[family][1] == VECTOR else "max_logit_error"
    errors = {label: one["parity"][name] for label, one in built.items()}
    # A text that is packed or padded has its numbers added in another order.
    assert errors.pop(EXACT) <= 1e-5
    assert 0 < errors.pop("torch-bf16") < 0.06
    assert all(0 < error < 0.2 for error in errors.values()), errors
    for one in built.values():
        assert one["parity"].get("min_cosine", 1) > 0.99
        assert one["parity"].get("argmax_agreement", 1) > 0.9


def _numbers(found: Found) -> NDArray[np.float64]:
    """What was found, as numbers to be compared."""
    match found:
        case Classes():
            return np.array(found.scores)
        case Vectors():
            return np.frombuffer(found.data, "<f4").reshape(-1, found.width).astype(np.float64)
        case Entities():
            scores = np.zeros((len(found.found), LONGEST * 4))
            for row, some in zip(scores, found.found, strict=True):
                for one in some:
                    row[one.start : one.end] = one.score + LABELS.index(one.label)
            return scores


@pytest.mark.parametrize("family", FAMILIES)
def test_every_recipe_is_served_and_answers_alike(place: Path, family: str) -> None:
    built = _built(place, family)
    store = place / "store" / "sha256"
    served = {one["digest"]: store / one["digest"][7:] for one in built.values()}
    longest = " ".join(["7"] * (LONGEST - 2))
    with replica_sessions(served) as sessions:
        found = {
            label: _numbers(asked(session, [*TEXTS, longest]).found)
            for label, session in zip(built, sessions, strict=True)
        }
    exact = found.pop(EXACT)
    assert np.ptp(exact, axis=0).max() > 0.2
    for label, numbers in found.items():
        if FAMILIES[family][1] == VECTOR:
            lengths = np.linalg.norm(numbers, axis=1) * np.linalg.norm(exact, axis=1)
            assert ((numbers * exact).sum(axis=1) / lengths).min() > 0.95, label
            continue
        # A token whose two best labels are about as good may get either.
        near = np.isclose(numbers, exact, atol=0.15)
        assert near.mean() > (0.9 if FAMILIES[family][1] == TOKEN else 0.999), label


@pytest.mark.parametrize("family", FAMILIES)
def test_the_longest_input_is_what_the_positions_have_room_for(tmp_path: Path, family: str) -> None:
    facts = read_facts(make_family(tmp_path / family, family))
    assert facts.longest_input == LONGEST
    _, task, said = FAMILIES[family]
    assert facts.task == task
    assert facts.labels == (() if task == VECTOR else LABELS)
    assert facts.width == (WIDTH if task == VECTOR else 0)
    assert (facts.pooling, facts.normalize) == (
        said.get("pooling", Pooling.MEAN),
        said.get("normalize", True),
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_what_can_be_packed_is(place: Path, family: str) -> None:
    for label, built in _built(place, family).items():
        manifest = read_manifest(place / "store" / "sha256" / built["digest"][7:])
        packed = family in PACKED and label != "onnx-int8"
        assert bool(manifest.rows) is packed, label
        assert ("packing_error" in built["parity"]) is packed
        assert built["parity"].get("packing_error", 0) <= MOST_ERROR


def _vectors(place: Path, family: str, recipe: str) -> NDArray[np.float64]:
    digest = _built(place, family)[recipe]["digest"]
    with replica_sessions({digest: place / "store" / "sha256" / digest[7:]}) as (session,):
        return _numbers(asked(session, TEXTS).found)


def test_vectors_are_as_long_as_was_asked(place: Path) -> None:
    lengths = np.linalg.norm(_vectors(place, "bert-mean", "openvino-int8"), axis=1)
    assert lengths == pytest.approx(1, abs=1e-4)
    lengths = np.linalg.norm(_vectors(place, "distilbert-first", "onnx-int8"), axis=1)
    assert lengths.min() > 2


def test_vectors_are_pooled_as_was_asked(tmp_path: Path, place: Path) -> None:
    """The same as transformers itself gives, text by text."""
    code = """
import sys, json, torch
from transformers import AutoModel
from serving.replica.engines import Tokens
from pathlib import Path
place = Path(sys.argv[1])
model = AutoModel.from_pretrained(place).eval()
tokens = Tokens(place, {}, 40)
with torch.no_grad():
    ids = tokens.encode(json.loads(sys.argv[2]))
    hidden = [model(torch.tensor([one])).last_hidden_state[0] for one in ids]
mean = [torch.nn.functional.normalize(one.mean(0), dim=0).tolist() for one in hidden]
print(json.dumps({"bert-mean": mean, "distilbert-first": [one[0].tolist() for one in hidden]}))
"""
    for family in ("bert-mean", "distilbert-first"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(place / family), json.dumps(TEXTS)],
            cwd=ROOT,
            env=inherited(PYTHONWARNINGS="ignore"),
            capture_output=True,
            text=True,
            check=True,
        )
        wanted = np.array(json.loads(done.stdout.splitlines()[-1])[family])
        assert _vectors(place, family, EXACT) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("recipe", [EXACT, "onnx-int8", "openvino-int8"])
def test_a_stretch_is_told_by_the_characters_of_its_text(place: Path, recipe: str) -> None:
    digest = _built(place, "bert-tokens")[recipe]["digest"]
    texts = ["alpha  7, beta 99", "3 gamma"]
    words = [[(0, 5), (7, 8), (8, 9), (10, 14), (15, 17)], [(0, 1), (2, 7)]]
    with replica_sessions({digest: place / "store" / "sha256" / digest[7:]}) as (session,):
        by_text = asked(session, texts).found
        tokens = Tokens(place / "bert-tokens", {}, LONGEST)
        by_ids = asked(session, ids=tokens.encode(texts)).found
    assert isinstance(by_text, Entities) and isinstance(by_ids, Entities)
    for spans, mine, places in zip(words, by_text.found, by_ids.found, strict=True):
        assert mine and all(0 < one.score <= 1 for one in mine)
        # This model names every token, so that stretches follow each other without a gap.
        assert (mine[0].start, mine[-1].end) == (spans[0][0], spans[-1][1])
        assert {one.start for one in mine} <= {start for start, _ in spans}
        assert [one.label for one in mine] == [one.label for one in places]
        assert [one.score for one in mine] == pytest.approx([one.score for one in places], abs=0.02)
        # Of ids the first, special one is token 0.
        assert [(spans[one.start - 1][0], spans[one.end - 2][1]) for one in places] == [
            (one.start, one.end) for one in mine
        ]
