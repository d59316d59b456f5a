"""Counts calls of models by nobody who is proven: exactly, and in one line of the record a while.

A line each would let a stranger fill the disk, and none would let it try keys unseen.
"""

import time

from serving.journal import NoRoom
from serving.keeping import Keeper

SECONDS = 10.0
"""How long calls are counted before the record says how many there were."""


class Unproven:
    """Calls that proved nobody, of one gateway.

    Args:
        keeper: of its journal.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._counts: dict[str, int] = {}
        self._since = 0.0
        """When the first came that no line tells of yet."""

    def count(self, endpoint: str) -> None:
        """Count a call.

        Args:
            endpoint: that is served and was asked for; empty where there is no such.
        """
        if not self._counts:
            self._since = time.time()
        self._counts[endpoint] = self._counts.get(endpoint, 0) + 1

    def tick(self, *, now: float | None = None) -> None:
        """Write the count where it is due; where there is no room it stays, and is tried again.

        Args:
            now: seconds since the epoch.
        """
        now = time.time() if now is None else now
        # A clock that was set back must not put it off.
        if self._counts and not 0 <= now - self._since < SECONDS and not self._keeper.trouble:
            self.tell()

    def tell(self) -> None:
        """Write the count, if there is anything to tell."""
        if not self._counts:
            return
        total, since = sum(self._counts.values()), self._since
        try:
            self._keeper.writer.write_refused(total, since, unproven=self._counts)
        except NoRoom:
            return
        self._counts = {}
