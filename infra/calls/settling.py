"""Takes the last traces of what was deleted out of the call store's file.

A deleted row's terms stay in an index of FTS5 until its parts are merged, and pages of before stay
in the log until it is emptied.
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from infra.calls.file import failed
from release.errors import Unavailable

MERGED_PAGES = 1_000
"""Pages of an index that one transaction merges: whoever folds waits for no longer than that."""

BETWEEN_SECONDS = 0.1
"""Between two steps: SQLite lets nobody in who has waited, but whoever asks at the right moment."""

SETTLE_SECONDS = 60.0
"""For how long it is tried to empty the log while somebody reads."""

PAUSE_SECONDS = 0.1
INDEXES = ("texts", "words")

Writing = Callable[[], AbstractContextManager[sqlite3.Connection]]
"""Gives one write transaction."""


def merge(writing: Writing) -> None:
    """Merge each index into one part, step by step; one that is merged costs nothing.

    Raises:
        Unavailable: it could not be finished; done again, it is.
    """
    for table in INDEXES:
        # The first step takes all parts of the index together, as `optimize` does; one that
        # changes fewer than two rows had nothing to merge.
        pages, changed = -MERGED_PAGES, 2
        while changed >= 2:
            with writing() as db:
                before = db.total_changes
                command = f"insert into {table} ({table}, rank) values ('merge', ?)"  # noqa: S608
                db.execute(command, (pages,))
                changed = db.total_changes - before
            pages = MERGED_PAGES
            if changed >= 2:
                time.sleep(BETWEEN_SECONDS)


def empty_log(db: sqlite3.Connection, where: Path) -> None:
    """Take what the log holds into the file, and leave nothing in it.

    Raises:
        Unavailable: somebody reads all the time, or the file cannot be written; done again, it may.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            (busy, *_) = db.execute("pragma wal_checkpoint(truncate)").fetchone()
        except sqlite3.Error as error:
            raise failed(where, "be written", error) from error
        if not busy:
            return
        if time.monotonic() >= deadline:
            said = f"The call store {where} was read for {SETTLE_SECONDS:g} s without a pause"
            hint = "do it again once nobody searches; doing it twice is harmless"
            raise Unavailable(f"{said}, and its log still holds what is gone.", hint)
        time.sleep(PAUSE_SECONDS)
