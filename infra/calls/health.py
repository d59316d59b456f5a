"""How an indexer stands, as it says to whoever asks: what fails, how far it is behind.

It says so from a thread of its own, so that it is heard while a store lets it wait.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from infra.calls.lag import Lag, lag
from infra.calls.segments import Place
from infra.troubles import Trouble, Troubles, plain, said
from release.errors import SlipwayError

FOLD, SWEEP, ERASE, SETTLE, IMAGE, READ = "fold", "sweep", "erase", "settle", "image", "read"

NOT_DONE = {
    FOLD: "calls are not folded into the call store",
    SWEEP: "calls and segments past what is kept are not let go",
    ERASE: "what was erased is not taken out of the call store's files",
    SETTLE: "what was let go is not taken out of the call store's indexes",
    IMAGE: "the call store of before SLIPWAY_CALLS_URL is there still",
}
"""What an indexer does, and what is amiss where it cannot."""

UNSWEPT = "the call store's files hold what is found no more"
MISSING = "calls are missing from the call store"
UNREADABLE = "calls were folded without what cannot be read of them"

LATE_SECONDS = 30.0
"""Calls that wait for longer are told as a trouble, whatever it comes from."""


@dataclass(slots=True)
class Health:
    """What an indexer knows of itself. One thread notes, any may look."""

    folder: Path = Path()
    """Where the gateways' journals lie."""

    store: str = ""
    """Where calls are folded into, without a password."""

    troubles: Troubles = field(default_factory=Troubles)
    failures: Counter[str] = field(default_factory=Counter)
    """How often each of what it does failed since it began."""

    folded: int = 0
    """Calls that were new in the store."""

    places: Mapping[str, Place] | None = None
    """How far each gateway is folded; None as long as the store has not said so."""

    doing: str = ""
    since: float = 0.0
    """When it began what it does now, in seconds since the epoch."""

    _unread: set[str] = field(default_factory=set)
    """Gateways whose segments could not be read the last time."""

    def watched(self, work: str, do: Callable[[], object]) -> None:
        """Do something, and note that it is done, or why it cannot be.

        Raises:
            SlipwayError, OSError: whatever `do` raises.
        """
        self.doing, self.since = work, time.time()
        why = ""
        try:
            do()
        except (SlipwayError, OSError) as error:
            why = said(error)
            raise
        finally:
            self.doing = ""
            self.failed(work, why)

    def failed(self, work: str, why: str) -> None:
        """Note why something cannot be done; empty: it was done."""
        self.failures[work] += bool(why)
        self.troubles.note(NOT_DONE[work], why)

    def unread(self, failed: Mapping[str, str]) -> None:
        """Note which gateways' segments could not be read, and that all others could."""
        for gateway in self._unread | failed.keys():
            self.failures[READ] += gateway in failed
            self.troubles.note(f"calls of {gateway} are not folded", failed.get(gateway, ""))
        self._unread = set(failed)

    def lost(self, sentence: str) -> None:
        """Note that calls cannot be folded any more; this one never gets well."""
        self.troubles.note(MISSING, sentence)

    def unreadable(self, count: int) -> None:
        """Note how many lines and payloads could not be read so far."""
        if count:
            why = f"{count} lines or payloads since it began (slipway calls verify names them)"
            self.troubles.note(UNREADABLE, why)

    def as_json(self) -> dict[str, Any]:
        """Give plain JSON data."""
        behind = None if self.places is None else lag(self.folder, self.places)
        late = self._late(behind or Lag(), time.time())
        return {
            "pid": os.getpid(),
            "store": self.store,
            "folded": self.folded,
            "failures": {work: self.failures[work] for work in (*NOT_DONE, READ)},
            "behind": None if behind is None else asdict(behind),
            "troubles": plain([*self.troubles.all(), *late]),
        }

    def _late(self, behind: Lag, now: float) -> list[Trouble]:
        """Say that calls wait, or that the store does not answer, where nothing else says so."""
        doing, since = self.doing, self.since
        stands = doing == FOLD and now - since > LATE_SECONDS
        waits = bool(behind.since) and now - behind.since > LATE_SECONDS
        if self.troubles.of(NOT_DONE[FOLD]) or not (stands or waits):
            return []
        if stands:
            why = f"the call store has not answered for {now - since:.0f} s (see whether it runs)"
        else:
            at = f"; for {now - since:.0f} s it has been at: {doing}" if doing else ""
            why = f"{behind.calls} calls wait{at} (it catches up where fewer come)"
        return [Trouble(what=NOT_DONE[FOLD], why=why, since=since if stands else behind.since)]
