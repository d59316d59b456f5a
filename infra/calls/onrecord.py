"""Which calls are erased on record: nobody who folds them takes their texts again.

A host's own journal holds nothing of them any more; but another host's does, where an erasure was
run that knows only the call store they share.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from infra.calls.erase import ERASING
from infra.calls.lines import CallLine
from infra.ledger import Ledger
from infra.settings import Settings

USER, KEY = "user:", "key:"
"""Before the user, or the id of the key or token, in what an erasure's event names."""


class Covers(Protocol):
    """What knows which calls are erased."""

    def look(self) -> None:
        """Learn what came since the last look."""
        ...

    def covers(self, call: CallLine) -> bool:
        """Whether a call's payload is to be gone."""
        ...


class Nothing:
    """Where a store has this home's calls alone: erased there means overwritten in its journal."""

    def look(self) -> None:
        """There is nothing to learn."""

    def covers(self, call: CallLine) -> bool:
        """No call is covered by what is not there."""
        del call
        return False


@dataclass(slots=True)
class OnRecord:
    """Erasures of users, keys and days, as the ledger has them."""

    opened: Callable[[], Ledger]
    _ledger: Ledger | None = None
    _after: int = 0
    _whose: dict[tuple[str, str], int] = field(default_factory=dict)
    """Namespace, and user or key, to the last moment that is covered, in microseconds since the
    epoch."""

    _days: set[str] = field(default_factory=set)
    """Keys of days, as lines name them."""

    def look(self) -> None:
        """Learn what came since the last look.

        It is done inside a store's write transaction, and an erasure is on record before its texts
        are forgotten in another: so one that is not seen here forgets what is folded here.

        Raises:
            Unavailable: the ledger does not answer.
        """
        if self._ledger is None:
            self._ledger = self.opened()
        for number, event in self._ledger.events(kinds=(ERASING,), after=self._after):
            self._after = number
            namespace, what = str(event.data["namespace"]), str(event.data["what"])
            if what.startswith((USER, KEY)):
                until = int(event.at * 1e6)
                self._whose[namespace, what] = max(until, self._whose.get((namespace, what), until))
            elif "calls" not in event.data:
                self._days.add(f"{namespace}/{what}")

    def covers(self, call: CallLine) -> bool:
        """Whether a call's payload is to be gone."""
        whose = (f"{USER}{call.user}", f"{KEY}{call.caller}")
        until = max(self._whose.get((call.namespace, one), -1) for one in whose)
        return call.key in self._days or call.at_us <= until


def covering(settings: Settings, ledger: Callable[[], Ledger]) -> Covers:
    """Give what knows which calls of a store are erased on record."""
    return OnRecord(ledger) if settings.calls_url.get_secret_value() else Nothing()
