"""Where a gateway's journal stands, as whoever wrote it last left it; a kill may have torn its end.

Segments from before the call record hold records that no chain binds. They are read for what they
count, and never written to again.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from infra.calls.chain import CALL, EPOCH, HEADER, taken_apart
from infra.calls.lines import CallLine, Share
from infra.calls.segments import paths_in
from serving.windows import window_of


class Record(msgspec.Struct, frozen=True):
    """A request, as journals told it before the call record; only what still counts."""

    at: float
    endpoint: str
    counted: tuple[Share, ...] = ()


class _Called(msgspec.Struct, frozen=True):
    call: CallLine


class _Header(msgspec.Struct, frozen=True):
    first: int


Counted = tuple[float, str, tuple[Share, ...]]
"""When, seconds since the epoch; endpoint; what it adds to its arms."""


@dataclass(slots=True, kw_only=True)
class Left:
    """What a writer left."""

    segment: int = 0
    """The last; 0 where there is none."""

    size: int = 0
    """Bytes of it."""

    chain: bytes = EPOCH
    sequence: int = 0
    """Of the last call."""

    chained: bool = False
    """Whether the last segment can be gone on with; else it is of before the call record."""

    window: int = 0
    """Number of the last one."""

    counted: list[Counted] = field(default_factory=list)
    """What no window has summed up yet."""


def left_in(place: Path) -> Left:
    """Find out how far a journal came, and cut off what a kill tore at its end."""
    segments = paths_in(place)
    left, lines = Left(), list[bytes]()
    while segments and not lines:
        lines = _whole_lines(segments[-1])
        if not lines:
            # Its header was torn, or never written: it is begun anew.
            segments.pop().unlink()
    if not segments:
        return left
    left.segment, left.size = int(segments[-1].stem), segments[-1].stat().st_size
    link = taken_apart(lines[-1])
    if link is not None:
        left.chain, left.chained, left.sequence = link.chain, True, _sequence(lines)
    _take_windows(left, segments, lines)
    return left


def _take_windows(left: Left, segments: list[Path], lines: list[bytes]) -> None:
    """Find the last window, and what was counted after it."""
    for path in reversed(segments):
        lines = lines if path == segments[-1] else path.read_bytes().splitlines()
        windows = (n for n in range(len(lines) - 1, -1, -1) if window_of(lines[n], ""))
        last = next(windows, -1)
        left.counted += [one for line in lines[last + 1 :] if (one := _counted(line))]
        if last >= 0 and (window := window_of(lines[last], "")):
            left.window = window.number
            return


def _whole_lines(path: Path) -> list[bytes]:
    """Give a segment's lines, without what is none at its end: a power loss may leave anything."""
    content = path.read_bytes()
    lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
    while lines and not _is_line(lines[-1][:-1]):
        lines.pop()
    whole = sum(map(len, lines))
    if whole < len(content):
        os.truncate(path, whole)
    return [one[:-1] for one in lines]


def _is_line(line: bytes) -> bool:
    if taken_apart(line) is not None:
        return True
    return line.startswith((b'{"at":', b'{"window":')) and line.endswith(b"}")


def _sequence(lines: list[bytes]) -> int:
    for line in reversed(lines):
        try:
            if line.startswith(CALL):
                return msgspec.json.decode(line, type=_Called).call.sequence
            if line.startswith(HEADER):
                return msgspec.json.decode(line, type=_Header).first - 1
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return 0


def _counted(line: bytes) -> Counted | None:
    try:
        if line.startswith(CALL):
            call = msgspec.json.decode(line, type=_Called).call
            return call.at_us / 1e6, call.endpoint, call.counted
        if line.startswith(b'{"at":'):
            record = msgspec.json.decode(line, type=Record)
            return record.at, record.endpoint, record.counted
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return None
