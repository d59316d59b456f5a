"""Read a table of examples, as tables really are: quoted, doubled, half empty, in any encoding."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evaluation.examples import TAKEN, Example, Kind, Marked, Pair, broken, similarity, spans
from release.errors import Invalid, NotFound
from release.variants import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where a table holds what; which are looked for is the task's."""

    task: Task = Task.TEXT_CLASSIFICATION
    text: str = "text"
    label: str = "label"
    entities: str = "entities"
    """A JSON list of objects with `start`, `end` and `label`."""

    other: str = "other"
    similarity: str = "similarity"
    encoding: str = "utf-8"
    slices: tuple[str, ...] = ()
    """Columns that say which texts belong together, such as their language."""

    def __post_init__(self) -> None:
        for name in self.slices:
            if name in TAKEN:
                said = f"No slice of one's own can be called {name!r}."
                raise Invalid(said, f"the report tells {' and '.join(TAKEN)} apart by itself")

    @property
    def needed(self) -> dict[str, str]:
        """Columns that the task needs, and the option that names each."""
        named = {
            Task.TEXT_CLASSIFICATION: ("text", "label"),
            Task.TOKEN_CLASSIFICATION: ("text", "entities"),
            Task.FEATURE_EXTRACTION: ("text", "other", "similarity"),
        }
        needed = {str(getattr(self, one)): f"--{one}" for one in named[self.task]}
        return needed | {one: "--slice" for one in self.slices if one not in needed}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of a table that can be used, and what was left out."""

    examples: tuple[Kind, ...]
    task: Task = Task.TEXT_CLASSIFICATION
    empty: int = 0
    """Rows without a text or what is said of it, or with half a character in one."""

    repeated: int = 0
    """Rows whose text stood there before, with the same said of it."""

    contradictory: int = 0
    """Texts of which several things were said; none of them is used."""

    ragged: int = 0
    """Rows with more cells than the header has: a text with a comma that nobody quoted."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was left out and why, a phrase each."""
        what, asked, several = _SAID[self.task]
        surplus = "with more cells than the header (is a text with a comma not quoted?)"
        told = (
            (self.empty, "row", f"without {what}"),
            (self.ragged, "row", surplus),
            (self.repeated, "row", "that stood there before"),
            (self.contradictory, asked, several),
        )
        return tuple(
            f"{count} {one}{'' if count == 1 else 's'} {why}" for count, one, why in told if count
        )


_SAID = {
    Task.TEXT_CLASSIFICATION: ("a text or a label", "text", "under several labels"),
    Task.TOKEN_CLASSIFICATION: ("a text or entities", "text", "with several lists of entities"),
    Task.FEATURE_EXTRACTION: ("two texts or a similarity", "pair", "with several similarities"),
}
"""Task to what a row must have, what it asks, and what is said of those that contradict."""

Row = Mapping[str | None, object]
Rows = Iterable[tuple[str, Row]]
"""Rows of a table, each with where it stands."""


