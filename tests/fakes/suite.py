"""A small suite on disk."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

LABELS = ("alpha", "beta", "gamma")

Rows = Sequence[tuple[str, str]]


def write_suite(folder: Path, labels: Sequence[str], splits: Mapping[str, Rows]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for split, rows in splits.items():
        lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
        digest = f"sha256:{sha256(lines.encode()).hexdigest()}"
        entries[split] = {"file": f"{split}.jsonl", "sha256": digest, "n": len(rows)}
    facts = {"name": folder.name, "task": "text-classification", "labels": list(labels)}
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
