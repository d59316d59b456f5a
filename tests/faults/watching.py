"""What the tests of survival look at: a load's records, and how a gateway sees its replicas."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.processes import start, stop
from infra.settings import inherited
from tests.serving.conftest import ROOT

Record = dict[str, Any]


@dataclass
class Load:
    """A client process, and what it has written."""

    out: Path
    log: Path

    def records(self, since: float = 0.0, until: float = float("inf")) -> list[Record]:
        """Give what was sent in a stretch of the monotonic clock and is over."""
        lines = self.out.read_text().splitlines(keepends=True) if self.out.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [one for one in found if since <= one["sent"] < until]

    def failed(self) -> list[Record]:
        return [one for one in self.records() if one["status"] != 200]


@contextmanager
def load(url: str, folder: Path, rate: float = 40, **more: object) -> Iterator[Load]:
    """Keep asking, open loop, while the body runs; its records are complete behind it."""
    place = folder / f"load-{time.monotonic_ns()}"
    found = Load(place.with_suffix(".jsonl"), place.with_suffix(".log"))
    named = [f"--{name.replace('_', '-')}={value}" for name, value in more.items()]
    command = [sys.executable, "-m", "tests.faults.load", url, str(found.out), f"--rate={rate}"]
    process = start("load", [*command, *named], env=inherited(), log=found.log, cwd=ROOT)
    try:
        yield found
    finally:
        stop([process], grace=30)
    assert found.log.read_text() == ""
    assert found.records(), "nothing was ever sent"


def p99(records: list[Record]) -> float:
    """Milliseconds under which 99 of 100 answers came."""
    took = sorted((one["done"] - one["sent"]) * 1e3 for one in records)
    return float(took[min(len(took) - 1, int(0.99 * len(took)))])


@dataclass
class Watch:
    """Looks many times a second how many replicas a gateway can ask."""

    ready: Callable[[], int]
    seen: list[tuple[float, int]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        while not self.over.wait(0.01):
            self.seen.append((time.monotonic(), self.ready()))

    def fewer(self, than: int, since: float) -> float | None:
        """Seconds after a moment until fewer could be asked; None where that never was."""
        return next((at - since for at, count in self.seen if at >= since and count < than), None)


@contextmanager
def watching(ready: Callable[[], int]) -> Iterator[Watch]:
    watch = Watch(ready)
    thread = threading.Thread(target=watch.look)
    thread.start()
    try:
        yield watch
    finally:
        watch.over.set()
        thread.join()
