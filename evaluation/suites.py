"""A suite: labelled texts in named splits, under one digest.

A folder with `suite.json` and one JSON Lines file a split. `suite.json` holds `name`, `task`,
`labels` and `splits`, where each split has `file`, `sha256` and `n`. Each line of a split is an
object with `text` and `label`, and may hold `slices`: an object such as `{"language": "zh"}`, by
which the report tells texts apart.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from release.digests import digest_of
from release.errors import Invalid, NotFound

LENGTHS: Mapping[float, str] = {
    32: "1-32",
    64: "33-64",
    128: "65-128",
    256: "129-256",
    512: "257-512",
    1024: "513-1024",
    float("inf"): "1025 and more",
}
"""Most characters of a text to the name of its slice."""

NEEDED = ("calibration", "test")
"""Splits without which nothing can be released."""

TAKEN = ("label", "characters")
"""Slices that every suite has by itself."""


_SHAPE = "suite.json holds name, labels and splits, and each split its file and sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One text and what it should be called."""

    text: str
    label: str
    slices: tuple[str, ...] = ()
    """Such as `language=zh`."""


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

    def masks(self, split: str) -> Mapping[str, NDArray[np.bool_]]:
        """Tell a split's texts apart: slice name to which texts are in it, shape [n].

        By label, by length in characters, and by the suite's own slices. Empty ones are absent.
        """
        examples = self.splits[split]
        named = [(f"label={one.label}", _length(one.text), *one.slices) for one in examples]
        lengths = [f"characters={one}" for one in LENGTHS.values()]
        order = [f"label={label}" for label in self.labels] + lengths
        order += sorted({name for names in named for name in names} - set(order))
        masks = {name: np.array([name in names for names in named]) for name in order}
        return {name: mask for name, mask in masks.items() if mask.any()}


def _length(text: str) -> str:
    fitting = next(limit for limit in LENGTHS if len(text) <= limit)
    return f"characters={LENGTHS[fitting]}"


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
        facts = _facts(folder / "suite.json")
        labels = tuple(map(str, facts["labels"]))
        entries: Mapping[str, Mapping[str, Any]] = facts["splits"]
        splits = {split: _split(folder, split, entry) for split, entry in entries.items()}
    except OSError as error:
        where = error.filename or folder
        raise NotFound(f"No suite can be read at {where}.", "see [suite] path") from error
    _check(folder, labels, splits)
    sums = {split: entries[split]["sha256"] for split in splits}
    digest = digest_of({"labels": labels, "splits": sums})
    return Suite(name=str(facts["name"]), labels=labels, splits=splits, digest=digest)


def _facts(path: Path) -> Mapping[str, Any]:
    """Read `suite.json`, which has every part that a suite needs, in its shape."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{path} is not a suite: {error}.", _SHAPE) from error
    if not isinstance(facts, dict):
        raise Invalid(f"{path} is not a suite: it holds no object.", _SHAPE)
    for part, kind in {"name": str, "labels": list, "splits": dict}.items():
        if not isinstance(found := facts.get(part), kind):
            raise Invalid(f"{path} is not a suite: its {part} is {found!r:.60}.", _SHAPE)
    for split, entry in facts["splits"].items():
        if not isinstance(entry, dict) or not {"file", "sha256"} <= entry.keys():
            raise Invalid(f"{path} is not a suite: its split {split!r} is {entry!r:.60}.", _SHAPE)
    return facts


def _split(folder: Path, split: str, entry: Mapping[str, Any]) -> tuple[Example, ...]:
    file = str(entry["file"])
    if Path(file).name != file:
        raise Invalid(
            f"Split {split!r} of {folder} names the file {file!r:.80}, which is outside.",
            "put it beside suite.json",
        )
    content = (folder / file).read_bytes()
    found = sha256(content).hexdigest()
    if found != str(entry["sha256"]).removeprefix("sha256:"):
        raise Invalid(
            f"Split {split!r} of {folder} is not what suite.json names: sha256 is {found[:12]}….",
            "build the suite again",
        )
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise Invalid(f"{folder / file} is not UTF-8: {error}.", "save it as UTF-8") from error
    return tuple(
        _example(line, f"{folder / file}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )


def _example(line: str, where: str) -> Example:
    """Read one line; what a gateway would refuse of a client is no example either."""
    hint = 'each line is {"text": "…", "label": "…"}'
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{where} is no example: {error}.", hint) from error
    if not isinstance(row, dict) or not {"text", "label"} <= row.keys():
        raise Invalid(f"{where} is no example: {line.strip()!r:.80}.", hint)
    text, label, slices = row["text"], row["label"], row.get("slices", {})
    if not isinstance(text, str) or not isinstance(label, str) or not text.strip():
        raise Invalid(f"{where}: text and label must be texts that are not empty.")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise Invalid(f"{where}: the text holds half a character (a lone surrogate).")
    return Example(text=text, label=label, slices=_slices(slices, where))


def _slices(given: object, where: str) -> tuple[str, ...]:
    plain = isinstance(given, dict) and all(
        isinstance(name, str) and isinstance(value, str) and name and value and name not in TAKEN
        for name, value in given.items()
    )
    if not plain:
        raise Invalid(
            f"{where}: slices must map names to texts, not {given!r:.80}.",
            f'such as {{"language": "zh"}}; {" and ".join(TAKEN)} are taken',
        )
    assert isinstance(given, dict)  # noqa: S101 - just looked at
    return tuple(f"{name}={value}" for name, value in given.items())


def _check(
    folder: Path, labels: tuple[str, ...], splits: Mapping[str, tuple[Example, ...]]
) -> None:
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise Invalid(f"{folder} needs two or more different labels, not {labels!r}.")
    for split in NEEDED:
        if not splits.get(split):
            hint = f"a suite needs texts in {' and '.join(NEEDED)}"
            raise Invalid(f"{folder} has no texts in its split {split!r}.", hint)
    owner: dict[str, str] = {}
    for split, examples in splits.items():
        for example in examples:
            if example.label not in labels:
                said = f"{folder}: {split} has the unknown label {example.label!r:.60}."
                raise Invalid(said, f"its labels are {', '.join(labels)}")
            if owner.setdefault(example.text, split) != split:
                shown = example.text[:60]
                other = owner[example.text]
                raise Invalid(f"{folder}: {shown!r} stands in both {other} and {split}.")
