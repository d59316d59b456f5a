"""Make a suite out of a table of texts and labels.

Texts are dealt to the splits label by label, seeded: the same table always gives the same suite.
"""

import csv
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import ceil
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

from evaluation.suites import Example, Suite, load_suite
from infra.files import sync_folder, write_atomic
from release.errors import Conflict, Invalid, NotFound
from release.gates import FEWEST

CALIBRATION = 100
"""Texts set apart for quantization and parity, where there are enough."""

SEED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where a table holds what."""

    text: str = "text"
    label: str = "label"
    encoding: str = "utf-8"


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
    for wanted, option in ((columns.text, "--text"), (columns.label, "--label")):
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
    sure = [Example(text=text, label=min(said)) for text, said in labels.items() if len(said) == 1]
    return Table(
        examples=tuple(sure),
        empty=empty,
        repeated=repeated,
        contradictory=len(labels) - len(sure),
        ragged=ragged,
    )


def _has_surplus(row: Mapping[str | None, object]) -> bool:
    """Whether anything stands beyond the header; empty cells there are a spreadsheet's habit."""
    surplus = row.get(_SURPLUS)
    return isinstance(surplus, list) and any(map(_cell, surplus))


def _broken(text: str) -> bool:
    """Whether a text holds half a character, as JSON can write one."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _cell(value: object) -> str:
    return "" if value is None else str(value).strip()


def make_suite(table: Table, folder: Path, *, train: float = 0.0) -> Suite:
    """Deal a table's texts to splits and write them down, whole or not at all.

    Args:
        table: what was read.
        folder: must not exist yet.
        train: part of each label's texts (0..1) that is set apart for training.

    Raises:
        Conflict: the folder exists.
        Invalid: there are too few texts or labels to judge a model by.
    """
    if folder.exists():
        raise Conflict(f"{folder} exists.", "choose another folder, or remove it")
    splits = deal(table.examples, train=train)
    labels = {one.label for one in table.examples}
    test, calibration = len(splits["test"]), len(splits["calibration"])
    if test < FEWEST or len(labels) < 2 or not calibration:
        raise Invalid(
            f"{len(table.examples)} usable texts leave {test} to test with, of {FEWEST} at least, "
            f"{calibration} to calibrate, of 1 at least, and {len(labels)} labels, of 2 at least.",
            "; ".join(("bring more texts", *(f"left out: {said}" for said in table.left_out))),
        )
    aside = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}")
    try:
        aside.mkdir(parents=True)
        _write(aside, folder.name, splits)
        load_suite(aside.resolve())
        aside.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise Invalid(f"The suite cannot be written to {folder}: {error}.") from error
    finally:
        rmtree(aside, ignore_errors=True)
    return load_suite(folder.resolve())


def deal(examples: Sequence[Example], *, train: float) -> dict[str, list[Example]]:
    """Deal texts to `train`, `calibration` and `test`, each label to each in like parts.

    Calibration gets up to `CALIBRATION` texts, but at most a fifth of what training leaves.
    """
    if not 0 <= train < 1:
        raise Invalid(f"The part for training must be within 0 and 1, not {train:g}.")
    chance = random.Random(SEED)  # noqa: S311 - a fixed deal, no secret
    left = (1 - train) * len(examples)
    part = min(CALIBRATION, left / 5) / max(1.0, left)
    splits: dict[str, list[Example]] = {"train": [], "calibration": [], "test": []}
    for label in sorted({one.label for one in examples}):
        mine = [one for one in examples if one.label == label]
        chance.shuffle(mine)
        first = round(train * len(mine))
        # Upwards: rounded to nothing for every label, nothing at all would be left to calibrate.
        second = first + ceil(part * (len(mine) - first))
        for split, some in zip(
            splits, (mine[:first], mine[first:second], mine[second:]), strict=True
        ):
            splits[split] += some
    for some in splits.values():
        chance.shuffle(some)
    return {split: some for split, some in splits.items() if some or split != "train"}


def _write(folder: Path, name: str, splits: Mapping[str, Sequence[Example]]) -> None:
    entries = {}
    for split, some in splits.items():
        lines = "".join(
            json.dumps({"text": one.text, "label": one.label}, ensure_ascii=False) + "\n"
            for one in some
        )
        write_atomic(folder / f"{split}.jsonl", lines.encode())
        digest = sha256(lines.encode()).hexdigest()
        entries[split] = {"file": f"{split}.jsonl", "sha256": digest, "n": len(some)}
    labels = sorted({one.label for some in splits.values() for one in some})
    facts = {"name": name, "task": "text-classification", "labels": labels, "splits": entries}
    text = json.dumps(facts, ensure_ascii=False, indent=2) + "\n"
    write_atomic(folder / "suite.json", text.encode())
