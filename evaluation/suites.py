"""A suite: labelled texts in named splits, under one digest.

A folder with `suite.json` and one JSON Lines file a split. `suite.json` holds `name`, `task`,
`labels` and `splits`, where each split has `file`, `sha256` and `n`. Each line of a split is an
object with `text` and `label`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from release.digests import digest_of
from release.errors import Invalid, NotFound

NEEDED = ("calibration", "test")
"""Splits without which nothing can be released."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One text and what it should be called."""

    text: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A verified suite."""

    name: str
    labels: tuple[str, ...]
    splits: Mapping[str, tuple[Example, ...]]
    digest: str
    """Over the labels and the content of every split."""

    def texts(self, split: str) -> list[str]:
        """Texts of a split, in order."""
        return [example.text for example in self.splits[split]]

    def references(self, split: str) -> list[int]:
        """Label indices of a split, in order."""
        index = {label: number for number, label in enumerate(self.labels)}
        return [index[example.label] for example in self.splits[split]]


@cache
def load_suite(folder: Path) -> Suite:
    """Read and verify a suite.

    Args:
        folder: where `suite.json` lies.

    Raises:
        NotFound: there is no suite in the folder.
        Invalid: a file differs from its sum, a label is unknown, a text stands in two splits.
    """
    try:
        facts = json.loads((folder / "suite.json").read_text(encoding="utf-8"))
        name, labels = str(facts["name"]), tuple(map(str, facts["labels"]))
        entries: Mapping[str, Mapping[str, Any]] = facts["splits"]
        splits = {split: _split(folder, split, entry) for split, entry in entries.items()}
    except OSError as error:
        where = error.filename or folder
        raise NotFound(f"No suite can be read at {where}.", "see [suite] path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(f"{folder / 'suite.json'} is not a suite: {error!r}.") from error
    _check(folder, labels, splits)
    sums = {split: entries[split]["sha256"] for split in splits}
    digest = digest_of({"labels": labels, "splits": sums})
    return Suite(name=name, labels=labels, splits=splits, digest=digest)


def _split(folder: Path, split: str, entry: Mapping[str, Any]) -> tuple[Example, ...]:
    content = (folder / str(entry["file"])).read_bytes()
    found = sha256(content).hexdigest()
    if found != str(entry["sha256"]).removeprefix("sha256:"):
        raise Invalid(
            f"Split {split!r} of {folder} is not what suite.json names: sha256 is {found[:12]}….",
            "build the suite again",
        )
    lines = content.decode("utf-8").split("\n")
    return tuple(
        _example(line, f"{folder / str(entry['file'])}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )


def _example(line: str, where: str) -> Example:
    """Read one line; what a gateway would refuse of a client is no example either."""
    try:
        row = json.loads(line)
        text, label = row["text"], row["label"]
    except (ValueError, KeyError, TypeError) as error:
        hint = 'each line is {"text": "…", "label": "…"}'
        raise Invalid(f"{where} is no example: {error!r}.", hint) from error
    if not isinstance(text, str) or not isinstance(label, str) or not text.strip():
        raise Invalid(f"{where}: text and label must be texts that are not empty.")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise Invalid(f"{where}: the text holds half a character (a lone surrogate).")
    return Example(text=text, label=label)


def _check(
    folder: Path, labels: tuple[str, ...], splits: Mapping[str, tuple[Example, ...]]
) -> None:
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise Invalid(f"{folder} needs two or more different labels, not {labels!r}.")
    for split in NEEDED:
        if not splits.get(split):
            raise Invalid(f"{folder} has no texts in its split {split!r}.")
    owner: dict[str, str] = {}
    for split, examples in splits.items():
        for example in examples:
            if example.label not in labels:
                raise Invalid(f"{folder}: {split} has the unknown label {example.label!r}.")
            if owner.setdefault(example.text, split) != split:
                shown = example.text[:60]
                other = owner[example.text]
                raise Invalid(f"{folder}: {shown!r} stands in both {other} and {split}.")
