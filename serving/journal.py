"""What happened, request by request: local segments, numbered windows, nothing lost to a kill.

A gateway appends one JSON line a request to `<folder>/<gateway>/<segment>.jsonl`, and about once a
second a line that sums up the window since the line before. The controller folds windows, never
records, so that reading costs what happened and not how often.

A line is written before its request is answered and so survives the death of the process. The next
writer sums up what its predecessor could not, so that windows are numbered without gaps. A disk
that is full costs records, which are counted as dropped; it never costs an answer.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from release.evidence import Cursor, Tally, Window

SEGMENT_BYTES = 16 * 2**20
WINDOW_SECONDS = 1.0
MOST_READ = 64 * 2**20
"""Bytes that one reading takes from one gateway; the rest is for the next."""

_WINDOW = b'{"window":'
_encode = msgspec.json.Encoder().encode

Tallies = dict[str, dict[str, Tally]]


class Counted(msgspec.Struct, frozen=True):
    """What one record adds to one arm; part of each record, so that windows can be recounted."""

    digest: str
    requests: int = 0
    failures: int = 0
    slow: int = 0
    rescued: int = 0

    def tally(self) -> Tally:
        """Give it as counts."""
        return Tally(
            requests=self.requests,
            failures=self.failures,
            slow=self.slow,
            rescued=self.rescued,
        )


class Record(msgspec.Struct, frozen=True):
    """One request."""

    at: float
    id: str
    endpoint: str
    generation: int
    version: int
    """Version that answered; 0 where none did."""

    outcome: str
    """`ok`, or the kind of the error."""

    ms: float
    caller: str = ""
    """Hash of the caller's key."""

    why: str = ""
    queue_ms: float = 0.0
    compute_ms: float = 0.0
    counted: tuple[Counted, ...] = ()


class JournalWriter:
    """One gateway's journal; there is one writer of a name at a time."""

    def __init__(self, folder: Path, gateway: str) -> None:
        self._gateway = gateway
        self._folder = folder / gateway.replace("/", "_")
        self._folder.mkdir(parents=True, exist_ok=True)
        self.dropped = 0
        """Records that could not be written."""

        self._tallies: Tallies = {}
        self._opened = time.time()
        self._number, self._segment = self._recover()
        self._file = self._open()
        if self._tallies:
            self.close_window()

    def write(self, record: Record) -> None:
        """Append a record; one that cannot be written is counted as dropped."""
        _add(self._tallies, record.endpoint, record.counted)
        if not self._append(_encode(record)):
            self.dropped += 1

    def due(self, now: float) -> bool:
        """Whether the present window should be closed."""
        return bool(self._tallies) and now - self._opened >= WINDOW_SECONDS

    def close_window(self) -> None:
        """Sum up the window, and begin the next; also in the next segment where this is full."""
        if self._tallies:
            now = time.time()
            line = {
                "window": self._number + 1,
                "opened": self._opened,
                "closed": now,
                "tallies": {
                    endpoint: {digest: asdict(tally) for digest, tally in arms.items()}
                    for endpoint, arms in self._tallies.items()
                },
            }
            if not self._append(_encode(line)):
                return
            self._number += 1
            self._tallies, self._opened = {}, now
        if os.fstat(self._file).st_size >= SEGMENT_BYTES:
            self._rotate()

    def _rotate(self) -> None:
        """Go on in the next segment; where that cannot be opened, in this one."""
        self._segment += 1
        try:
            fresh = self._open()
        except OSError:
            self._segment -= 1
            return
        os.close(self._file)
        self._file = fresh

    def close(self) -> None:
        """Close the window and the file."""
        self.close_window()
        os.close(self._file)

    def _append(self, line: bytes) -> bool:
        data = line + b"\n"
        try:
            before = os.fstat(self._file).st_size
            if os.write(self._file, data) == len(data):
                return True
            # A disk that filled up half-way: the next line must stand alone.
            os.ftruncate(self._file, before)
        except OSError:
            return False
        return False

    def _open(self) -> int:
        path = self._folder / f"{self._segment:08d}.jsonl"
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _recover(self) -> tuple[int, int]:
        """Find the last window, and count again what a killed writer left after it."""
        segments = sorted(one for one in self._folder.glob("*.jsonl") if one.stem.isdigit())
        number = 0
        for path in reversed(segments):
            lines = _whole_lines(path)
            windows = (n for n, line in enumerate(lines) if _window(line, ""))
            last = max(windows, default=-1)
            if last >= 0:
                number = int(json.loads(lines[last])["window"])
            for line in lines[last + 1 :]:
                self._recount(line)
            if last >= 0:
                break
        return number, int(segments[-1].stem) if segments else 1

    def _recount(self, line: bytes) -> None:
        try:
            record = msgspec.json.decode(line, type=Record)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.dropped += 1
            return
        self._opened = min(self._opened, record.at)
        _add(self._tallies, record.endpoint, record.counted)


def _whole_lines(path: Path) -> list[bytes]:
    """Give a segment's lines; one that a kill tore is cut off, so that the next stands alone."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    return content[:whole].splitlines()


def _add(tallies: Tallies, endpoint: str, counted: tuple[Counted, ...]) -> None:
    for one in counted:
        arms = tallies.setdefault(endpoint, {})
        arms[one.digest] = arms.get(one.digest, Tally()) + one.tally()


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


def _read(place: Path, cursor: Cursor) -> tuple[list[Window], Cursor]:
    windows: list[Window] = []
    segment, offset, budget = cursor.segment, cursor.offset, MOST_READ
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
    start = 0 if content.startswith(_WINDOW) else content.find(b"\n" + _WINDOW) + 1
    while start > 0 or content.startswith(_WINDOW, start):
        end = content.find(b"\n", start)
        if end < 0:
            break
        if window := _window(content[start:end], gateway):
            found.append((window, end + 1))
        start = content.find(b"\n" + _WINDOW, end) + 1
        if not start:
            break
    return found


def _window(line: bytes, gateway: str) -> Window | None:
    if not line.startswith(_WINDOW):
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