def read_table(path: Path, columns: Columns) -> Table:
    """Read a CSV file with a header, or JSON Lines, by the file's ending.

    Args:
        path: `.csv`, `.tsv` or `.jsonl`.
        columns: the task, names of the columns, and the file's encoding.

    Raises:
        NotFound: there is no such file.
        Invalid: it cannot be read as such a table; says what it holds instead.
    """
    read = _jsonl if path.suffix == ".jsonl" else _csv
    try:
        with path.open(encoding=_encoding(columns.encoding), newline="") as file:
            rows = list(read(file, path, columns))
    except OSError as error:
        raise NotFound(f"No table can be read at {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        wrong = error.object[error.start]
        raise Invalid(
            f"{path} is not {columns.encoding}: byte {error.start} is {wrong:#x}.",
            "name its encoding, such as --encoding gb18030",
        ) from error
    except csv.Error as error:
        hint = "is a quote opened and not closed?"
        raise Invalid(f"{path} is no table: {error}.", hint) from error
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{path} is no table: {error}.") from error
    return _sorted_out(rows, columns)


def _encoding(name: str) -> str:
    """Let a byte order mark, as spreadsheets write it, be no part of the first column's name."""
    try:
        "".encode(name)
    except LookupError as error:
        raise Invalid(f"No encoding is called {name!r}.", "such as utf-8 or gb18030") from error
    return "utf-8-sig" if name.lower().replace("_", "-") in ("utf-8", "utf8") else name


_SURPLUS = None
"""Key under which the csv module gives what stands beyond the header's last column."""

_SEPARATOR = re.compile(r"[,;\t|]")
"""What may separate columns."""


def _csv(file: Iterator[str], path: Path, columns: Columns) -> Iterator[tuple[str, Row]]:
    reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
    try:
        names = reader.fieldnames or []
        _check_separated(path, names, columns)
        _has(path, names, columns)
        for row in reader:
            yield f"{path}, line {reader.line_num}", row
    except csv.Error as error:
        raise csv.Error(f"{error} after line {reader.line_num}") from error


def _check_separated(path: Path, names: Sequence[str], columns: Columns) -> None:
    """Refuse a table whose only column is all of its columns."""
    by = _SEPARATOR.search(names[0]) if len(names) == 1 else None
    if by and names[0] not in columns.needed:
        raise Invalid(
            f"{path} separates its columns by {by[0]!r}, it seems: its header is {names[0]:.80}.",
            "separate them by commas, or by tabs in a file that ends in .tsv",
        )


def _has(path: Path, found: Iterable[str], columns: Columns) -> None:
    for wanted, option in columns.needed.items():
        if wanted not in found:
            listed = ", ".join(map(repr, found)) or "none"
            raise Invalid(
                f"{path} has no column {wanted!r}; it has {listed:.200}.", f"name it with {option}"
            )


def _jsonl(file: Iterator[str], path: Path, columns: Columns) -> Iterator[tuple[str, Row]]:
    names: dict[str, None] = {}
    for number, line in enumerate(file, start=1):
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no object")
            names |= dict.fromkeys(row)
            yield f"{path}, line {number}", row
    if names:
        _has(path, names, columns)


def _sorted_out(rows: Rows, columns: Columns) -> Table:
    """Keep each text once, and none of which different things are said."""
    read = _READERS[columns.task]
    kept: dict[tuple[str, ...], dict[Kind, tuple[str, ...]]] = {}
    empty = repeated = ragged = 0
    for where, row in rows:
        if _has_surplus(row):
            ragged += 1
            continue
        example = read(row, columns, where)
        if example is None:
            empty += 1
            continue
        said = kept.setdefault(example.texts, {})
        repeated += example in said
        said.setdefault(example, tuple(_slices(row, columns)))
    sure = [
        replace(example, slices=slices)
        for said in kept.values()
        if len(said) == 1
        for example, slices in said.items()
    ]
    return Table(
        examples=tuple(sure),
        task=columns.task,
        empty=empty,
        repeated=repeated,
        contradictory=len(kept) - len(sure),
        ragged=ragged,
    )


def _has_surplus(row: Row) -> bool:
    """Whether anything stands beyond the header; empty cells there are a spreadsheet's habit."""
    surplus = row.get(_SURPLUS)
    return isinstance(surplus, list) and any(map(_cell, surplus))


def _slices(row: Row, columns: Columns) -> Iterator[str]:
    for name in columns.slices:
        value = _cell(row.get(name))
        if value and not broken(value):
            yield f"{name}={value}"


def _classified(row: Row, columns: Columns, where: str) -> Example | None:
    text, label = _cell(row.get(columns.text)), _cell(row.get(columns.label))
    if not text or not label or broken(text + label):
        return None
    return Example(text=text, label=label)


def _marked(row: Row, columns: Columns, where: str) -> Marked | None:
    """Take a text as it stands: without its first blanks, every offset would be another."""
    given, found = row.get(columns.text), row.get(columns.entities)
    text = "" if given is None else str(given)
    if not text.strip() or broken(text) or found is None or found == "":
        return None
    return Marked(text=text, entities=spans(_json(found, where), text, where))


def _json(cell: object, where: str) -> object:
    """Read a cell that holds JSON; a line of JSON holds it read already."""
    if not isinstance(cell, str):
        return cell
    try:
        found: object = json.loads(cell)
    except (ValueError, RecursionError) as error:
        hint = 'such as [{"start": 0, "end": 4, "label": "PER"}], and [] where there is none'
        raise Invalid(f"{where}: {cell!r:.60} is no JSON: {error}.", hint) from error
    return found


def _alike(row: Row, columns: Columns, where: str) -> Pair | None:
    text, other, said = (
        _cell(row.get(one)) for one in (columns.text, columns.other, columns.similarity)
    )
    if not text or not other or not said or broken(text + other):
        return None
    try:
        number = similarity(float(said), where)
    except ValueError:
        number = similarity(said, where)
    return Pair(text=text, other=other, similarity=number)


def _cell(value: object) -> str:
    return "" if value is None else str(value).strip()


_READERS: Mapping[Task, Callable[[Row, Columns, str], Kind | None]] = {
    Task.TEXT_CLASSIFICATION: _classified,
    Task.TOKEN_CLASSIFICATION: _marked,
    Task.FEATURE_EXTRACTION: _alike,
}
"""Task to what makes an example of a row; None where the row says nothing."""
