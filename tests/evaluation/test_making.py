"""A suite out of a table, as tables really are: quoted, doubled, half empty, in any encoding."""

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.examples import Example
from evaluation.making import deal, make_suite
from evaluation.tables import Columns, Table, read_table
from release.errors import Conflict, Invalid, NotFound
from release.variants import Task

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
        assert set(Counter(label for one in some for label in one.labels).values()) == {
            len(some) // 2
        }
    again = make_suite(found, tmp_path / "again", train=0.5)
    assert again.digest == suite.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "suite", name]


def test_json_lines_are_a_table_too(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({"q": f"text {n}", "a": n % 2}) for n in range(60)) + "\n")
    found = read_table(path, Columns(text="q", label="a"))
    assert len(found.examples) == 60
    assert {label for one in found.examples for label in one.labels} == {"0", "1"}


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


def entities(count: int) -> list[tuple[str, ...]]:
    """Texts that begin with a blank; one in ten names a place, and every second a person."""

    def marks(n: int) -> list[dict[str, object]]:
        person = [{"start": 1, "end": 3, "label": "人"}] if n % 2 == 0 else []
        return person + ([{"start": 5, "end": 6, "label": "LOC"}] if n % 10 == 0 else [])

    return [(f" 安娜, 京, {n}", json.dumps(marks(n), ensure_ascii=False)) for n in range(count)]


ENTITIES = Columns(task=Task.TOKEN_CLASSIFICATION, entities="marks")


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_a_table_of_entities_becomes_a_suite(tmp_path: Path, encoding: str) -> None:
    path = table(tmp_path / "t.csv", [("text", "marks"), *entities(200)], encoding=encoding)
    suite = make_suite(read_table(path, replace(ENTITIES, encoding=encoding)), tmp_path / "suite")
    assert (suite.task, suite.labels) == (Task.TOKEN_CLASSIFICATION, ("LOC", "人"))
    # The first blank stays, or every offset would be another.
    assert all(text.startswith(" 安娜") for text in suite.texts("test"))
    assert len(suite.splits["calibration"]) == 40
    # The rarest label is dealt in like parts, too.
    places = [sum("LOC" in one.labels for one in suite.splits[s]) for s in ("calibration", "test")]
    assert places == [4, 16]


def test_json_lines_hold_entities_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    rows = [{"text": text, "marks": json.loads(marks)} for text, marks in entities(20)]
    twice = {"text": "a b", "marks": [{"start": 0, "end": 1, "label": "人"}]}
    rows += [twice, twice, twice | {"text": "a", "marks": []}, twice | {"text": "a"}]
    rows += [{"text": "x", "marks": None}, {"text": "  ", "marks": []}, {"text": "no marks"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = read_table(path, ENTITIES)
    assert (len(found.examples), found.empty) == (21, 3)
    assert (found.repeated, found.contradictory) == (1, 1)


def test_a_table_of_pairs_becomes_a_suite(tmp_path: Path) -> None:
    rows = [(f"one {n}", f"two {n % 7}", str(n % 11 / 10)) for n in range(200)]
    again = [("one 0", "two 0", "0"), ("one 1", "two 1", "0.7"), ("one 0", "two 3", "1")]
    path = table(tmp_path / "t.tsv", [("a", "b", "c"), *rows, *again, ("x", "", "1")])
    columns = Columns(task=Task.FEATURE_EXTRACTION, text="a", other="b", similarity="c")
    found = read_table(path, columns)
    assert (found.empty, found.repeated, found.contradictory) == (1, 1, 1)
    suite = make_suite(found, tmp_path / "suite", train=0.5)
    assert (suite.task, suite.labels) == (Task.FEATURE_EXTRACTION, ())
    assert {split: len(some) for split, some in suite.splits.items()} == {
        "train": 100,
        "calibration": 20,
        "test": 80,
    }


@pytest.mark.parametrize(
    ("row", "columns", "said"),
    [
        (("Anna", "["), ENTITIES, r"t.csv, line 2: '\[' is no JSON.*such as \["),
        (("Anna", "{}"), ENTITIES, r"line 2: entities must be a list, not {}"),
        (
            ("Anna", '[{"start": 0, "end": 5, "label": "P"}]'),
            ENTITIES,
            "line 2: 'P' at 0..5 is no part of a text of 4 characters",
        ),
        (("a", "b", "3.8"), Columns(task=Task.FEATURE_EXTRACTION), "line 2.*within 0..1, not 3.8"),
        (("a", "b", "high"), Columns(task=Task.FEATURE_EXTRACTION), "within 0..1, not 'high'"),
        (("a", "b"), replace(ENTITIES, entities="spans"), r"no column 'spans'.*--entities"),
        (("a", "b", "1"), Columns(task=Task.FEATURE_EXTRACTION, other="o"), "column 'o'.*--other"),
    ],
)
def test_what_is_wrong_in_a_row_is_said(
    tmp_path: Path, row: tuple[str, ...], columns: Columns, said: str
) -> None:
    header = ("text", "marks") if columns.task == ENTITIES.task else ("text", "other", "similarity")
    with pytest.raises(Invalid, match=said):
        read_table(table(tmp_path / "t.csv", [header, row]), columns)


def test_too_few_pairs_are_called_pairs(tmp_path: Path) -> None:
    rows = [(f"one {n}", "two", str(n / 40)) for n in range(30)]
    path = table(tmp_path / "t.csv", [("text", "other", "similarity"), *rows])
    few = read_table(path, Columns(task=Task.FEATURE_EXTRACTION))
    with pytest.raises(Invalid, match=r"^30 usable pairs leave 24 .*calibrate, of 1 at least\."):
        make_suite(few, tmp_path / "suite")


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
    with pytest.raises(Invalid, match="called 'label'.*label and characters apart by itself"):
        Columns(slices=("label",))


@pytest.mark.parametrize("task", [Task.TOKEN_CLASSIFICATION, Task.FEATURE_EXTRACTION])
def test_what_is_left_out_is_told_of_every_task(tmp_path: Path, task: Task) -> None:
    """And slices are the first row's: a row that differs in them alone is a repeated one."""
    said = {
        Task.TOKEN_CLASSIFICATION: (
            "text",
            "entities",
            "[]",
            '[{"start": 0, "end": 4, "label": "P"}]',
        ),
        Task.FEATURE_EXTRACTION: ("text,other", "similarity", "0", "1"),
    }[task]
    texts, header, no, yes = said
    asked = tuple(texts.split(","))
    many = [(*[f"said {n}" for _ in asked], (no, yes)[n % 2], "zh") for n in range(50)]
    more = [
        (*["said 0" for _ in asked], no, "en"),
        (*["said 1" for _ in asked], no, "en"),
        (*["" for _ in asked], no, "en"),
        (*["cut, in two" for _ in asked], no, "en", "much"),
    ]
    path = table(tmp_path / "t.csv", [(*asked, header, "language"), *many, *more])
    found = read_table(path, Columns(task=task, slices=("language",)))
    one, missing, several = {
        Task.TOKEN_CLASSIFICATION: ("text", "a text or entities", "lists of entities"),
        Task.FEATURE_EXTRACTION: ("pair", "two texts or a similarity", "similarities"),
    }[task]
    assert found.left_out == (
        f"1 row without {missing}",
        "1 row with more cells than the header (is a text with a comma not quoted?)",
        "1 row that stood there before",
        f"1 {one} with several {several}",
    )
    suite = make_suite(found, tmp_path / "suite")
    for some in suite.splits.values():
        assert all(one.slices == ("language=zh",) for one in some)
