"""A suite: labelled texts in named splits, under one digest.

A folder with `suite.json` and one JSON Lines file a split. `suite.json` holds `name`, `task`
(text-classification where it is absent), `labels` (none for feature-extraction) and `splits`,
where each split has `file`, `sha256` and `n`. What a line of a split holds is told in
`evaluation.examples`; any may hold `slices` besides: an object such as `{"language": "zh"}`, by
which the report tells texts apart.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.examples import Example, Kind, Marked, Pair, Span, read_line
from release.digests import digest_of
from release.errors import Invalid, NotFound
from release.variants import Task

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

_SHAPE = "suite.json holds name, labels and splits, and each split its file and sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A verified suite."""

    name: str
    task: Task = Task.TEXT_CLASSIFICATION
    labels: tuple[str, ...]
    """Of texts or entities; none for feature-extraction."""

    splits: Mapping[str, tuple[Kind, ...]]
    """Each of examples of the task."""

    digest: str
    """Over the task, the labels and the content of every split."""

    def texts(self, split: str) -> list[str]:
        """Texts that a model is asked, in order: two of each pair, one of any other example."""
        return [text for example in self.splits[split] for text in example.texts]

    def references(self, split: str) -> list[int]:
        """Label index of each text of a split, in order."""
        index = {label: number for number, label in enumerate(self.labels)}
        return [index[one.label] for one in self.splits[split] if isinstance(one, Example)]

    def marks(self, split: str) -> list[frozenset[Span]]:
        """Entities of each text of a split, in order."""
        return [frozenset(one.entities) for one in self.splits[split] if isinstance(one, Marked)]

    def similarities(self, split: str) -> list[float]:
        """How like the texts of each pair of a split are, in order."""
        return [one.similarity for one in self.splits[split] if isinstance(one, Pair)]

    def masks(self, split: str) -> Mapping[str, NDArray[np.bool_]]:
        """Tell a split's examples apart: slice name to which of them are in it, shape [n].

        By label, by length in characters (of a pair the longer text's), and by the suite's own
        slices. Empty ones are absent.
        """
        examples = self.splits[split]
        return self._told_apart([_named(one, max(map(len, one.texts))) for one in examples])

    def text_masks(self, split: str) -> Mapping[str, NDArray[np.bool_]]:
        """Tell the texts that a model is asked apart, each of a pair by its own length."""
        examples = self.splits[split]
        return self._told_apart([_named(one, len(text)) for one in examples for text in one.texts])

    def _told_apart(self, named: list[tuple[str, ...]]) -> Mapping[str, NDArray[np.bool_]]:
        lengths = [f"characters={one}" for one in LENGTHS.values()]
        order = [f"label={label}" for label in self.labels] + lengths
        order += sorted({name for names in named for name in names} - set(order))
        masks = {name: np.array([name in names for names in named]) for name in order}
        return {name: mask for name, mask in masks.items() if mask.any()}


def _named(example: Kind, length: int) -> tuple[str, ...]:
    label = (f"label={example.label}",) if isinstance(example, Example) else ()
    return (*label, _length(length), *example.slices)


def _length(characters: int) -> str:
    fitting = next(limit for limit in LENGTHS if characters <= limit)
    return f"characters={LENGTHS[fitting]}"


@cache
def load_suite(folder: Path) -> Suite:
    """Read and verify a suite.

    Args:
        folder: where `suite.json` lies.

    Raises:
        NotFound: there is no suite in the folder.
        Invalid: a file differs from its sum, a label is unknown, an entity lies outside its text,
            a similarity outside 0..1, a text stands in two splits.
    """
    try:
        facts = _facts(folder / "suite.json")
        task, labels = Task(facts["task"]), tuple(map(str, facts["labels"]))
        entries: Mapping[str, Mapping[str, Any]] = facts["splits"]
        splits = {split: _split(folder, split, entry, task) for split, entry in entries.items()}
    except OSError as error:
        where = error.filename or folder
        raise NotFound(f"No suite can be read at {where}.", "see [suite] path") from error
    _check_labels(folder, task, labels)
    _check(folder, labels, splits)
    _check_similarities(folder, splits["test"])
    sums = {split: entries[split]["sha256"] for split in splits}
    content: dict[str, Any] = {"labels": labels, "splits": sums}
    if task != Task.TEXT_CLASSIFICATION:
        content["task"] = task
    digest = digest_of(content)
    return Suite(name=str(facts["name"]), task=task, labels=labels, splits=splits, digest=digest)


