"""Make a suite out of a table of texts and labels.

Texts are dealt to the splits label by label, seeded: the same table always gives the same suite.
"""

import json
import random
from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import ceil
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

from evaluation.suites import Example, Suite, load_suite
from evaluation.tables import Table
from infra.files import sync_folder, write_atomic
from release.errors import Conflict, Invalid
from release.gates import FEWEST

CALIBRATION = 100
"""Texts set apart for quantization and parity, where there are enough."""

SEED = 20


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
        lines = "".join(json.dumps(_line(one), ensure_ascii=False) + "\n" for one in some)
        write_atomic(folder / f"{split}.jsonl", lines.encode())
        digest = sha256(lines.encode()).hexdigest()
        entries[split] = {"file": f"{split}.jsonl", "sha256": digest, "n": len(some)}
    labels = sorted({one.label for some in splits.values() for one in some})
    facts = {"name": name, "task": "text-classification", "labels": labels, "splits": entries}
    text = json.dumps(facts, ensure_ascii=False, indent=2) + "\n"
    write_atomic(folder / "suite.json", text.encode())


def _line(one: Example) -> dict[str, object]:
    slices = dict(said.split("=", 1) for said in one.slices)
    return {"text": one.text, "label": one.label, **({"slices": slices} if slices else {})}
