"""Reads calls out of gateways' segments, from where a reader stopped."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from infra.calls.chain import CALL
from infra.calls.lines import CallLine, Entry, read_call
from infra.calls.numbers import MOST_NUMBER, day_of

MOST_READ = 4 * 2**20
"""Bytes that one reading takes from one gateway; a longer line is read all the same."""

MOST_DAYS = 32
"""Days that one reading has calls of: in a store that hosts share each is a table, and the
transaction that folds them locks every index of each, of which a server has room for a few
thousand."""

_READABLE = "put it back, or let this user read it; other gateways' calls are folded meanwhile"

_entry = msgspec.json.Decoder(Entry).decode


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """How far one gateway's segments have been read."""

    gateway: str
    segment: int = 1
    offset: int = 0
    """Bytes into the segment; always the beginning of a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A call as it lies in a segment."""

    gateway: str
    segment: int
    offset: int
    line: CallLine
    canonical: bytes
    """What the chain covers."""

    sealed: str
    erased: bool = False
    """Whether nothing that was said in it may be found again."""


@dataclass(slots=True)
class _Part:
    """What came of reading one gateway's segments."""

    place: Place
    calls: list[Found] = field(default_factory=list)
    unreadable: int = 0
    said: list[str] = field(default_factory=list)
    more: bool = False
    failed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came of reading."""

    calls: tuple[Found, ...]
    places: tuple[Place, ...]
    """Of the gateways in which there was anything new."""

    unreadable: int
    """Lines that have the beginning of a call and are none."""

    more: bool = False
    """Whether a gateway has more than was taken now."""

    said: tuple[str, ...] = ()
    """Sentences on what is not there any more, though nobody had read it, or was read before."""

    failed: Mapping[str, str] = field(default_factory=dict)
    """Gateways whose segments cannot be read now, each to why not; the others are read."""


def read(folder: Path, places: Mapping[str, Place], most: int = MOST_READ) -> Reading:
    """Read every gateway's calls from where the last reading ended.

    Args:
        folder: where the gateways' journals lie.
        places: gateway to where to go on; absent means the beginning.
        most: bytes to take from each gateway.
    """
    days = set[int]()
    parts = [
        _tried(journal, places.get(journal.name), most, days)
        for journal in sorted(one for one in folder.glob("*/") if one.is_dir())
    ]
    return Reading(
        calls=tuple(call for one in parts for call in one.calls),
        places=tuple(one.place for one in parts if _is_new(one, places)),
        unreadable=sum(one.unreadable for one in parts),
        more=any(one.more for one in parts),
        said=tuple(said for one in parts for said in one.said),
        failed={one.place.gateway: one.failed for one in parts if one.failed},
    )


def read_one(journal: Path, place: Place | None, most: int) -> list[Found]:
    """Read calls of one gateway, from a place or from its beginning on.

    Raises:
        OSError: a segment cannot be read.
    """
    return _read(journal, *_beginning(journal, place), most, set()).calls


def _tried(journal: Path, place: Place | None, most: int, days: set[int]) -> _Part:
    """Read one gateway's segments; one that cannot be read keeps no other from it."""
    try:
        return _read(journal, *_beginning(journal, place), most, days)
    except OSError as error:
        said = f"{error.filename or journal} cannot be read: {error.strerror} ({_READABLE})"
        return _Part(place=place or Place(gateway=journal.name), failed=said)


def _is_new(part: _Part, places: Mapping[str, Place]) -> bool:
    return not part.failed and part.place != places.get(part.place.gateway)


def paths_in(journal: Path) -> list[Path]:
    """Give the segments of one gateway's journal, the oldest first."""
    return sorted(one for one in journal.glob("*.jsonl") if one.stem.isdigit())


def ends_in(folder: Path) -> list[Place]:
    """Say where every gateway's journal ends now."""
    found = []
    for journal in folder.glob("*/"):
        if paths := paths_in(journal):
            last, size = int(paths[-1].stem), paths[-1].stat().st_size
            found.append(Place(gateway=journal.name, segment=last, offset=size))
    return found


def at(folder: Path, gateway: str, segment: int, offset: int) -> Found | None:
    """Read one call again; None where it is not there any more."""
    try:
        with (folder / gateway / _name(segment)).open("rb") as file:
            file.seek(offset)
            line = file.readline()
    except OSError:
        return None
    return _found(line, gateway, segment, offset) if line.endswith(b"\n") else None


