"""Make a suite out of a table.

Texts are dealt to the splits label by label, seeded: the same table always gives the same suite.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from math import ceil
from pathlib import Path
from shutil import rmtree
from typing import TypeVar
from uuid import uuid4

from evaluation.examples import Kind
from evaluation.suites import FEWEST_LABELS, Suite, load_suite
from evaluation.tables import Table
from infra.files import sync_folder, write_atomic
from release.errors import Conflict, Invalid
from release.gates import FEWEST
from release.variants import Task

CALIBRATION = 100
"""Texts set apart for quantization and parity, where there are enough."""

SEED = 20

K = TypeVar("K", bound=Kind)


def make_suite(
    table: Table, folder: Path, *, train: float = 0.0, also: Sequence[str] = ()
) -> Suite:
    """Deal a table's texts to splits and write them down, whole or not at all.

    Args:
        table: what was read.
        folder: must not exist yet.
        train: part of each label's texts (0..1) that is set apart for training.
        also: labels of the model that no text of the table has.

    Raises:
        Conflict: the folder exists.
        Invalid: there are too few texts or labels to judge a model by, or `also` names none.
    """
    if any(not one.strip() for one in also) or (also and not FEWEST_LABELS[table.task]):
        said = (
            f"No suite of {table.task} has the further labels {', '.join(map(repr, also))!s:.80}."
        )
        raise Invalid(said, "name labels of the model as it answers with them")
    if folder.exists():
        raise Conflict(f"{folder} exists.", "choose another folder, or remove it")
    splits = deal(table.examples, train=train)
    _check_enough(table, splits)
    aside = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}")
    try:
        aside.mkdir(parents=True)
        _write(aside, folder.name, table.task, splits, also)
        load_suite(aside.resolve())
        aside.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise Invalid(f"The suite cannot be written to {folder}: {error}.") from error
    finally:
        rmtree(aside, ignore_errors=True)
    return load_suite(folder.resolve())


def _check_enough(table: Table, splits: Mapping[str, Sequence[Kind]]) -> None:
    labels, least = len(_labels(table.examples)), FEWEST_LABELS[table.task]
    test, calibration = len(splits["test"]), len(splits["calibration"])
    if test < FEWEST or labels < least or not calibration:
        needed = f", and {labels} labels, of {least} at least" if least else ""
        what = "pairs" if table.task == Task.FEATURE_EXTRACTION else "texts"
        raise Invalid(
            f"{len(table.examples)} usable {what} leave {test} to test with, of {FEWEST} at least, "
            f"{calibration} to calibrate, of 1 at least{needed}.",
            "; ".join((f"bring more {what}", *(f"left out: {said}" for said in table.left_out))),
        )


def _labels(examples: Sequence[Kind]) -> list[str]:
    return sorted({label for one in examples for label in one.labels})


def deal(examples: Sequence[K], *, train: float) -> dict[str, list[K]]:
    """Deal texts to `train`, `calibration` and `test`, each label to each in like parts.

    A text of several labels is dealt among those of its rarest one. Calibration gets up to
    `CALIBRATION` texts, but at most a fifth of what training leaves.
    """
    if not 0 <= train < 1:
        raise Invalid(f"The part for training must be within 0 and 1, not {train:g}.")
    chance = random.Random(SEED)  # noqa: S311 - a fixed deal, no secret
    left = (1 - train) * len(examples)
    part = min(CALIBRATION, left / 5) / max(1.0, left)
    splits: dict[str, list[K]] = {"train": [], "calibration": [], "test": []}
    heap = _heaped(examples)
    for label in sorted({heap(one) for one in examples}):
        mine = [one for one in examples if heap(one) == label]
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


def _heaped(examples: Sequence[Kind]) -> Callable[[Kind], str]:
    """Say of a text to which heap it belongs: its rarest label, empty where it has none."""
    counts = Counter(label for one in examples for label in one.labels)
    return lambda one: min(sorted(one.labels), key=lambda label: counts[label], default="")


def _write(
    folder: Path,
    name: str,
    task: Task,
    splits: Mapping[str, Sequence[Kind]],
    also: Sequence[str],
) -> None:
    entries = {}
    for split, some in splits.items():
        lines = "".join(json.dumps(one.as_row(), ensure_ascii=False) + "\n" for one in some)
        write_atomic(folder / f"{split}.jsonl", lines.encode())
        digest = sha256(lines.encode()).hexdigest()
        entries[split] = {"file": f"{split}.jsonl", "sha256": digest, "n": len(some)}
    labels = sorted({*_labels([one for some in splits.values() for one in some]), *also})
    facts = {"name": name, "task": task, "labels": labels, "splits": entries}
    text = json.dumps(facts, ensure_ascii=False, indent=2) + "\n"
    write_atomic(folder / "suite.json", text.encode())
