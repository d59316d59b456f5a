"""The indexer: folds what gateways wrote into the call store, and lets go of what is too old.

`python -m infra.calls.indexing` runs until SIGTERM; it may be killed at any moment.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from infra.callers.namespaces import Namespaces
from infra.calls.discarding import Discarding, note_discarded
from infra.calls.lines import CallLine, Payload, erased
from infra.calls.retention import REMOVED, Outlived, outlived, remove
from infra.calls.segments import MOST_READ, Found, Place, read
from infra.calls.store import CallStore, Folded
from infra.ledger import Ledger
from infra.settings import Settings, silence_telemetry
from release.callers import Recording
from release.errors import SlipwayError
from release.releases import Event

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

    def sweep(
        self,
        now_us: int,
        recordings: Mapping[str, Recording],
        record: Callable[[Outlived], None],
    ) -> int:
        """Let go of what namespaces do not want kept any longer, lines and whole segments.

        Args:
            now_us: microseconds since the epoch.
            recordings: what each namespace wants; one that is absent keeps everything.
            record: notes which segments go, before they do.

        Returns:
            How many calls left the store.

        Raises:
            Unavailable: the store cannot be written, or the removal cannot be recorded.
            OSError: a segment cannot be read or removed.
        """
        oldest_us = {name: now_us - one.days * DAY_US for name, one in recordings.items()}
        dropped = sum(self.store.drop(name, before) for name, before in oldest_us.items())
        for gateway, place in self.store.places().items():
            if found := outlived(self.folder / gateway, place.segment, oldest_us):
                remove(found, record)
        return dropped


def note_removal(ledger: Ledger, now: float, found: Outlived) -> None:
    """Put on record that segments go.

    Raises:
        Unavailable: the ledger does not answer.
    """
    first, last = int(found.paths[0].stem), found.segment
    which = f"segment {last}" if first == last else f"segments {first} to {last}"
    ledger.note(
        Event(
            kind=REMOVED,
            at=now,
            actor="slipway",
            sentence=f"{which} of {found.gateway} went: all of its calls are past their days",
            data={"gateway": found.gateway, "segment": last},
        )
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
    vault = Vault(settings.calls_secrets)
    indexer = Indexer(settings.journal, store, vault)
    discarding = Discarding(settings.journal, vault)
    sweep_at = time.monotonic() + SWEEP_SECONDS
    while not stopping.is_set():
        pause = LOOK_SECONDS
        try:
            if indexer.fold():
                continue
            if time.monotonic() >= sweep_at:
                _sweep(indexer, discarding, settings)
                sweep_at = time.monotonic() + SWEEP_SECONDS
        except (SlipwayError, OSError) as error:
            sys.stderr.write(f"indexer: {error}\n")
            sys.stderr.flush()
            pause = PAUSE_SECONDS
        stopping.wait(pause)
    store.close()
    return 0


def _sweep(indexer: Indexer, discarding: Discarding, settings: Settings) -> None:
    # Opened for each sweep: a ledger that is away costs a sweep, and never the indexing.
    ledger = Ledger.open(settings.ledger)
    try:
        now = time.time()
        record = partial(note_removal, ledger, now)
        now_us, keeps = int(now * 1e6), Namespaces(ledger, settings.recording).list()
        indexer.sweep(now_us, keeps, record)

        def oldest(namespace: str) -> int:
            wanted = keeps.get(namespace)
            return now_us - wanted.days * DAY_US if wanted is not None else 0

        discarding.discard(oldest, partial(note_discarded, ledger, now))
    finally:
        ledger.close()


if __name__ == "__main__":
    sys.exit(main())
