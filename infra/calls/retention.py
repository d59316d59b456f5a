"""Which segments have outlived everything in them, and their removal, which is on record.

A segment goes as a whole, and the oldest first: what is left is one journal that begins later. It
goes only when each of its calls is past what its own namespace keeps, in days and in bytes, was
folded into the call store before, and counted by every release that is watched; never one of the
last minutes, nor the one with the last window, from which its gateway counts on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from infra.calls.chain import CALL, HEADER, REFUSED, WINDOW
from infra.calls.lines import CallLine
from infra.calls.segments import paths_in
from infra.files import sync_folder
from infra.ledger import Ledger
from release.releases import WATCHED, Event

Oldest = Callable[[str], int]
"""Gives the moment before which a namespace's calls go, in microseconds since the epoch."""

Counted = Callable[[str], int]
"""Gives the segment of a gateway from which on windows may not have been counted yet."""

YOUNG_US = 5 * 60 * 1_000_000
"""What is younger stays, however little a namespace keeps: it is under way to whoever reads it."""

_ALL = 2**62

REMOVED = "segments-removed"
"""Kind of the event. Its data has `gateway` and `segment`, the last that is gone."""


class _Record(msgspec.Struct, frozen=True):
    """A request of before the call record."""

    at: float


class _Called(msgspec.Struct, frozen=True):
    call: CallLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlived:
    """Segments of one gateway that may go."""

    gateway: str
    """Name of its folder."""

    paths: tuple[Path, ...]
    """The oldest first."""

    @property
    def segment(self) -> int:
        """Number of the last of them."""
        return int(self.paths[-1].stem)


def outlived(journal: Path, indexed: int, oldest: Oldest) -> Outlived | None:
    """Find what may be removed of a gateway's journal.

    Args:
        journal: its folder.
        indexed: segment in which the call store, or whoever counts, goes on reading.
        oldest: of any namespace, whether there is one of that name or not.

    Returns:
        The segments; None where there are none.
    """
    paths = paths_in(journal)
    going: list[Path] = []
    last = _with_last_window(paths)
    for path in paths:
        if int(path.stem) >= min(indexed, last) or not _too_old(path, oldest):
            break
        going.append(path)
    return Outlived(gateway=journal.name, paths=tuple(going)) if going else None


def counted(ledger: Ledger) -> Counted:
    """Find out how far the releases that live traffic is evidence for have counted it.

    Raises:
        Unavailable: the ledger does not answer.
    """
    watched = [one for one in ledger.releases(open_only=True) if one.phase in WATCHED]
    cursors = [ledger.cursors(one.candidate.model) for one in watched]

    def first(gateway: str) -> int:
        known = (one.get(gateway) for one in cursors)
        return min((at.segment if at else 0 for at in known), default=_ALL)

    return first


def all_counted(gateway: str) -> int:
    """Say that no release waits for a gateway's windows."""
    return _ALL


def remove(found: Outlived, record: Callable[[Outlived], None]) -> None:
    """Remove segments; cut short anywhere, it can be done again.

    Args:
        found: what to remove.
        record: is called before the first is gone, so that none is missing for no reason.

    Raises:
        OSError: one cannot be removed.
    """
    record(found)
    for path in found.paths:
        path.unlink(missing_ok=True)
    sync_folder(found.paths[0].parent)


def _with_last_window(paths: list[Path]) -> int:
    """Give the number of the newest segment with a window; 0 where none has one."""
    for path in reversed(paths):
        if any(line.startswith(WINDOW) for line in path.read_bytes().splitlines()):
            return int(path.stem)
    return 0


def _too_old(path: Path, oldest: Oldest) -> bool:
    # The youngest stand at the end: a segment that stays is mostly known by one line.
    return all(_goes(line, oldest) for line in reversed(path.read_bytes().splitlines()))


def _goes(line: bytes, oldest: Oldest) -> bool:
    """Whether nothing holds a line any longer; one that cannot be read is kept, to be seen."""
    if line.startswith((HEADER, WINDOW, REFUSED)):
        return True
    try:
        if line.startswith(CALL):
            call = msgspec.json.decode(line, type=_Called).call
            return call.at_us < oldest(call.namespace)
        record = msgspec.json.decode(line, type=_Record)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return record.at * 1e6 < oldest("default")


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
            sentence=f"{which} of {found.gateway} went: all of their calls are past what is kept",
            data={"gateway": found.gateway, "segment": last},
        )
    )
