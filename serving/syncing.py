"""Takes a journal's segments to the disk, so that what is signed there is there.

Linux tells a failed sync once, and may have dropped what it could not write: a sync that succeeds
after it says nothing of that. So the writer's lines are held until they are known to be on the
disk, and what a failed sync was for is written anew, the same bytes in the same places, before
anything of that segment counts as being there. What a gateway leaves behind that is killed
meanwhile, the next one can only take as the kernel shows it.

Source: https://lwn.net/Articles/752063/ ("PostgreSQL's fsync() surprise").
"""

import errno
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from infra.calls.vault import SHORTEST
from infra.files import sync_folder
from serving.journal import Mark, path_of

_ERASED = re.compile(rb"-{%d,}" % SHORTEST)


class Syncing:
    """Takes one journal to the disk; for one thread.

    Args:
        place: folder of the segments.
        ended: is told of each complete segment that is on the disk, before it is closed.
    """

    def __init__(self, place: Path, ended: Callable[[Mark], None]) -> None:
        self._place = place
        self._ended = ended
        self._named = 0
        """The last segment whose name is on the disk too."""

        self._owed: list[Mark] = []
        """What is not on the disk yet, in order."""

        self._failed: set[int] = set()
        """Segments whose last sync failed."""

    def take(self, marks: Iterable[Mark]) -> None:
        """Take to the disk what was written up to these marks, and what earlier ones still owe.

        Raises:
            OSError: not all of it is there; it is tried again the next time.
        """
        self._owed += (one for one in marks if one.fresh or one.ended)
        while self._owed:
            first = self._owed[0]
            mine = [one for one in self._owed if one.segment == first.segment]
            self._sync(mine)
            if mine[-1].ended:
                self._ended(mine[-1])
            # Before it is closed: whatever that says, the file is closed then.
            del self._owed[: len(mine)]
            if mine[-1].ended:
                os.close(first.file)

    def _sync(self, mine: list[Mark]) -> None:
        segment = mine[0].segment
        if not self._named:
            sync_folder(self._place.parent)
        if segment != self._named:
            sync_folder(self._place)
            self._named = segment
        try:
            if segment in self._failed:
                _write_anew(path_of(self._place, segment), mine)
            else:
                os.fdatasync(mine[0].file)
        except OSError:
            self._failed.add(segment)
            raise
        self._failed.discard(segment)


def _write_anew(path: Path, marks: list[Mark]) -> None:
    """Write what was written up to these marks once more, without what was erased meanwhile."""
    file = os.open(path, os.O_RDWR)
    try:
        for mark in marks:
            lines = bytearray().join(mark.fresh)
            for gone in _ERASED.finditer(os.pread(file, len(lines), mark.begins)):
                lines[gone.start() : gone.end()] = gone[0]
            if os.pwrite(file, lines, mark.begins) < len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fdatasync(file)
    finally:
        os.close(file)
