"""The indexer: folds what gateways wrote into the call store, and lets go of what is too old.

`python -m infra.calls.indexing` runs until SIGTERM; it may be killed at any moment.
"""

import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.calls.lines import CallLine, Payload, erased
from infra.calls.segments import MOST_READ, Found, Place, read
from infra.calls.store import CallStore, Folded
from infra.settings import Settings, silence_telemetry
from release.callers import Recording
from release.errors import SlipwayError

LOOK_SECONDS = 0.5
PAUSE_SECONDS = 5.0
"""After a failure."""

SWEEP_SECONDS = 600.0
"""How often it is looked for what is too old."""

DAY_US = 86_400 * 1_000_000


class Opens(Protocol):
    """What opens payloads."""

    def open(self, line: CallLine, sealed: str) -> Payload | None:
        """Give a call's payload; None where there is none any more."""
        ...


@dataclass(slots=True)
class Indexer:
    """Folds segments into a store."""

    folder: Path
    """Where the gateways' journals lie."""

    store: CallStore
    vault: Opens
    unreadable: int = 0
    """Lines and payloads that could not be read."""

    def fold(self, most: int = MOST_READ) -> int:
        """Take what is new, but no more than so many bytes of each gateway; give how many calls.

        Raises:
            Unavailable: the store cannot be written.
        """

        def fresh(places: Mapping[str, Place]) -> tuple[list[Folded], Sequence[Place]]:
            found = read(self.folder, places, most)
            self.unreadable += found.unreadable
            return [(one, self._opened(one)) for one in found.calls], found.places

        return self.store.fold(fresh)

    def _opened(self, found: Found) -> Payload | None:
        if not found.sealed or erased(found.sealed):
            return None
        try:
            return self.vault.open(found.line, found.sealed)
        except SlipwayError:
            # The line is a call all the same; `slipway calls verify` tells what is wrong with it.
            self.unreadable += 1
            return None

    def sweep(self, now_us: int, recordings: Mapping[str, Recording]) -> int:
        """Drop what namespaces do not want kept any longer; give how many calls."""
        return sum(
            self.store.drop(name, now_us - recording.days * DAY_US)
            for name, recording in recordings.items()
        )


def main() -> int:
    """Index until SIGTERM."""
    from infra.calls.vault import Vault

    silence_telemetry()
    stopping = threading.Event()
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, lambda *_: stopping.set())
    settings = Settings()
    store = CallStore(settings.call_store)
    indexer = Indexer(settings.journal, store, Vault(settings.calls_secrets))
    sweep_at = time.monotonic() + SWEEP_SECONDS
    while not stopping.is_set():
        pause = LOOK_SECONDS
        try:
            if indexer.fold():
                continue
            if time.monotonic() >= sweep_at:
                indexer.sweep(time.time_ns() // 1_000, {"default": settings.recording})
                sweep_at = time.monotonic() + SWEEP_SECONDS
        except (SlipwayError, OSError) as error:
            sys.stderr.write(f"indexer: {error}\n")
            sys.stderr.flush()
            pause = PAUSE_SECONDS
        stopping.wait(pause)
    store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
