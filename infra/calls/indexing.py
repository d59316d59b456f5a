"""The indexer: folds what gateways wrote into the call store, and lets go of what is too old.

`python -m infra.calls.indexing` runs until SIGTERM; it may be killed at any moment.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from infra.callers.namespaces import Namespaces
from infra.calls.chores import PAUSE_SECONDS, Chore
from infra.calls.discarding import Discarding, note_discarded
from infra.calls.folding import Folded, Opens
from infra.calls.health import ERASE, FOLD, IMAGE, SETTLE, SWEEP, UNSWEPT, Health
from infra.calls.limits import Limits, weigh
from infra.calls.lines import erased
from infra.calls.onrecord import Covers, Nothing, OnRecord
from infra.calls.retention import (
    YOUNG_US,
    Counted,
    Outlived,
    all_counted,
    counted,
    note_removal,
    outlived,
    remove,
)
from infra.calls.segments import MOST_READ, Found, Place, Reading, read
from infra.calls.stores import Calls, leave_no_image, opening, where
from infra.calls.waiting import LOCK_SECONDS, Unswept
from infra.ledger import Ledger
from infra.settings import Settings, silence_telemetry
from infra.sockets import INDEXER, heard, sockets_under
from release.errors import SlipwayError

LOOK_SECONDS = 0.5
SWEEP_SECONDS = 600.0
"""How often it is looked for what is too old, or too much."""

SETTLE_SECONDS = 3600.0
"""How often the store's indexes are merged, where something was dropped: some seconds' work for
each million calls."""


def _say(said: str) -> None:
    sys.stderr.write(f"indexer: {said}\n")
    sys.stderr.flush()


@dataclass(slots=True)
class Indexer:
    """Folds segments into a store."""

    folder: Path
    """Where the gateways' journals lie."""

    store: Calls
    vault: Opens
    erased: Covers = field(default_factory=Nothing)
    """Whose texts are not folded."""

    unreadable: int = 0
    """Lines and payloads that could not be read."""

    say: Callable[[str], None] = _say
    """Is told what of the journals is not there any more."""

    health: Health = field(default_factory=Health)
    """Says how it stands."""

    behind: bool = False
    """Whether there was more to read than was taken the last time."""

    settled: bool = False
    """Whether nothing is left in the store of what was dropped; the one before may have died."""

    def fold(self, most: int = MOST_READ, wait: float = LOCK_SECONDS) -> int:
        """Take what is new; give how many calls.

        Args:
            most: bytes of each gateway at the most.
            wait: seconds that are waited for others that write.

        Raises:
            Busy: others write for longer.
            Unavailable: the store cannot be written.
        """
        reached = dict[str, Place]()

        def fresh(places: Mapping[str, Place]) -> tuple[list[Folded], Sequence[Place]]:
            self.health.places = places
            found = read(self.folder, places, most)
            self._tell(found)
            if found.calls:
                self.erased.look()
            reached.update(places, **{one.gateway: one for one in found.places})
            return [self._folded(one) for one in found.calls], found.places

        new = self.store.fold(fresh, wait)
        self.health.places = reached
        self.health.folded += new
        self.health.unreadable(self.unreadable)
        return new

    def _tell(self, found: Reading) -> None:
        """Tell what a reading met besides calls."""
        self.unreadable += found.unreadable
        self.behind = found.more
        for said in found.said:
            self.say(said)
            self.health.lost(said)
        self.health.unread(found.failed)

    def _folded(self, found: Found) -> Folded:
        if erased(found.sealed) or self.erased.covers(found.line, found.gateway):
            return replace(found, erased=True), None
        try:
            return found, self.vault.open(found.line, found.sealed) if found.sealed else None
        except SlipwayError:
            # The line is a call all the same; `slipway calls verify` tells what is wrong with it.
            self.unreadable += 1
            return found, None

    def sweep(
        self,
        now_us: int,
        limits: Limits,
        record: Callable[[Outlived], None],
        uncounted: Counted = all_counted,
    ) -> int:
        """Let go of what namespaces do not want kept any longer, lines and whole segments.

        Args:
            now_us: microseconds since the epoch.
            limits: what each namespace keeps.
            record: notes which segments go, before they do.
            uncounted: which segments of a gateway have to stay, being evidence.

        Returns:
            How many calls left the store.

        Raises:
            Unavailable: the store cannot be written, or the removal cannot be recorded.
            OSError: a segment cannot be read or removed.
        """

        def oldest(namespace: str) -> int:
            return limits.oldest(namespace, now_us)

        # Also of namespaces that nobody made: else their calls would stay for ever.
        names = sorted({*limits.recordings, *self.store.namespaces()})
        # One that fails may have dropped some.
        settled, self.settled = self.settled, False
        dropped = sum(
            self.store.drop(name, limits.past_days(name, now_us), oldest(name)) for name in names
        )
        self.settled = settled and not dropped

        def not_young(namespace: str) -> int:
            return min(oldest(namespace), now_us - YOUNG_US)

        for gateway, place in self.store.places().items():
            until = min(place.segment, uncounted(gateway))
            if found := outlived(self.folder / gateway, until, not_young):
                remove(found, record)
        return dropped

    def settle(self) -> None:
        """Leave nothing in the store of what was dropped, where something was.

        Raises:
            Unavailable: it could not be finished; with the next call of this it is.
        """
        if not self.settled:
            self.settled = self._settled()

    def pay(self) -> None:
        """Take out of the store's files what an erasure had to leave there.

        Raises:
            Unavailable: the store does not answer.
        """
        if self.store.owed():
            self._settled()
        else:
            self.health.troubles.note(UNSWEPT, "")

    def _settled(self) -> bool:
        try:
            self.store.settle()
        except Unswept as error:
            # Whoever reads there for long is not to be waited for again and again.
            self.say(str(error))
            self.health.troubles.note(UNSWEPT, str(error))
            return False
        self.health.troubles.note(UNSWEPT, "")
        return True


