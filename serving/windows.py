"""Windows of the journal, read by who folds them into the ledger; calls between are passed over."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.calls.chain import WINDOW
from infra.calls.segments import paths_in
from release.evidence import Cursor, Tally, Window

MOST_READ = 64 * 2**20
"""Bytes that one reading takes from one gateway; the rest is for the next."""


def read_windows(folder: Path, cursors: Mapping[str, Cursor]) -> tuple[list[Window], list[Cursor]]:
    """Read every gateway's closed windows from where a reader stopped.

    Args:
        folder: where the gateways' journals lie.
        cursors: gateway to where the last reading ended; absent means the beginning.

    Returns:
        The new windows, and where to go on next time.
    """
    windows: list[Window] = []
    moved: list[Cursor] = []
    for place in sorted(folder.glob("*/")):
        cursor = cursors.get(place.name, Cursor(gateway=place.name))
        found, after = _read(place, cursor)
        windows += found
        if after != cursor:
            moved.append(after)
    return windows, moved


def _beginning(place: Path, cursor: Cursor) -> tuple[int, int]:
    """Say where to go on: old segments may have been removed meanwhile."""
    numbers = [int(one.stem) for one in paths_in(place)]
    first = min(numbers, default=1)
    return (cursor.segment, cursor.offset) if cursor.segment >= first else (first, 0)


def _read(place: Path, cursor: Cursor) -> tuple[list[Window], Cursor]:
    windows: list[Window] = []
    (segment, offset), budget = _beginning(place, cursor), MOST_READ
    while budget > 0:
        try:
            with (place / f"{segment:08d}.jsonl").open("rb") as file:
                file.seek(offset)
                content = file.read(budget)
        except OSError:
            break
        budget -= len(content)
        for window, end in windows_in(content, place.name):
            windows.append(window)
            cursor = Cursor(
                gateway=place.name, window=window.number, segment=segment, offset=offset + end
            )
        if not (place / f"{segment + 1:08d}.jsonl").exists():
            break
        segment, offset = segment + 1, 0
    return windows, cursor


def windows_in(content: bytes, gateway: str) -> list[tuple[Window, int]]:
    """Find window lines without looking into the records between them."""
    found = []
    start = 0 if content.startswith(WINDOW) else content.find(b"\n" + WINDOW) + 1
    while start > 0 or content.startswith(WINDOW, start):
        end = content.find(b"\n", start)
        if end < 0:
            break
        if window := window_of(content[start:end], gateway):
            found.append((window, end + 1))
        start = content.find(b"\n" + WINDOW, end) + 1
        if not start:
            break
    return found


def window_of(line: bytes, gateway: str) -> Window | None:
    """Read a line; None where it is no window."""
    if not line.startswith(WINDOW):
        return None
    try:
        plain: Any = json.loads(line)
        tallies = {
            endpoint: {digest: Tally.from_json(tally) for digest, tally in arms.items()}
            for endpoint, arms in plain["tallies"].items()
        }
        return Window(
            gateway=gateway,
            number=plain["window"],
            opened=plain["opened"],
            closed=plain["closed"],
            tallies=tallies,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
