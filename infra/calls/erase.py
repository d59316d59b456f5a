"""Erases payloads where they stand: a day's by destroying its key, a subject's by overwriting them.

The chain does not cover what is overwritten, so that it verifies as before, and nothing moves: a
gateway may go on writing meanwhile. Copies, such as backups, keep what was overwritten in the
journal; of what a destroyed key had sealed they keep nothing.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from infra.calls.chain import CALL, taken_apart
from infra.calls.lines import CallLine, erased, read_call

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


def payloads(journals: Path, namespace: str) -> Iterator[Found]:
    """Find a namespace's payloads that are still there, in the journals of all gateways.

    Args:
        journals: where they lie.
        namespace: whose.
    """
    marked = b'"namespace":%b' % msgspec.json.encode(namespace)
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
                    if call.namespace == namespace:
                        begin = start + len(line) - len(_END) - size
                        yield Found(
                            gateway=path.parent.name,
                            call=call,
                            path=path,
                            offset=begin,
                            size=size,
                        )


def overwrite(found: Found) -> None:
    """Overwrite a payload, on the disk before this returns.

    Raises:
        OSError: it could not be.
    """
    handle = os.open(found.path, os.O_WRONLY)
    try:
        os.pwrite(handle, b"-" * found.size, found.offset)
        os.fdatasync(handle)
    finally:
        os.close(handle)


def _sealed(line: bytes) -> CallLine | None:
    """Read a call whose payload is there."""
    link = taken_apart(line[:-1])
    if link is None or not link.sealed or erased(link.sealed.decode()):
        return None
    try:
        return read_call(link.body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
