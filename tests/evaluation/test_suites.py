import json
from hashlib import sha256
from pathlib import Path

import pytest

from evaluation.suites import load_suite
from release.errors import Invalid, NotFound
from tests.fakes.suite import keyword_suite, write_suite


def test_a_suite_has_one_digest_for_one_content(tmp_path: Path) -> None:
    one = load_suite(keyword_suite(tmp_path / "one", ["a", "b"]))
    same = load_suite(keyword_suite(tmp_path / "same", ["a", "b"]))
    other = load_suite(keyword_suite(tmp_path / "other", ["a", "b"], test=61))
    assert one.digest == same.digest != other.digest
    assert len(one.texts("test")) == 60
    assert set(one.references("test")) == {0, 1}


def test_a_changed_file_is_found_out(tmp_path: Path) -> None:
    folder = keyword_suite(tmp_path, ["a", "b"])
    with (folder / "test.jsonl").open("a") as file:
        file.write('{"text": "one more", "label": "a"}\n')
    with pytest.raises(Invalid, match="not what suite.json names"):
        load_suite(folder)


def test_a_text_in_two_splits_is_refused(tmp_path: Path) -> None:
    rows = [("same", "a"), ("other", "b")]
    folder = write_suite(tmp_path, ["a", "b"], {"calibration": rows, "test": rows})
    with pytest.raises(Invalid, match="'same' stands in both calibration and test"):
        load_suite(folder)


def test_an_unknown_label_is_refused(tmp_path: Path) -> None:
    splits = {"calibration": [("x", "a")], "test": [("y", "c")]}
    with pytest.raises(Invalid, match="unknown label 'c'"):
        load_suite(write_suite(tmp_path, ["a", "b"], splits))


@pytest.mark.parametrize(
    "content", ["", "[]", "{", json.dumps({"name": "x", "labels": ["a", "b"]})]
)
def test_what_is_not_a_suite_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "suite.json").write_text(content)
    with pytest.raises(Invalid, match="is not a suite"):
        load_suite(tmp_path)


def test_a_missing_suite_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="see \\[suite\\] path"):
        load_suite(tmp_path / "nowhere")


def test_an_empty_test_split_is_refused(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, ["a", "b"], {"calibration": [("x", "a")], "test": []})
    with pytest.raises(Invalid, match="no texts in its split 'test'"):
        load_suite(folder)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"text": "one"}', 'line 2 is no example: \'{"text": "one"}\''),
        ("[1]", r"line 2 is no example: '\[1\]'"),
        ("{", "line 2 is no example: Expecting property name"),
        ('{"text": 5, "label": "alpha"}', "line 2: text and label must be texts"),
        ('{"text": "  ", "label": "alpha"}', "line 2: text and label must be texts"),
        ('{"text": "\\ud800 rain", "label": "alpha"}', "line 2: the text holds half a character"),
    ],
)
def test_a_line_that_is_no_example_is_named(tmp_path: Path, row: str, said: str) -> None:
    folder = keyword_suite(tmp_path / "suite", ["alpha", "beta"])
    lines = (folder / "test.jsonl").read_text(encoding="utf-8").splitlines()
    content = "\n".join([lines[0], row, *lines[2:]]) + "\n"
    (folder / "test.jsonl").write_text(content, encoding="utf-8")
    facts = json.loads((folder / "suite.json").read_text(encoding="utf-8"))
    facts["splits"]["test"]["sha256"] = sha256(content.encode()).hexdigest()
    (folder / "suite.json").write_text(json.dumps(facts))
    with pytest.raises(Invalid, match=said) as caught:
        load_suite(folder)
    assert "test.jsonl" in str(caught.value)


def _line(folder: Path, **row: object) -> Path:
    """A suite whose last test text is this one."""
    made = write_suite(folder, ["好", "坏"], {"calibration": [("x", "好")], "test": [("y", "坏")]})
    lines = (made / "test.jsonl").read_text() + json.dumps(row, ensure_ascii=False) + "\n"
    (made / "test.jsonl").write_text(lines)
    facts = json.loads((made / "suite.json").read_text())
    facts["splits"]["test"]["sha256"] = sha256(lines.encode()).hexdigest()
    (made / "suite.json").write_text(json.dumps(facts))
    return made


def test_texts_are_told_apart_by_label_length_and_the_suites_own_slices(tmp_path: Path) -> None:
    folder = _line(tmp_path, text="很好" * 40, label="好", slices={"language": "中文"})
    masks = load_suite(folder).masks("test")
    assert {name: list(mask) for name, mask in masks.items()} == {
        "label=好": [False, True],
        "label=坏": [True, False],
        "characters=1-32": [True, False],
        "characters=65-128": [False, True],
        "language=中文": [False, True],
    }


@pytest.mark.parametrize("slices", ["zh", ["zh"], {"language": 1}, {"": "x"}, {"label": "x"}, None])
def test_odd_slices_are_refused(tmp_path: Path, slices: object) -> None:
    folder = _line(tmp_path, text="z", label="好", slices=slices)
    with pytest.raises(Invalid, match="line 2: slices must map names to texts"):
        load_suite(folder)


def test_a_byte_order_mark_is_read_past(tmp_path: Path) -> None:
    folder = keyword_suite(tmp_path / "marked", ["a", "b"])
    plain = load_suite(folder).texts("test")
    content = b"\xef\xbb\xbf" + (folder / "test.jsonl").read_bytes()
    (folder / "test.jsonl").write_bytes(content)
    facts = json.loads((folder / "suite.json").read_text(encoding="utf-8"))
    facts["splits"]["test"]["sha256"] = sha256(content).hexdigest()
    (folder / "suite.json").write_text("\ufeff" + json.dumps(facts), encoding="utf-8")
    load_suite.cache_clear()
    assert load_suite(folder).texts("test") == plain
