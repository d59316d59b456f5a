"""How far an indexer is behind: what lies in gateways' segments that it has not folded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.calls.segments import Found, Place, paths_in, read_one

FIRST_BYTES = 64 * 1024
"""That are looked through for the first call."""

LAST_BYTES = 2**20
"""That are looked through for the last call: payloads are long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """What is not folded yet."""

    calls: int = 0
    bytes: int = 0
    since: float = 0.0
    """When the first of these calls arrived, in seconds since the epoch; 0 where there is none."""


def lag(folder: Path, places: Mapping[str, Place]) -> Lag:
    """Look how much there is to fold; a gateway that cannot be read counts by its size alone.

    Args:
        folder: where the gateways' journals lie.
        places: gateway to how far it is folded; absent means not at all.
    """
    behind = [_of(one, places.get(one.name)) for one in folder.glob("*/") if one.is_dir()]
    return Lag(
        calls=sum(one.calls for one in behind),
        bytes=sum(one.bytes for one in behind),
        since=min((one.since for one in behind if one.since), default=0.0),
    )


def _of(journal: Path, place: Place | None) -> Lag:
    size = 0
    try:
        paths = [one for one in paths_in(journal) if place is None or _from(one, place)]
        size = sum(one.stat().st_size for one in paths)
        if place is not None and paths and int(paths[0].stem) == place.segment:
            size = max(0, size - place.offset)
        calls = read_one(journal, place, FIRST_BYTES) if size else []
        if not calls:
            return Lag(bytes=size)
        first, last = calls[0], _last(journal, paths, place)
    except OSError:
        return Lag(bytes=size)
    # Numbered without a gap, unless the journal was begun anew.
    count = last.line.sequence - first.line.sequence + 1 if last else 1
    return Lag(calls=max(1, count), bytes=size, since=first.line.at_us / 1e6)


def _from(path: Path, place: Place) -> bool:
    return int(path.stem) >= place.segment


def _last(journal: Path, paths: list[Path], place: Place | None) -> Found | None:
    """Find the last call of some segments, behind a place."""
    for path in reversed(paths):
        segment = int(path.stem)
        read = place.offset if place is not None and place.segment == segment else 0
        begins = max(read, path.stat().st_size - LAST_BYTES)
        with path.open("rb") as file:
            file.seek(begins)
            skipped = len(file.readline()) if begins > read else 0
        behind = Place(gateway=journal.name, segment=segment, offset=begins + skipped)
        if calls := read_one(journal, behind, LAST_BYTES):
            return calls[-1]
    return None
