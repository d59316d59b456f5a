"""The call store on one host: SQLite, with indexes of what was asked and answered.

Everything here can be made anew from the segments; the store is their image. A batch of calls and
the place up to which they were read are one transaction, so that a call is here once, however often
its indexer dies. What the store shows of a payload it holds in plain text, which a search needs:
its file is its owner's alone, and whatever is erased there is forgotten here.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from infra.calls import settling, sqlite_search
from infra.calls.alone import Alone
from infra.calls.file import failed, identity, open_file
from infra.calls.folding import Folded, searched
from infra.calls.lines import Payload
from infra.calls.numbers import number_of
from infra.calls.query import COLUMNS, Hit, Query
from infra.calls.segments import Found, Place
from infra.calls.settling import BETWEEN_SECONDS, empty_log, merge, owe
from infra.calls.terms import folded, pairs
from infra.calls.waiting import LOCK_SECONDS, Busy, Unswept, say_nothing

DROPPED = 1_000
"""Calls that one transaction drops, in about a second: whoever writes waits no longer than that."""

_INSERT = (
    "insert or ignore into calls (number, gateway, sequence, segment, offset, line, "  # noqa: S608
    f"{', '.join(COLUMNS)})"
    f" values ({', '.join('?' * (6 + len(COLUMNS)))})"
)


class CallStore(Alone):
    """Calls that were folded out of segments.

    Args:
        path: of the file; it is made where there is none.
        say: is told what is waited for.

    Raises:
        Unavailable: it cannot be opened, or is of another version.
    """

    def __init__(self, path: Path, say: Callable[[str], None] = say_nothing) -> None:
        self._path = path
        self._say = say
        self._open()

    def _open(self) -> None:
        self._db = open_file(self._path)
        self._file = identity(self._path)

    def places(self) -> dict[str, Place]:
        """How far each gateway's segments have been folded."""
        rows = self.select("select gateway, segment, offset from places", [])
        return {
            str(one): Place(gateway=str(one), segment=int(str(segment)), offset=int(str(at)))
            for one, segment, at in rows
        }

    def fold(
        self,
        read: Callable[[Mapping[str, Place]], tuple[Sequence[Folded], Sequence[Place]]],
        wait: float = LOCK_SECONDS,
    ) -> int:
        """Take what a reader finds from where the last one stopped; all of it or nothing.

        It reads while nobody else may write here. So whatever was erased from the segments before
        `forget` is called either was not read, or is forgotten.

        Args:
            read: is given how far each gateway's segments were read, and gives calls with their
                payloads, where these may be searched, and how far they are read now.
            wait: seconds that are waited for others that write.

        Returns:
            How many calls were new.

        Raises:
            Busy: others write for longer.
            Unavailable: they cannot be written.
        """
        with self._writing(wait) as db:
            calls, places = read(self.places())
            # FTS5 takes rows in their order; each that is out of it costs a part of its own.
            calls = sorted(calls, key=lambda one: one[0].line.at_us)
            new = sum(_insert(db, found, payload) for found, payload in calls)
            db.executemany(
                "insert into places values (?, ?, ?) on conflict (gateway) do update"
                " set segment = excluded.segment, offset = excluded.offset",
                [(one.gateway, one.segment, one.offset) for one in places],
            )
        return new

    def forget(self, calls: Mapping[str, Iterable[tuple[int, int]]]) -> int:
        """Forget the payloads of calls, and leave nothing of them in the indexes.

        Args:
            calls: gateway to sequences, each with the moment of its arrival (`at_us`): a gateway
                that began anew has counted from 1 again.

        Returns:
            How many there were.

        Raises:
            Unswept: they are found no more, but lie in the log still.
            Unavailable: it could not be finished; with the next call of this it is.
        """
        forgotten = 0
        with self._writing() as db:
            for gateway, sequences in calls.items():
                for one in sequences:
                    for row in db.execute(
                        "select number from calls where gateway = ? and sequence = ? and at_us = ?",
                        (gateway, *one),
                    ).fetchall():
                        forgotten += db.execute("delete from texts where rowid = ?", row).rowcount
                        db.execute("delete from words where rowid = ?", row)
            if forgotten:
                owe(db)
        # Also where there were none: the one before may have been interrupted here.
        self._settle(settling.SETTLE_SECONDS)
        return forgotten

    def drop(self, namespace: str, before_us: int, own_us: int = 0) -> int:
        """Remove a namespace's calls of before a moment, payloads and lines; give how many.

        The oldest go first, some at a time. Their terms stay in the indexes until `settle`.

        Args:
            namespace: whose.
            before_us: microseconds since the epoch.
            own_us: the same of this home's calls, which all are: the later one counts.

        Raises:
            Unavailable: it could not be finished; what is gone is gone.
        """
        below, gone, step = number_of(max(before_us, own_us)), 0, DROPPED
        while step == DROPPED:
            if gone:
                time.sleep(BETWEEN_SECONDS)
            with self._writing() as db:
                step = _dropped(db, namespace, below)
            gone += step
        return gone

    def page(self, query: Query) -> list[Hit]:
        """Give the newest calls that match, one page.

        Raises:
            Unavailable: the store does not answer.
        """
        return sqlite_search.page(self.select, query)

    def namespaces(self) -> list[str]:
        """Name the namespaces that there are calls of, whether anybody made them or not."""
        return [str(name) for (name,) in self.select("select distinct namespace from calls", [])]

    def settle(self) -> None:
        """Leave nothing in the file of what is gone; others may write between its steps.

        Raises:
            Unswept: somebody reads what was there before.
            Unavailable: it could not be finished; with the next call of this it is.
        """
        self._settle(settling.READ_SECONDS)

    def _settle(self, wait: float) -> None:
        ((last,),) = self.select("select max(number) from unswept", [])
        merge(self._writing)
        try:
            empty_log(self._db, self._path, wait, self._say)
        except Unswept:
            # Also what was dropped: nobody waits an hour for it once more.
            with self._writing() as db:
                owe(db)
            raise
        if last is not None:
            with self._writing() as db:
                # Only what was there before: another may ask for it once more.
                db.execute("delete from unswept where number <= ?", (last,))

    def owed(self) -> bool:
        """Whether something that was forgotten may not have left the files yet."""
        return bool(self.select("select 1 from unswept limit 1", []))

    def select(self, sql: str, values: Sequence[object]) -> list[tuple[object, ...]]:
        """Ask for rows; for `sqlite_search`, which makes the statements.

        Raises:
            Unavailable: the store does not answer.
        """
        try:
            return self._db.execute(sql, tuple(values)).fetchall()
        except sqlite3.Error as error:
            raise failed(self._path, "be read", error) from error

    @contextmanager
    def _writing(self, wait: float = LOCK_SECONDS) -> Iterator[sqlite3.Connection]:
        try:
            self._begin(wait)
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:  # A full disk has ended it already.
                    self._db.execute("rollback")
                raise
            self._db.execute("commit")
        except sqlite3.Error as error:
            raise failed(self._path, "be written", error) from error

    def _begin(self, wait: float) -> None:
        if identity(self._path) != self._file:
            # It was moved away or deleted, to be made anew: nobody reads what is written there.
            self.close()
            self._open()
        self._db.execute(f"pragma busy_timeout = {int(wait * 1_000)}")
        try:
            self._db.execute("begin immediate")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            said = f"The call store {self._path} is busy: others write there for {wait:g} s."
            raise Busy(said, "end whoever holds it, or do it again") from error

    def close(self) -> None:
        """Let go of the file."""
        with closing(self._db):
            pass


