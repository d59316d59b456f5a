"""Suites of entities and of pairs: what they hold, and what is refused of them."""

from pathlib import Path
from typing import Any

import pytest

from evaluation.examples import Span
from evaluation.suites import load_suite
from release.errors import Invalid
from tests.fakes.suite import entity_suite, keyword_suite, pair_suite, write_lines


def test_a_suite_of_entities_is_read(tmp_path: Path) -> None:
    suite = load_suite(entity_suite(tmp_path / "e"))
    assert (suite.task, suite.labels) == ("token-classification", ("PER", "LOC"))
    assert suite.texts("test")[:2] == ["test 0: Anna went to 北京", "test 1: Anna went to Oslo"]
    assert suite.marks("test")[0] == {Span(8, 12, "PER"), Span(21, 23, "LOC")}
    assert suite.marks("test")[2] == set()
    assert set(suite.masks("test")) == {"characters=1-32"}


def test_a_suite_of_pairs_is_read_and_asks_both_texts(tmp_path: Path) -> None:
    suite = load_suite(pair_suite(tmp_path / "p"))
    assert (suite.task, suite.labels) == ("feature-extraction", ())
    assert suite.texts("test")[:4] == ["test 0 0", "test 0 0", "test 1 0", "test 1 long 37"]
    assert suite.similarities("test")[:2] == [1.0, 0.589]
    # A pair has the length of its longer text; each text of it is timed by its own.
    lengths = [len(text) for text in suite.texts("test")]
    assert suite.masks("test")["characters=1-32"].sum() == sum(n <= 32 for n in lengths[1::2])
    assert list(suite.text_masks("test")["characters=1-32"]) == [n <= 32 for n in lengths]


def test_labels_may_be_left_out_where_there_are_none(tmp_path: Path) -> None:
    folder = pair_suite(tmp_path / "p")
    digest = load_suite(folder).digest
    facts = (folder / "suite.json").read_text()
    (folder / "suite.json").write_text(facts.replace('"labels": [], ', ""))
    load_suite.cache_clear()
    assert load_suite(folder).digest == digest


def test_the_same_lines_of_another_task_are_another_suite(tmp_path: Path) -> None:
    row = {"text": "Anna", "label": "PER", "entities": [{"start": 0, "end": 4, "label": "PER"}]}
    splits = {"calibration": [row | {"text": "Anna?"}], "test": [row]}
    digests = {
        load_suite(write_lines(tmp_path / task, task, ["PER", "LOC"], splits)).digest
        for task in ("text-classification", "token-classification")
    }
    assert len(digests) == 2


def test_a_classifiers_suite_keeps_the_digest_that_it_had(tmp_path: Path) -> None:
    suite = load_suite(keyword_suite(tmp_path / "k", ["a", "b"]))
    assert suite.digest.startswith("sha256:638082e1")


def _entity(**changed: object) -> dict[str, Any]:
    return {"text": "Anna went", "entities": [{"start": 0, "end": 4, "label": "PER"} | changed]}


def _pair(**changed: object) -> dict[str, Any]:
    return {"text": "one", "other": "two", "similarity": 0.5} | changed


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (_entity(end=10), "'PER' at 0..10 is no part of a text of 9 characters"),
        (_entity(start=-1), r"'PER' at -1..4 is no part"),
        (_entity(start=4), r"'PER' at 4..4 is no part"),
        (_entity(end=5), r"'PER' at 0..5 is 'Anna '.*neither begins nor ends"),
        (_entity(end="4"), "is no entity.*such as"),
        (_entity(start=True), "is no entity"),
        (_entity(label=""), "is no entity"),
        (_entity(label="ORG"), "test has the unknown label 'ORG'.*PER, LOC"),
        (_entity() | {"entities": 2 * _entity()["entities"]}, "'PER' stands at 0..4 twice"),
        (_entity() | {"entities": "PER"}, "entities must be a list, not 'PER'"),
        (_entity() | {"entities": [7]}, "7 is no entity"),
        ({"text": "Anna"}, r"line 1 is no example: .*\"entities\": \["),
        (_entity() | {"text": " "}, "text must be a text that is not empty"),
    ],
)
def test_what_is_no_entity_is_said(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    splits = {"calibration": [{"text": "x", "entities": []}], "test": [row]}
    with pytest.raises(Invalid, match=said):
        load_suite(write_lines(tmp_path / "s", "token-classification", ["PER", "LOC"], splits))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (_pair(similarity=3.8), r"similarity must be within 0..1, not 3.8.*of a scale such as"),
        (_pair(similarity=-0.1), "within 0..1, not -0.1"),
        (_pair(similarity=float("nan")), "within 0..1, not nan"),
        (_pair(similarity="0.5"), "within 0..1, not '0.5'"),
        (_pair(similarity=True), "within 0..1, not True"),
        (_pair(other=""), "other must be a text that is not empty"),
        (_pair(other="\ud800"), "half a character"),
        ({"text": "one", "other": "two"}, "line 1 is no example.*similarity"),
        (_pair(), "all pairs of its split 'test' have the similarity 0.5"),
        (_pair(text="c", other="d"), "'c' stands in both calibration and test"),
    ],
)
def test_what_is_no_pair_is_said(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    splits = {"calibration": [_pair(text="c", other="d")], "test": [row]}
    with pytest.raises(Invalid, match=said):
        load_suite(write_lines(tmp_path / "s", "feature-extraction", [], splits))


@pytest.mark.parametrize(
    ("task", "labels", "said"),
    [
        (
            "translation",
            ["a", "b"],
            r"its task is 'translation'.*tasks are text-classification, to",
        ),
        (["x"], ["a", "b"], r"its task is \['x'\]"),
        ("token-classification", [], r"needs one or more different labels, not \(\)"),
        ("feature-extraction", ["a"], r"feature-extraction, which has no labels, unlike \('a',\)"),
    ],
)
def test_what_a_task_cannot_have_is_said(
    tmp_path: Path, task: Any, labels: list[str], said: str
) -> None:
    splits: dict[str, list[dict[str, Any]]] = {"calibration": [], "test": []}
    with pytest.raises(Invalid, match=said):
        load_suite(write_lines(tmp_path / "s", task, labels, splits))