def _facts(path: Path) -> Mapping[str, Any]:
    """Read `suite.json`, which has every part that a suite needs, in its shape."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{path} is not a suite: {error}.", _SHAPE) from error
    if not isinstance(facts, dict):
        raise Invalid(f"{path} is not a suite: it holds no object.", _SHAPE)
    facts = _with_task(path, facts)
    for part, kind in {"name": str, "labels": list, "splits": dict}.items():
        if not isinstance(found := facts.get(part), kind):
            raise Invalid(f"{path} is not a suite: its {part} is {found!r:.60}.", _SHAPE)
    for split, entry in facts["splits"].items():
        if not isinstance(entry, dict) or not {"file", "sha256"} <= entry.keys():
            raise Invalid(f"{path} is not a suite: its split {split!r} is {entry!r:.60}.", _SHAPE)
    return facts


def _with_task(path: Path, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give what may be left out: the task of the first suites, and the labels of a task of none."""
    task = facts.get("task", Task.TEXT_CLASSIFICATION)
    if task not in list(Task):
        said = f"{path} is not a suite: its task is {task!r:.60}."
        raise Invalid(said, f"tasks are {', '.join(Task)}")
    return {"task": task, **({"labels": []} if task == Task.FEATURE_EXTRACTION else {}), **facts}


def _split(folder: Path, split: str, entry: Mapping[str, Any], task: Task) -> tuple[Kind, ...]:
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
        read_line(line, task, f"{folder / file}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )


FEWEST_LABELS = {
    Task.TEXT_CLASSIFICATION: 2,
    Task.TOKEN_CLASSIFICATION: 1,
    Task.FEATURE_EXTRACTION: 0,
}
"""Task to the least labels with which there is something to tell apart."""


def _check_labels(folder: Path, task: Task, labels: tuple[str, ...]) -> None:
    if task == Task.FEATURE_EXTRACTION and labels:
        raise Invalid(f"{folder} is for {task}, which has no labels, unlike {labels!r:.80}.")
    if len(labels) < FEWEST_LABELS[task] or len(set(labels)) != len(labels):
        needed = "two or more" if task == Task.TEXT_CLASSIFICATION else "one or more"
        raise Invalid(f"{folder} needs {needed} different labels, not {labels!r}.")


def _check(folder: Path, labels: tuple[str, ...], splits: Mapping[str, tuple[Kind, ...]]) -> None:
    for split in NEEDED:
        if not splits.get(split):
            hint = f"a suite needs texts in {' and '.join(NEEDED)}"
            raise Invalid(f"{folder} has no texts in its split {split!r}.", hint)
    owner: dict[tuple[str, ...], str] = {}
    for split, examples in splits.items():
        for example in examples:
            for label in sorted(example.labels.difference(labels)):
                said = f"{folder}: {split} has the unknown label {label!r:.60}."
                raise Invalid(said, f"its labels are {', '.join(labels)}")
            if owner.setdefault(example.texts, split) != split:
                shown = example.text[:60]
                other = owner[example.texts]
                raise Invalid(f"{folder}: {shown!r} stands in both {other} and {split}.")


def _check_similarities(folder: Path, test: Iterable[Kind]) -> None:
    alike = [one.similarity for one in test if isinstance(one, Pair)]
    if alike and len(set(alike)) < 2:
        said = f"{folder}: all pairs of its split 'test' have the similarity {alike[0]:g}."
        raise Invalid(said, "without two different ones nothing correlates with them")
