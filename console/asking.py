"""Ask a served model as its clients do, and say what came of it."""

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from console.serve import Addresses
from console.traffic import Stream, read_texts, until_told
from infra.callers.house import house_key
from infra.settings import Settings
from release.errors import Invalid
from release.wording import tame


def send(model: str, file: Path, rate: float, seconds: float) -> None:
    """Send a file's texts at a steady rate, and say who answered and how.

    Raises:
        Invalid: the file holds no texts, or the rate is out of bounds.
        Unavailable: nothing is up.
    """
    if not 0 < rate <= 1000 or not 0 <= seconds <= 86_400:
        raise Invalid(
            f"A rate must be within 0..1000 a second and a time within 0..86400 s, not {rate:g} "
            f"and {seconds:g}."
        )
    stream = Stream(endpoint=model, texts=read_texts(file), rate=rate)
    settings = Settings()
    url = Addresses.of(settings).gateway
    sys.stdout.write(f"asking {url}/v2/models/{model} {rate:g} times a second\n")
    sys.stdout.flush()
    answers = Answers()
    proof = house_key(settings)
    asyncio.run(until_told(url, [stream], answers.count, seconds=seconds, proof=proof))
    for version, count in sorted(answers.good.items()):
        sys.stdout.write(f"  {count} answered by version {version}\n")
    for error, count in answers.bad.most_common(5):
        sys.stdout.write(f"  {count} failed: {tame(error)}\n")


@dataclass(frozen=True, slots=True)
class Answers:
    """Counts of what a client was answered; the answers themselves are not kept."""

    good: Counter[int] = field(default_factory=Counter)
    """Version to answers."""

    bad: Counter[str] = field(default_factory=Counter)
    """Error to requests."""

    def count(self, record: Mapping[str, Any]) -> None:
        """Count one request."""
        if record["status"] == 200:
            self.good[record["version"]] += 1
        else:
            self.bad[_without_figures(record.get("error", ""))] += 1


def _without_figures(error: str) -> str:
    """Let errors that differ in a number only count as one, so that there are few kinds."""
    return re.sub(r"\d+", "…", error)
