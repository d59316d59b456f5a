"""A small suite on disk."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from release.variants import Task

LABELS = ("alpha", "beta", "gamma")

Rows = Sequence[tuple[str, str]]


def write_suite(folder: Path, labels: Sequence[str], splits: Mapping[str, Rows]) -> Path:
    lines = {
        split: [{"text": text, "label": label} for text, label in rows]
        for split, rows in splits.items()
    }
    return write_lines(folder, Task.TEXT_CLASSIFICATION, labels, lines)


def write_lines(
    folder: Path,
    task: str,
    labels: Sequence[str],
    splits: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Path:
    """A suite of any task, of these lines."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for split, rows in splits.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
        digest = f"sha256:{sha256(lines.encode()).hexdigest()}"
        entries[split] = {"file": f"{split}.jsonl", "sha256": digest, "n": len(rows)}
    facts = {"name": folder.name, "task": task, "labels": list(labels)}
    (folder / "suite.json").write_text(json.dumps(facts | {"splits": entries}))
    return folder


def keyword_suite(folder: Path, labels: Sequence[str], *, test: int = 60) -> Path:
    """A suite whose texts say their label: what the tiny model has learnt."""

    def rows(split: str, count: int) -> list[tuple[str, str]]:
        return [
            (f"{split} number {n} is about {labels[n % len(labels)]}", labels[n % len(labels)])
            for n in range(count)
        ]

    return write_suite(
        folder, labels, {"calibration": rows("calibration", 12), "test": rows("test", test)}
    )


def entity_suite(folder: Path, *, test: int = 60) -> Path:
    """Texts that name a person and a place, but for each third, which names nobody."""

    def row(split: str, n: int) -> dict[str, Any]:
        if n % 3 == 2:
            return {"text": f"{split} {n}: nobody went anywhere", "entities": []}
        text = f"{split} {n}: Anna went to {'Oslo' if n % 3 else '北京'}"
        person, place = text.index("Anna"), text.rindex(" ") + 1
        return {
            "text": text,
            "entities": [
                {"start": person, "end": person + 4, "label": "PER"},
                {"start": place, "end": len(text), "label": "LOC"},
            ],
        }

    splits = {"calibration": 12, "test": test}
    rows = {split: [row(split, n) for n in range(count)] for split, count in splits.items()}
    return write_lines(folder, Task.TOKEN_CLASSIFICATION, ["PER", "LOC"], rows)


def pair_suite(folder: Path, *, test: int = 60) -> Path:
    """Pairs of texts that end with the degrees between them, of 0 to 90."""

    def row(split: str, n: int) -> dict[str, Any]:
        degrees = 37 * n % 91
        return {
            "text": f"{split} {n} 0",
            "other": f"{split} {n} {'long ' * (n % 20)}{degrees}",
            "similarity": round(1 - degrees / 90, 3),
        }

    splits = {"calibration": 12, "test": test}
    rows = {split: [row(split, n) for n in range(count)] for split, count in splits.items()}
    return write_lines(folder, Task.FEATURE_EXTRACTION, [], rows)
