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
from infra.calls.waiting import FOLLOWS, STAYS, Unswept

MERGED_PAGES = 1_000
"""Pages of an index that one transaction merges: whoever folds waits for no longer than that."""

BETWEEN_SECONDS = 0.1
"""Between two steps: SQLite lets nobody in who has waited, but whoever asks at the right moment."""

READ_SECONDS = 2.0
"""For how long whoever reads is waited for without a word, and whoever writes waits meanwhile."""

SETTLE_SECONDS = 60.0
"""For how long an erasure waits for who reads what was there before."""

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


def owe(db: sqlite3.Connection) -> None:
    """Note that something has to leave the files; within the transaction that forgets it."""
    db.execute("insert into unswept default values")


def empty_log(db: sqlite3.Connection, where: Path, wait: float, say: Callable[[str], None]) -> None:
    """Take what the log holds into the file, and leave nothing in it.

    Args:
        db: the store.
        where: its file.
        wait: seconds that are waited for who reads what was there before, at the least.
        say: is told that somebody is waited for, where that takes long.

    Raises:
        Unswept: somebody reads for longer; done again, it may be emptied.
        Unavailable: the file cannot be written.
    """
    deadline, said = time.monotonic() + wait, wait <= READ_SECONDS
    while True:
        try:
            db.execute(f"pragma busy_timeout = {int(READ_SECONDS * 1_000)}")
            (busy, *_) = db.execute("pragma wal_checkpoint(truncate)").fetchone()
        except sqlite3.Error as error:
            raise failed(where, "be written", error) from error
        if not busy:
            return
        if time.monotonic() >= deadline:
            raise Unswept(STAYS, FOLLOWS)
        if not said:
            left = deadline - time.monotonic()
            say(f"The call store {where} is read for long; that is waited for, {left:.0f} s more.")
            said = True
        time.sleep(PAUSE_SECONDS)
