"""Keeps a journal safe while a gateway serves: lines go to the disk in groups, or are refused.

Lines are written by the event loop, one system call each. A thread beside it takes them to the disk
within 50 ms, and at once where somebody waits for that. Every few seconds, and at each segment's
end, it signs a checkpoint of what is on the disk by then.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from infra.calls.checkpoints import Checkpoint, Signer, append, newest
from infra.calls.lines import CallLine
from serving.journal import JournalWriter, Mark, NoRoom
from serving.syncing import Syncing

GROUP_SECONDS = 0.04
"""How long a line waits for others before it goes to the disk; that itself may take 10 ms more."""

CHECKPOINT_SECONDS = 2.0

SLOW_SECONDS = 2.0
"""A disk that has taken so long for one group is as good as full."""

PROBE_SECONDS = 0.25
"""How often a full disk is tried again."""


class Keeper:
    """One gateway's journal under way; belongs to one event loop.

    Args:
        writer: of the journal.
        signer: of checkpoints; None signs none.
    """

    def __init__(self, writer: JournalWriter, signer: Signer | None = None) -> None:
        self.writer = writer
        self._signer = signer
        self.recorded = 0
        """Calls that have their line."""

        self.refused = 0
        """Calls that were refused because they could have none."""

        self._untold = 0
        self._since = time.time()
        """When the first call was refused that no line tells of yet."""

        self._trouble = ""
        """Why the last line could not be written."""

        self._unsafe = ""
        """Why the last group could not be taken to the disk."""

        self._probed_at = 0.0
        self._writing_since: float | None = None
        self._checked: Mark | None = None
        self._checked_at = 0.0
        self._waiting: list[asyncio.Future[None]] = []
        writer.hold()
        self._syncing = Syncing(writer.place, self._check)
        self._dirty, self._urgent = asyncio.Event(), asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    @property
    def trouble(self) -> str:
        """Why nothing can be recorded just now; empty where it can."""
        since = self._writing_since
        if since is not None and (took := time.monotonic() - since) > SLOW_SECONDS:
            return f"The disk of the call record has not answered for {took:.0f} s."
        return self._trouble or self._unsafe

    def as_json(self) -> dict[str, Any]:
        """Give plain JSON data."""
        return {"recorded": self.recorded, "refused": self.refused, "trouble": self.trouble}

    def keep(
        self, line: CallLine, sealed: bytes = b"", *, strict: bool = False
    ) -> asyncio.Future[None] | None:
        """Write a call's line.

        Returns:
            Where it is strict, what ends once the line is on the disk.

        Raises:
            NoRoom: it was not written.
        """
        if said := self.trouble:
            raise NoRoom(said)
        try:
            self.writer.write(line, sealed)
        except NoRoom as error:
            self._fails(error)
            raise
        self.recorded += 1
        if not self._dirty.is_set():
            self._dirty.set()
        if not strict:
            return None
        settled = asyncio.get_running_loop().create_future()
        self._waiting.append(settled)
        self._urgent.set()
        return settled

    def refuse(self) -> None:
        """Count a call that was refused because it could have no line."""
        self.refused += 1
        if not self._untold:
            self._since = time.time()
        self._untold += 1

    def tick(self) -> None:
        """Close windows that are due, try a full disk again, see that checkpoints are made."""
        now = time.monotonic()
        if self._trouble and now - self._probed_at < PROBE_SECONDS:
            return
        self._probed_at = now
        try:
            self._tell_refused()
            if self.writer.due(time.time()):
                self.writer.close_window()
                self._dirty.set()
        except NoRoom as error:
            self._fails(error)
            return
        if self._trouble:
            self._trouble = ""
            self._dirty.set()
        if self._signer and self._unchecked() and now - self._checked_at >= CHECKPOINT_SECONDS:
            self._dirty.set()

    def _tell_refused(self) -> None:
        if self._untold:
            self.writer.write_refused(self._untold, self._since)
            self._untold = 0

    async def run(self) -> None:
        """Take groups to the disk for ever."""
        while True:
            await self._dirty.wait()
            if not self._waiting:
                with suppress(TimeoutError):
                    async with asyncio.timeout(GROUP_SECONDS):
                        await self._urgent.wait()
            await self._settle()

    async def close(self) -> None:
        """Take everything to the disk, and close; `run` must have ended."""
        with suppress(NoRoom):
            self._tell_refused()
            self.writer.close_window()
        if self._untold:
            sys.stderr.write(f"gateway: no line tells of {self._untold} calls that were refused\n")
        self._checked_at = 0.0
        await self._settle()
        self.writer.close()
        self._thread.shutdown()

    async def _settle(self) -> None:
        self._dirty.clear()
        self._urgent.clear()
        waiting, self._waiting = self._waiting, []
        marks = self.writer.marks()
        self._writing_since = time.monotonic()
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._to_disk, marks)
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            await asyncio.wait([work])
            raise
        finally:
            self._writing_since = None
            before, self._unsafe = self._unsafe, _trouble_of(work)
            if self._unsafe:
                self._dirty.set()
                if not before:
                    sys.stderr.write(f"gateway: {self._unsafe}\n")
            _tell(waiting, self._unsafe)

    def _to_disk(self, marks: Sequence[Mark]) -> None:
        """Run by the thread."""
        self._syncing.take(marks)
        last = marks[-1]
        if time.monotonic() - self._checked_at >= CHECKPOINT_SECONDS and last != self._checked:
            self._check(last)
            self._checked_at = time.monotonic()

    def _check(self, mark: Mark) -> None:
        if self._signer is None:
            return
        append(self.writer.place, _signed(self.writer, self._signer, mark))
        self._checked = mark

    def _unchecked(self) -> bool:
        return self._checked != self.writer.mark()

    def _fails(self, error: NoRoom) -> None:
        if not self._trouble:
            sys.stderr.write(f"gateway: {error}\n")
        self._trouble = str(error)
        self._probed_at = time.monotonic()


def _trouble_of(work: asyncio.Future[None]) -> str:
    """Say why a group is not known to be on the disk; empty where it is there.

    Whatever went wrong: a group that nobody knows of is none that was taken.
    """
    if not work.done() or work.cancelled():
        return "The gateway ended before the call record was on the disk."
    if (error := work.exception()) is None:
        return ""
    why = error.strerror if isinstance(error, OSError) else repr(error)
    return f"The call record cannot be taken to the disk: {why}."


def _tell(waiting: Iterable[asyncio.Future[None]], why: str) -> None:
    for one in waiting:
        if one.done():
            continue  # Its client waits no longer.
        if why:
            one.set_exception(NoRoom(why))
            one.exception()  # Known now, though its client may just have left.
        else:
            one.set_result(None)


def sum_up(writer: JournalWriter, signer: Signer | None) -> None:
    """Sign what a gateway that was killed has left, and close its journal; None signs nothing.

    Raises:
        OSError: it could not be taken to the disk, or not be signed there.
    """
    *_, last = writer.marks()
    before = newest(writer.place)
    if signer is not None and (before is None or before.chain != last.chain.hex()):
        os.fdatasync(last.file)
        append(writer.place, _signed(writer, signer, last))
    writer.close()


def _signed(writer: JournalWriter, signer: Signer, mark: Mark) -> Checkpoint:
    return signer.checkpoint(
        gateway=writer.place.name, segment=mark.segment, sequence=mark.sequence, chain=mark.chain
    )
