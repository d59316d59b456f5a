"""Read tables of texts and labels as people have them: doubled, half empty, in any encoding."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.suites import Example
from release.errors import Invalid, NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where a table holds what."""

    text: str = "text"
    label: str = "label"
    encoding: str = "utf-8"
    slices: tuple[str, ...] = ()
    """Columns that say which texts belong together, such as their language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of a table that can be used, and what was left out."""

    examples: tuple[Example, ...]
    empty: int = 0
    """Rows without a text or a label, or with half a character in one."""

    repeated: int = 0
    """Rows whose text stood there before, under the same label."""

    contradictory: int = 0
    """Texts that stood there under several labels; none of them is used."""

    ragged: int = 0
    """Rows with more cells than the header has: a text with a comma that nobody quoted."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was left out and why, a phrase each."""
        told = (
            (self.empty, "without a text or a label"),
            (self.ragged, "with more cells than the header (is a text with a comma not quoted?)"),
            (self.repeated, "that stood there before"),
        )
        said = [f"{_counted(count, 'row')} {what}" for count, what in told if count]
        if self.contradictory:
            said.append(f"{_counted(self.contradictory, 'text')} under several labels")
        return tuple(said)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def read_table(path: Path, columns: Columns) -> Table:
    """Read a CSV file with a header, or JSON Lines, by the file's ending.

    Args:
        path: `.csv`, `.tsv` or `.jsonl`.
        columns: names of the columns, and the file's encoding.

    Raises:
        NotFound: there is no such file.
        Invalid: it cannot be read as such a table; says what it holds instead.
    """
    try:
        with path.open(encoding=_encoding(columns.encoding), newline="") as file:
            rows = list(
                _jsonl(file, path, columns)
                if path.suffix == ".jsonl"
                else _csv(file, path, columns)
            )
    except OSError as error:
        raise NotFound(f"No table can be read at {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        wrong = error.object[error.start]
        raise Invalid(
            f"{path} is not {columns.encoding}: byte {error.start} is {wrong:#x}.",
            "name its encoding, such as --encoding gb18030",
        ) from error
    except csv.Error as error:
        raise Invalid(
            f"{path} is no table: {error}.", "is a quote opened and not closed?"
        ) from error
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


Rows = Sequence[Mapping[str | None, object]]

_SURPLUS = None
"""Key under which the csv module gives what stands beyond the header's last column."""

_OTHER = re.compile(r"[,;\t|]")
"""What may separate columns."""


def _csv(
    file: Iterator[str], path: Path, columns: Columns
) -> Iterator[Mapping[str | None, object]]:
    reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
    try:
        names = reader.fieldnames or []
        if len(names) == 1 and (other := _OTHER.search(names[0])):
            _separated(path, names[0], other[0], columns)
        _has(path, names, columns)
        yield from reader
    except csv.Error as error:
        raise csv.Error(f"{error} after line {reader.line_num}") from error


def _separated(path: Path, name: str, by: str, columns: Columns) -> None:
    """Refuse a table whose only column is all of its columns."""
    if name not in (columns.text, columns.label):
        raise Invalid(
            f"{path} separates its columns by {by!r}, it seems: its header is {name:.80}.",
            "separate them by commas, or by tabs in a file that ends in .tsv",
        )


def _has(path: Path, found: Iterable[str], columns: Columns) -> None:
    slices = [(name, "--slice") for name in columns.slices]
    for wanted, option in ((columns.text, "--text"), (columns.label, "--label"), *slices):
        if wanted not in found:
            listed = ", ".join(map(repr, found)) or "none"
            raise Invalid(
                f"{path} has no column {wanted!r}; it has {listed:.200}.", f"name it with {option}"
            )


def _jsonl(
    file: Iterator[str], path: Path, columns: Columns
) -> Iterator[Mapping[str | None, object]]:
    names: dict[str, None] = {}
    for number, line in enumerate(file, start=1):
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no object")
            names |= dict.fromkeys(row)
            yield row
    if names:
        _has(path, names, columns)


def _sorted_out(rows: Rows, columns: Columns) -> Table:
    """Keep each text once, and none whose label is in doubt."""
    labels: dict[str, set[str]] = {}
    slices: dict[str, tuple[str, ...]] = {}
    empty = repeated = ragged = 0
    for row in rows:
        if _has_surplus(row):
            ragged += 1
            continue
        text, label = _cell(row.get(columns.text)), _cell(row.get(columns.label))
        if not text or not label or _broken(text + label):
            empty += 1
            continue
        repeated += label in labels.setdefault(text, set())
        labels[text].add(label)
        slices.setdefault(text, tuple(_slices(row, columns)))
    sure = [
        Example(text=text, label=min(said), slices=slices[text])
        for text, said in labels.items()
        if len(said) == 1
    ]
    return Table(
        examples=tuple(sure),
        empty=empty,
        repeated=repeated,
        contradictory=len(labels) - len(sure),
        ragged=ragged,
    )


def _slices(row: Mapping[str | None, object], columns: Columns) -> Iterator[str]:
    for name in columns.slices:
        value = _cell(row.get(name))
        if value and not _broken(value):
            yield f"{name}={value}"


def _has_surplus(row: Mapping[str | None, object]) -> bool:
    """Whether anything stands beyond the header; empty cells there are a spreadsheet's habit."""
    surplus = row.get(_SURPLUS)
    return isinstance(surplus, list) and any(map(_cell, surplus))


def _broken(text: str) -> bool:
    """Whether a text holds half a character, as JSON can write one."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _cell(value: object) -> str:
    return "" if value is None else str(value).strip()
