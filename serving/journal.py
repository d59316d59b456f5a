"""The journal of one gateway: every call a line, chained; numbered windows; nothing lost to a kill.

A gateway appends to `<folder>/<gateway>/<segment>.jsonl` one line a call, as `infra.calls.lines`
lays it, and about once a second a line that sums up the window since the line before. The
controller folds windows, never calls, so that reading costs what happened and not how often.

A line is written before its call is answered and so survives the death of the process. The next
writer goes on with the chain, and sums up what its predecessor could not, so that windows are
numbered without gaps. What cannot be written is refused, never dropped.
"""

import errno
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from infra.calls.chain import call_line, linked, other_line
from infra.calls.lines import CallLine, Share
from release.errors import Unavailable
from release.evidence import Tally
from serving.recovery import left_in

SEGMENT_BYTES = 16 * 2**20
WINDOW_SECONDS = 1.0

_encode = msgspec.json.Encoder().encode

Tallies = dict[str, dict[str, Tally]]


class NoRoom(Unavailable):
    """A line could not be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a journal had come at some moment."""

    segment: int
    sequence: int
    chain: bytes
    file: int
    """Of the segment."""

    ended: bool = False
    """Whether the segment is complete: its file is to be closed."""


class JournalWriter:
    """One gateway's journal; there is one writer of a name at a time.

    Raises:
        OSError: the journal cannot be read or begun.
    """

    def __init__(self, folder: Path, gateway: str) -> None:
        self._gateway = gateway
        self.place = folder / gateway.replace("/", "_")
        self.place.mkdir(parents=True, exist_ok=True)
        self._tallies: Tallies = {}
        self._opened = time.time()
        self._torn = False
        self._ended: list[Mark] = []
        left = left_in(self.place)
        for at, endpoint, counted in left.counted:
            self._opened = min(self._opened, at)
            _add(self._tallies, endpoint, counted)
        self._number, self._segment, self._size = left.window, left.segment, left.size
        self.sequence, self._chain = left.sequence, left.chain
        """Number of the last call."""

        self._file = self._open(left.segment) if left.chained else self._begin(left.segment + 1)
        if self._tallies:
            with suppress(NoRoom):
                self.close_window()

    def write(self, line: CallLine, sealed: bytes = b"") -> None:
        """Append a call, whose sequence must be the next.

        Raises:
            NoRoom: it was not written, and changed nothing.
        """
        body = _encode(line)
        chain = linked(self._chain, body)
        self._append(call_line(body, chain, sealed))
        self._chain = chain
        self.sequence = line.sequence
        if line.counted:
            _add(self._tallies, line.endpoint, line.counted)

    def write_refused(
        self, calls: int, since: float, *, unproven: Mapping[str, int] | None = None
    ) -> None:
        """Say how many calls were refused because they could not be written.

        Args:
            calls: how many.
            since: seconds since the epoch.
            unproven: by endpoint, where they were refused because they proved nobody instead.

        Raises:
            NoRoom: there is no room for this either.
        """
        told = {"refused": calls, "since": since, "until": time.time()}
        why = {"unproven": unproven} if unproven else {}
        self._append_other(_encode(told | why))

    def due(self, now: float) -> bool:
        """Whether the present window should be closed."""
        wanted = bool(self._tallies) or self._size >= SEGMENT_BYTES
        return wanted and now - self._opened >= WINDOW_SECONDS

    def close_window(self) -> None:
        """Sum up the window, and begin the next; also in the next segment where this is full.

        Raises:
            NoRoom: it stays open.
        """
        now = time.time()
        # A full segment always ends with one, though it may count nothing: no segment goes as long
        # as none after it has one.
        if self._tallies or self._size >= SEGMENT_BYTES:
            line = {
                "window": self._number + 1,
                "opened": self._opened,
                "closed": now,
                "tallies": {
                    endpoint: {digest: asdict(tally) for digest, tally in arms.items()}
                    for endpoint, arms in self._tallies.items()
                },
            }
            self._append_other(_encode(line))
            self._number += 1
            self._tallies = {}
        self._opened = now
        if self._size >= SEGMENT_BYTES:
            self._rotate()

    def marks(self) -> list[Mark]:
        """Say how far it came, and at which segments' ends; each end is given once."""
        ended, self._ended = self._ended, []
        return [*ended, self.mark()]

    def close(self) -> None:
        """Close the window and the files, all of it on the disk."""
        with suppress(NoRoom):
            self.close_window()
        for mark in self.marks():
            with suppress(OSError):
                os.fdatasync(mark.file)
            os.close(mark.file)

    def mark(self, *, ended: bool = False) -> Mark:
        """Say how far it came."""
        return Mark(
            segment=self._segment,
            sequence=self.sequence,
            chain=self._chain,
            file=self._file,
            ended=ended,
        )

    def _rotate(self) -> None:
        """Go on in the next segment; where that cannot be begun, in this one."""
        before, size = self.mark(ended=True), self._size
        try:
            self._file = self._begin(self._segment + 1)
        except OSError:
            self._segment, self._file, self._size = before.segment, before.file, size
            return
        self._ended.append(before)

    def _begin(self, segment: int) -> int:
        """Begin a segment with its header."""
        told = {
            "segment": segment,
            "gateway": self._gateway,
            "first": self.sequence + 1,
            "before": self._chain.hex(),
        }
        body = _encode(told)
        chain = linked(self._chain, body)
        line = other_line(body, chain)
        file = self._open(segment)
        try:
            _write_whole(file, line)
        except OSError:
            os.close(file)
            self._path(segment).unlink(missing_ok=True)
            raise
        self._segment, self._size, self._chain = segment, len(line), chain
        return file

    def _append_other(self, body: bytes) -> None:
        chain = linked(self._chain, body)
        self._append(other_line(body, chain))
        self._chain = chain

    def _append(self, data: bytes) -> None:
        try:
            if self._torn:
                self._mend()
            written = os.write(self._file, data)
        except OSError as error:
            raise self._no_room(error.strerror or repr(error)) from error
        if written < len(data):
            # A disk that filled up half-way: the next line must stand alone.
            self._torn = True
            with suppress(OSError):
                self._mend()
            raise self._no_room("the disk is full")
        self._size += written

    def _mend(self) -> None:
        os.ftruncate(self._file, self._size)
        self._torn = False

    def _no_room(self, why: str) -> NoRoom:
        return NoRoom(f"The call record at {self._path(self._segment)} takes no line: {why}.")

    def _path(self, segment: int) -> Path:
        return self.place / f"{segment:08d}.jsonl"

    def _open(self, segment: int) -> int:
        return os.open(self._path(segment), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def tally_of(share: Share) -> Tally:
    """Give what a call adds to an arm as counts."""
    return Tally(
        requests=share.requests, failures=share.failures, slow=share.slow, rescued=share.rescued
    )


def _write_whole(file: int, line: bytes) -> None:
    if os.write(file, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _add(tallies: Tallies, endpoint: str, counted: Iterable[Share]) -> None:
    for one in counted:
        arms = tallies.setdefault(endpoint, {})
        arms[one.digest] = arms.get(one.digest, Tally()) + tally_of(one)
