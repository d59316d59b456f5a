"""Days' keys that are past what their namespace keeps, and their end, which is on record.

A day's key goes once all of its calls are too old, and no segment holds any of them any more. Then
no copy of these segments can be read either, wherever one lies.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from infra.calls.erase import DISCARDED
from infra.calls.segments import paths_in
from infra.calls.vault import Vault, ends_us
from infra.ledger import Ledger
from release.releases import Event

_NAMED = re.compile(rb'"key":"([^"]+/[0-9-]{10})"')
"""How a line names the key of its payload: within a value quotes would be escaped."""

Key = tuple[str, str]
"""Namespace and day, such as `2026-11-26`."""


@dataclass(slots=True)
class Discarding:
    """Looks for keys that are needed no longer."""

    journals: Path
    """Where the gateways' journals lie."""

    vault: Vault
    _read: dict[Path, tuple[int, set[Key]]] = field(default_factory=dict)
    """Segment to how much of it was read, and the keys that are named there."""

    def discard(self, oldest: Callable[[str], int], record: Callable[[str, str], None]) -> int:
        """Destroy keys that only ever sealed what is gone.

        Args:
            oldest: gives the moment before which a namespace's calls go, in microseconds since the
                epoch.
            record: notes of which namespace and day a key goes, before it does.

        Returns:
            How many went.

        Raises:
            Unavailable: it cannot be recorded.
            OSError: a segment cannot be read, or a key not be overwritten.
        """
        old = {key for key in self.vault.days() if ends_us(key[1]) <= oldest(key[0])}
        going = old - self._named(old) if old else set()
        for namespace, day in sorted(going):
            record(namespace, day)
            self.vault.destroy(namespace, day)
        return len(going)

    def _named(self, old: set[Key]) -> set[Key]:
        """Find keys that lines name, all of `old` that there are among them."""
        found: set[Key] = set()
        there: dict[Path, tuple[int, set[Key]]] = {}
        for journal in self.journals.glob("*/"):
            for path in paths_in(journal):
                if not (left := old - found):
                    break
                there[path] = self._look(path)
                found |= (named := there[path][1])
                # Lines stand in the order of their days, but for calls that were under way.
                late = max(day for _, day in left)
                if named and min(day for _, day in named) > _following(late):
                    break
        self._read = there
        return found

    def _look(self, path: Path) -> tuple[int, set[Key]]:
        size, named = self._read.get(path, (0, set[Key]()))
        try:
            with path.open("rb") as file:
                file.seek(size)
                content = file.read()
        except FileNotFoundError:
            return 0, set()
        whole = content[: content.rfind(b"\n") + 1]
        for name in set(_NAMED.findall(whole)):
            namespace, _, day = name.decode(errors="replace").partition("/")
            named.add((namespace, day))
        return size + len(whole), named


def note_discarded(ledger: Ledger, now: float, namespace: str, day: str) -> None:
    """Put on record that a day's key goes.

    Raises:
        Unavailable: the ledger does not answer.
    """
    ledger.note(
        Event(
            kind=DISCARDED,
            at=now,
            actor="slipway",
            sentence=f"the key of {namespace} for {day} went: all that it sealed is gone",
            data={"namespace": namespace, "what": day},
        )
    )


def _following(day: str) -> str:
    try:
        return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    except (ValueError, OverflowError):
        return "9999-99-99"