def turn(indexer: Indexer, chores: Iterable[Chore], now: float) -> float:
    """Fold once and do what is due, each whatever became of the others.

    Returns:
        How many seconds to wait then.
    """
    # Not at once after every call: a batch of many costs little more than one of a few.
    wait = LOOK_SECONDS
    try:
        indexer.health.watched(FOLD, indexer.fold)
        if indexer.behind:
            wait = 0.0
    except (SlipwayError, OSError) as error:
        indexer.say(str(error))
        wait = PAUSE_SECONDS
    for one in chores:
        one.look(now, indexer.say)
    return wait


def main() -> int:
    """Index until SIGTERM."""
    silence_telemetry()
    settings = Settings()
    # Until there is a store nothing is under way that would have to come to its end.
    _when_told(lambda: sys.exit(0))
    health = Health(settings.journal, store=where(settings))
    try:
        with heard(sockets_under(settings.run) / INDEXER, health.as_json, _say):
            _run(settings, health)
    except SlipwayError as error:
        _say(str(error))
        return 2
    return 0


def _run(settings: Settings, health: Health) -> None:
    from infra.calls.vault import Vault

    def away(why: str) -> None:
        _say(why)
        health.failed(FOLD, why)

    store = opening(settings, away)
    stopping = threading.Event()
    _when_told(stopping.set)
    vault = Vault(settings.calls_secrets)
    erased = OnRecord(partial(Ledger.open, settings.ledger))
    indexer = Indexer(settings.journal, store, vault, erased, health=health)
    discarding = Discarding(settings.journal, vault)
    now = time.monotonic()

    works: list[tuple[str, float, Callable[[], None], float]] = [
        (SWEEP, SWEEP_SECONDS, partial(_sweep, indexer, discarding, settings), SWEEP_SECONDS),
        (ERASE, SWEEP_SECONDS, indexer.pay, 0.0),
        (SETTLE, SETTLE_SECONDS, indexer.settle, SETTLE_SECONDS),
        (IMAGE, SWEEP_SECONDS, partial(leave_no_image, settings), 0.0),
    ]
    chores = [
        Chore(every, partial(health.watched, work, do), now + first)
        for work, every, do, first in works
    ]
    while not stopping.is_set():
        stopping.wait(turn(indexer, chores, time.monotonic()))
    store.close()


def _when_told(end: Callable[[], None]) -> None:
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, lambda *_: end())


def _sweep(indexer: Indexer, discarding: Discarding, settings: Settings) -> None:
    # Opened for each sweep: whatever comes between us and a ledger costs one sweep.
    ledger = Ledger.open(settings.ledger)
    try:
        now = time.time()
        now_us = int(now * 1e6)
        limits = Limits(
            recordings=Namespaces(ledger, settings.recording).list(),
            otherwise=settings.recording,
            weights=weigh(settings.journal, settings.call_sizes),
        )
        indexer.sweep(now_us, limits, partial(note_removal, ledger, now), counted(ledger))
        discarding.discard(
            lambda namespace: limits.oldest(namespace, now_us),
            partial(note_discarded, ledger, now),
        )
    finally:
        ledger.close()


if __name__ == "__main__":
    sys.exit(main())
