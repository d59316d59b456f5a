"""The file of the call store of one host: opened, made, told from another that took its place."""

import os
import sqlite3
import time
from pathlib import Path

from infra.calls.tables import make
from infra.calls.waiting import LOCK_SECONDS
from release.errors import Unavailable

CACHE_KIB = 64 * 1024

ANEW = "move it away; it is made anew from the segments"

_HINTS = {
    sqlite3.SQLITE_FULL: "make room on its disk; calls wait in their segments until then",
    sqlite3.SQLITE_IOERR: "make room on its disk, or see what is wrong with that",
    sqlite3.SQLITE_CORRUPT: ANEW,
    sqlite3.SQLITE_NOTADB: ANEW,
    sqlite3.SQLITE_BUSY: "end whoever holds it, or do it again",
    sqlite3.SQLITE_READONLY: "let the user of this process write it and its folder",
    sqlite3.SQLITE_CANTOPEN: "let the user of this process read and write it and its folder",
    sqlite3.SQLITE_PERM: "let the user of this process read and write it and its folder",
}
"""Primary code of an error to what helps."""


def open_file(path: Path) -> sqlite3.Connection:
    """Open a store's file, which is made where there is none.

    Raises:
        Unavailable: it cannot be opened, or is of another version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        db = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
        _log_ahead(db)
        db.execute("pragma synchronous = normal")
        db.execute("pragma secure_delete = on")
        db.execute(f"pragma cache_size = -{CACHE_KIB}")
        make(db, path)
    except (OSError, sqlite3.Error) as error:
        raise failed(path, "be opened", error) from error
    return db


def failed(path: Path, what: str, error: OSError | sqlite3.Error) -> Unavailable:
    """Say what cannot be done with a store, why, and what helps."""
    code = getattr(error, "sqlite_errorcode", None)
    hint = _HINTS.get(code & 0xFF, "") if code is not None else ""
    return Unavailable(f"The call store {path} cannot {what}: {error}.", hint)


def identity(path: Path) -> tuple[int, int]:
    """Tell a file from any other that is, or was, at its place; nothing is there: zeros."""
    try:
        facts = path.stat()
    except OSError:
        return 0, 0
    return facts.st_dev, facts.st_ino


def _log_ahead(db: sqlite3.Connection) -> None:
    """Turn to a log ahead of the file; of processes that do so at once SQLite lets none wait."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            db.execute("pragma journal_mode = wal")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