def _beginning(journal: Path, place: Place | None) -> tuple[Place, str]:
    """Say where to go on, and why not where the last reading ended, if so."""
    numbers = [int(path.stem) for path in paths_in(journal)]
    if place is None or not numbers:
        first = Place(gateway=journal.name, segment=numbers[0] if numbers else 1)
        return place or first, ""
    if place.segment <= numbers[-1] and place.segment not in numbers:
        there = next(number for number in numbers if number > place.segment)
        gap = _missing(journal, place.segment, there)
        return Place(gateway=journal.name, segment=there), gap
    if _is_there(journal, place):
        return place, ""
    # What was read before is known by the store, and no harm: it may be another journal by now.
    again = min(place.segment, numbers[-1]) if place.segment in numbers else numbers[0]
    said = (
        f"{journal.name} is not as it was read, up to byte {place.offset} of segment "
        f"{place.segment}: it is read again from segment {again}; see slipway calls verify"
    )
    return Place(gateway=journal.name, segment=again), said


def _is_there(journal: Path, place: Place) -> bool:
    """Whether a line can begin at a place."""
    try:
        with (journal / _name(place.segment)).open("rb") as file:
            file.seek(max(0, place.offset - 1))
            return not place.offset or file.read(1) == b"\n"
    except FileNotFoundError:
        return False


def _missing(journal: Path, first: int, after: int) -> str:
    which = f"segment {first}" if first + 1 == after else f"segments {first} to {after - 1}"
    return f"{which} of {journal.name} cannot be indexed, being away; see slipway calls verify"


def _read(journal: Path, place: Place, why: str, most: int, days: set[int]) -> _Part:
    part = _Part(place=place, said=[why] if why else [])
    while most > 0 and not part.more:
        segment = part.place.segment
        # Asked before it is read: whoever has a successor with a line is whole.
        after = _successor(journal, segment)
        content = _whole_lines(journal / _name(segment), part.place.offset, most)
        most -= len(content)
        _take(part, content, days)
        if not content:
            if after is None:
                break
            part.said += [_missing(journal, segment + 1, after)] if after > segment + 1 else []
            part.place = Place(gateway=journal.name, segment=after)
    part.more = part.more or most <= 0
    return part


def _take(part: _Part, content: bytes, days: set[int]) -> None:
    """Read whole lines that lie at a part's place, and go behind them.

    Args:
        part: what they are added to; there is more where their days became too many.
        content: the lines.
        days: that there are calls of already, whichever gateway's.
    """
    at = part.place
    offset = at.offset
    for line in content.splitlines(keepends=True):
        if line.startswith(CALL):
            call = _found(line, at.gateway, at.segment, offset)
            part.more = call is not None and not _fits(call, days)
            if part.more:
                break
            part.calls += [call] if call else []
            part.unreadable += call is None
        offset += len(line)
    part.place = replace(at, offset=offset)


def _fits(call: Found, days: set[int]) -> bool:
    """Note a call's day, unless there are too many."""
    day = day_of(call.line.at_us)
    if day not in days and len(days) >= MOST_DAYS:
        return False
    days.add(day)
    return True


def _successor(journal: Path, segment: int) -> int | None:
    """Give the next segment that was truly begun, which may be behind a gap."""
    following = segment + 1
    if _has_line(journal / _name(following)):
        return following
    later = (int(path.stem) for path in paths_in(journal))
    there = next((n for n in later if n > following and _has_line(journal / _name(n))), None)
    # Whoever lists a folder may see what was made last, and not what was made before.
    return following if there and _has_line(journal / _name(following)) else there


def _has_line(path: Path) -> bool:
    """Whether a segment was truly begun: one without a line may be given up again."""
    try:
        with path.open("rb") as file:
            return file.readline().endswith(b"\n")
    except FileNotFoundError:
        return False


def _whole_lines(path: Path, offset: int, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read(most)
            if b"\n" not in content:
                content += file.readline()
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]


def _found(line: bytes, gateway: str, segment: int, offset: int) -> Found | None:
    try:
        entry = _entry(line)
        call = read_call(entry.call)
        if any(
            isinstance(one, int) and abs(one) >= MOST_NUMBER
            for one in msgspec.structs.astuple(call)
        ):
            return None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return Found(
        gateway=gateway,
        segment=segment,
        offset=offset,
        line=call,
        canonical=bytes(entry.call),
        sealed=entry.sealed,
    )


def _name(segment: int) -> str:
    return f"{segment:08d}.jsonl"
