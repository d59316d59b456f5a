"""Which calls are erased on record: nobody folds or shows their texts again.

A host's own journal holds nothing of them any more, unless its files were put back from a copy; but
another host's does, where an erasure was run that knows only the call store they share.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from infra.calls.erase import DISCARDED, ERASING
from infra.calls.lines import CallLine
from infra.calls.terms import composed
from infra.ledger import Ledger
from release.releases import Event

USER, KEY, ID, CALL = "user:", "key:", "id:", "call:"
"""Before the user, the id of the key or token, the id of the request, or the gateway and sequence,
of what is erased."""


def ways_to(call: CallLine, gateway: str) -> tuple[str, ...]:
    """Name all that an erasure may be of which covers a call, but for its day."""
    named = f"{USER}{composed(call.user)}", f"{KEY}{call.caller}", f"{ID}{call.id}"
    return *named, f"{CALL}{gateway}/{call.sequence}"


def ways_of(event: Event) -> tuple[str, ...]:
    """Name all that an erasure on record is of, as `ways_to` does; a day as it is."""
    if "calls" in event.data:
        return tuple(f"{CALL}{one}" for one in event.data["calls"])
    return (composed(str(event.data["what"])),)


class Covers(Protocol):
    """What knows which calls are erased."""

    def look(self) -> None:
        """Learn what came since the last look."""
        ...

    def covers(self, call: CallLine, gateway: str) -> bool:
        """Whether a call's payload is to be gone."""
        ...


class Nothing:
    """Where there is no record of erasures."""

    def look(self) -> None:
        """There is nothing to learn."""

    def covers(self, call: CallLine, gateway: str) -> bool:
        """No call is covered by what is not there."""
        del call, gateway
        return False


@dataclass(slots=True)
class OnRecord:
    """Erasures of users, keys, days and calls, as the ledger has them."""

    opened: Callable[[], Ledger]
    _ledger: Ledger | None = None
    _after: int = 0
    _whose: dict[tuple[str, str], int] = field(default_factory=dict)
    """Namespace, and user, key or call, to the last moment that is covered, in microseconds since
    the epoch."""

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
        for number, event in self._ledger.events(kinds=(ERASING, DISCARDED), after=self._after):
            self._after = number
            namespace, until = str(event.data["namespace"]), int(event.at * 1e6)
            for what in ways_of(event):
                if what.startswith((USER, KEY, ID, CALL)):
                    self._cover(namespace, what, until)
                else:
                    self._days.add(f"{namespace}/{what}")

    def _cover(self, namespace: str, what: str, until: int) -> None:
        self._whose[namespace, what] = max(until, self._whose.get((namespace, what), until))

    def covers(self, call: CallLine, gateway: str) -> bool:
        """Whether a call's payload is to be gone."""
        ways = ways_to(call, gateway)
        until = max(self._whose.get((call.namespace, one), -1) for one in ways)
        return call.key in self._days or call.at_us <= until
