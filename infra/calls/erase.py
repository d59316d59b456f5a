"""Erases payloads where they stand: a day's by destroying its key, a subject's by overwriting them.

The chain does not cover what is overwritten, so that it verifies as before, and nothing moves: a
gateway may go on writing meanwhile. Copies, such as backups, keep what was overwritten in the
journal; of what a destroyed key had sealed they keep nothing.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import msgspec

from infra.calls.chain import CALL, taken_apart
from infra.calls.lines import CallLine, erased, read_call

ERASING, ERASED = "payloads-erasing", "payloads-erased"
"""Kinds of events. Their data has `namespace` and `what`: the day, `user:`, `key:` or `id:` with
the user, key or request's id, or how many of the `calls` that it lists. Calls that arrived after
the event are not covered."""

DISCARDED = "day-key-discarded"
"""Kind of the event that a day's key went because the day was past what its namespace keeps; its
data has `namespace` and `what`, the day."""

_END = b'"}\n'
"""What follows a line's payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A payload in a segment."""

    gateway: str
    call: CallLine
    path: Path
    offset: int
    """Byte at which it begins."""

    size: int


def payloads(journals: Path, namespace: str = "") -> Iterator[Found]:
    """Find payloads that are still there, in the journals of all gateways.

    Args:
        journals: where they lie.
        namespace: whose; empty means every one's, also of those that nobody made.
    """
    marked = b'"namespace":%b' % msgspec.json.encode(namespace) if namespace else CALL
    for path in sorted(journals.glob("*/*.jsonl")):
        offset = 0
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue  # it was too old, and went meanwhile
        with file:
            for line in file:
                start, offset = offset, offset + len(line)
                if line.startswith(CALL) and marked in line and (call := _sealed(line)):
                    size = len(line) - line.rfind(b'"', 0, -len(_END)) - 1 - len(_END)
                    if namespace in ("", call.namespace):
                        begin = start + len(line) - len(_END) - size
                        yield Found(
                            gateway=path.parent.name,
                            call=call,
                            path=path,
                            offset=begin,
                            size=size,
                        )


def overwrite(found: Iterable[Found]) -> Iterator[Found]:
    """Overwrite payloads, segment by segment; cut short anywhere, it can be done again.

    Args:
        found: in the order of the segments.

    Yields:
        Those that are overwritten and on the disk. One whose segment went meanwhile is not among
        them: it is gone as well.

    Raises:
        OSError: one could not be overwritten.
    """
    for path, of_segment in groupby(found, key=attrgetter("path")):
        try:
            handle = os.open(path, os.O_WRONLY)
        except FileNotFoundError:
            continue
        done = []
        try:
            for one in of_segment:
                _write_whole(handle, b"-" * one.size, one.offset)
                done.append(one)
            os.fdatasync(handle)
        finally:
            os.close(handle)
        yield from done


def _write_whole(handle: int, content: bytes, offset: int) -> None:
    """Write all of it: a call of the kernel's may write less."""
    while content:
        written = os.pwrite(handle, content, offset)
        content, offset = content[written:], offset + written


def _sealed(line: bytes) -> CallLine | None:
    """Read a call whose payload is there."""
    link = taken_apart(line[:-1])
    if link is None or not link.sealed or erased(link.sealed.decode()):
        return None
    try:
        return read_call(link.body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