def _dropped(db: sqlite3.Connection, namespace: str, below: int) -> int:
    """Remove a namespace's oldest calls below a number, `DROPPED` at most; give how many."""
    asked = "select number from calls where namespace = ? and number < ? order by number limit ?"
    numbers = db.execute(asked, (namespace, below, DROPPED)).fetchall()
    for command in (
        "delete from texts where rowid = ?",
        "delete from words where rowid = ?",
        "delete from calls where number = ?",
    ):
        db.executemany(command, numbers)
    return len(numbers)


def _insert(db: sqlite3.Connection, found: Found, payload: Payload | None) -> int:
    number = _row(db, found)
    if number is None:
        return 0
    if text := folded(searched(found, payload)):
        db.execute("insert into texts (rowid, text) values (?, ?)", (number, text))
        if words := pairs(text):
            db.execute("insert into words (rowid, text) values (?, ?)", (number, words))
    return 1


def _row(db: sqlite3.Connection, found: Found) -> int | None:
    """Insert a call under the first number that is free; None where it is there already."""
    line = found.line
    origin = (found.gateway, line.sequence)
    values = (
        *(*origin, found.segment, found.offset, found.canonical),
        *(getattr(line, name) for name in COLUMNS),
    )
    number = number_of(line.at_us)
    while not db.execute(_INSERT, (number, *values)).rowcount:
        # A gateway whose folder was deleted counts from 1 again, at other moments.
        known = "select 1 from calls where gateway = ? and sequence = ? and at_us = ?"
        if db.execute(known, (*origin, line.at_us)).fetchone():
            return None
        number += 1
    return number
