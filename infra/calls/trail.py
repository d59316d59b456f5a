"""Walks along a journal from one checkpoint to the next, and so shows that the one binds the other.

Whoever has a journal's folder, and with it the key that signs, can make its chain anew and sign it.
But nobody can find lines that go on from an anchor and come to the end of a history without it. So
a checkpoint that was walked to, line by line from an anchor, holds all that the anchor held.
"""

from collections.abc import Iterator
from pathlib import Path

from infra.calls.chain import linked, taken_apart
from infra.calls.checkpoints import Checkpoint
from release.errors import Conflict

MOST_WALKED = 64 * 2**20
"""Bytes of one walk."""


class Trail:
    """How far one gateway's journal was walked along; no line is walked twice.

    Args:
        place: its folder.
        anchor: where to set out.
    """

    def __init__(self, place: Path, anchor: Checkpoint) -> None:
        self.anchor = anchor
        """The last that is kept; whoever keeps one that was reached, sets it."""

        self._place = place
        self._chain = bytes.fromhex(anchor.chain)
        """Of the line before the one that comes next."""

        self._segment = anchor.segment
        self._offset: int | None = None
        """Where the next line begins; None until the anchor's is found."""

    def reaches(self, checkpoint: Checkpoint, most: int = MOST_WALKED) -> bool:
        """Walk to a checkpoint.

        Args:
            checkpoint: one whose lines are all there.
            most: bytes after which the walk stops, for the next to go on.

        Returns:
            Whether it was reached; else there is more to walk.

        Raises:
            Conflict: it does not go on from the anchor; nor does it when asked again.
        """
        wanted = bytes.fromhex(checkpoint.chain)
        lines = self._lines()
        while self._chain != wanted:
            line = next(lines, b"")
            link = taken_apart(line[:-1])
            if link is None or linked(self._chain, link.body) != link.chain:
                self._offset = -1
                raise Conflict(
                    f"The journal of {checkpoint.gateway} does not go on from call "
                    f"{self.anchor.sequence} as that was anchored.",
                    "see slipway calls verify",
                )
            self._chain = link.chain
            most -= len(line)
            if most <= 0 and self._chain != wanted:
                return False
        return True

    def _lines(self) -> Iterator[bytes]:
        """Read lines, and move behind each."""
        if self._offset is None:
            self._offset = self._found()
        while self._offset >= 0:
            try:
                file = self._path(self._segment).open("rb")
            except FileNotFoundError:
                return
            with file:
                file.seek(self._offset)
                for line in file:
                    self._offset += len(line)
                    yield line
            if not self._path(self._segment + 1).exists():
                return
            self._segment, self._offset = self._segment + 1, 0

    def _found(self) -> int:
        """Find behind which line to set out; -1 where it is not there.

        Whatever line claims the anchor's chain: what goes on from there was hashed on it.
        """
        try:
            content = self._path(self._segment).read_bytes()
        except FileNotFoundError:
            return -1
        at = content.find(b'"chain":"%b"' % self.anchor.chain.encode())
        return content.find(b"\n", at) + 1 if at >= 0 else -1

    def _path(self, segment: int) -> Path:
        return self._place / f"{segment:08d}.jsonl"
