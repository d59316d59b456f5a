"""A suite out of a table, as tables really are: quoted, doubled, half empty, in any encoding."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.making import deal, make_suite
from evaluation.suites import Example
from evaluation.tables import Columns, Table, read_table
from release.errors import Conflict, Invalid, NotFound

HEADER = ("text", "label")


def table(path: Path, rows: list[tuple[str, ...]], *, encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows(rows)
    return path


def many(count: int, *labels: str) -> list[tuple[str, ...]]:
    return [(f"文本 {n}, with a comma", labels[n % len(labels)]) for n in range(count)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_a_table_becomes_a_suite(tmp_path: Path, name: str, encoding: str) -> None:
    path = table(tmp_path / name, [HEADER, *many(200, "好", "bad")], encoding=encoding)
    named = "utf-8" if encoding == "utf-8-sig" else encoding
    found = read_table(path, Columns(encoding=named))
    suite = make_suite(found, tmp_path / "suite", train=0.5)
    assert {split: len(some) for split, some in suite.splits.items()} == {
        "train": 100,
        "calibration": 20,
        "test": 80,
    }
    assert suite.labels == ("bad", "好")
    for some in suite.splits.values():
        assert set(Counter(one.label for one in some).values()) == {len(some) // 2}
    again = make_suite(found, tmp_path / "again", train=0.5)
    assert again.digest == suite.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "suite", name]


def test_json_lines_are_a_table_too(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({"q": f"text {n}", "a": n % 2}) for n in range(60)) + "\n")
    found = read_table(path, Columns(text="q", label="a"))
    assert len(found.examples) == 60
    assert {one.label for one in found.examples} == {"0", "1"}


def test_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    rows = [
        ("twice", "a"),
        ("twice", "a"),
        ("doubtful", "a"),
        ("doubtful", "b"),
        ("  ", "a"),
        ("no label", ""),
        ("short row",),
        ("kept", "b", ""),
        ("an unquoted text", " cut in two", "a"),
    ]
    found = read_table(table(tmp_path / "t.csv", [HEADER, *rows]), Columns())
    assert found == Table(
        examples=(Example(text="twice", label="a"), Example(text="kept", label="b")),
        empty=3,
        repeated=1,
        contradictory=1,
        ragged=1,
    )
    assert found.left_out == (
        "3 rows without a text or a label",
        "1 row with more cells than the header (is a text with a comma not quoted?)",
        "1 row that stood there before",
        "1 text under several labels",
    )
    with pytest.raises(
        Invalid, match=r"bring more texts; left out: 3 rows .*; left out: 1 row with"
    ):
        make_suite(found, tmp_path / "suite")


@pytest.mark.parametrize(
    ("content", "columns", "said"),
    [
        (b"a,b\n1,2\n", Columns(), r"no column 'text'; it has 'a', 'b'.*--text"),
        (b"text,b\n1,2\n", Columns(), r"no column 'label'.*--label"),
        (b"", Columns(), r"it has none"),
        ("text,label\n文本,好\n".encode("gb18030"), Columns(), r"byte 11 is 0xce.*gb18030"),
        (b"text,label\nx,y\n", Columns(encoding="klingon"), r"No encoding is called 'klingon'"),
        (
            b'text,label\n"' + b"x" * 200_000 + b'",y\n',
            Columns(),
            r"no table: field larger .* after line 1\. \(is a quote opened and not closed",
        ),
        (
            b"text;label\n1;2\n",
            Columns(),
            r"by ';', it seems: its header is text;label\. \(separate",
        ),
        (b"text\tlabel\n1\t2\n", Columns(), r"by '\\t', it seems.*ends in \.tsv"),
    ],
)
def test_what_is_no_table_is_said(
    tmp_path: Path, content: bytes, columns: Columns, said: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(Invalid, match=said):
        read_table(path, columns)


def test_a_missing_table_and_broken_lines_are_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="missing.csv: No such file"):
        read_table(tmp_path / "missing.csv", Columns())
    (tmp_path / "t.jsonl").write_text('{"text": "x", "label": "y"}\n[1]\n')
    with pytest.raises(Invalid, match="line 2 is no object"):
        read_table(tmp_path / "t.jsonl", Columns())


def test_too_little_makes_no_suite(tmp_path: Path) -> None:
    few = Table(examples=tuple(Example(text=f"t {n}", label="ab"[n % 2]) for n in range(30)))
    with pytest.raises(Invalid, match="leave 24 to test with, of 30 at least, 6 to"):
        make_suite(few, tmp_path / "suite")
    one = Table(examples=tuple(Example(text=f"t {n}", label="a") for n in range(300)))
    with pytest.raises(Invalid, match="1 labels, of 2 at least"):
        make_suite(one, tmp_path / "suite")
    with pytest.raises(Invalid, match="within 0 and 1, not 1"):
        make_suite(one, tmp_path / "suite", train=1)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "suite").mkdir()
    with pytest.raises(Conflict, match="exists"):
        make_suite(few, tmp_path / "suite")


@given(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=400),
    st.floats(0, 0.9, allow_nan=False),
)
def test_every_text_is_dealt_once(labels: list[str], train: float) -> None:
    examples = [Example(text=str(n), label=label) for n, label in enumerate(labels)]
    splits = deal(examples, train=train)
    dealt = [one.text for some in splits.values() for one in some]
    assert sorted(dealt) == sorted(one.text for one in examples)
    assert len(splits["calibration"]) <= 104


def test_a_suite_of_many_small_labels_can_be_loaded(tmp_path: Path) -> None:
    many_labels = [Example(text=f"t {n}", label=f"l {n // 2}") for n in range(80)]
    suite = make_suite(Table(examples=tuple(many_labels)), tmp_path / "suite")
    assert suite.splits["calibration"] and len(suite.splits["test"]) >= 30


def test_half_a_character_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "\\ud800", "label": "a"}\n{"text": "whole", "label": "b"}\n')
    found = read_table(path, Columns())
    assert (len(found.examples), found.empty) == (1, 1)


def test_a_suite_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    table = Table(examples=tuple(Example(text=f"t {n}", label="ab"[n % 2]) for n in range(200)))
    with pytest.raises(Invalid, match="cannot be written"):
        make_suite(table, tmp_path / "file" / "suite")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_column_becomes_slices(tmp_path: Path) -> None:
    rows = [(f"text {n}", "ab"[n % 2], ("zh", "en", "")[n % 3], "x=y") for n in range(90)]
    path = table(tmp_path / "t.csv", [("text", "label", "language", "source"), *rows])
    found = read_table(path, Columns(slices=("language", "source")))
    suite = make_suite(found, tmp_path / "suite")
    told = {one.text: one.slices for some in suite.splits.values() for one in some}
    assert told["text 0"] == ("language=zh", "source=x=y")
    assert told["text 2"] == ("source=x=y",)
    with pytest.raises(Invalid, match="no column 'tongue'.*--slice"):
        read_table(path, Columns(slices=("tongue",)))
