"""The call store that hosts share: PostgreSQL, with trigrams of what was asked and answered.

It holds what the one on a host holds, and promises the same: a batch of calls and the places up to
which they were read are one transaction, writers queue, and what is erased leaves the tables and
their indexes, though not the database's own log and backups, which are its keeper's matter.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import psycopg
from psycopg import errors, sql

from infra.calls import days, neighbours, postgres_search
from infra.calls.folding import Folded, searched
from infra.calls.link import Link
from infra.calls.neighbours import Last
from infra.calls.numbering import Numbering
from infra.calls.numbers import number_of
from infra.calls.query import COLUMNS, Hit, Query
from infra.calls.segments import Place
from infra.calls.terms import column, folded, pairs
from infra.calls.waiting import FOLLOWS, LOCK_SECONDS, STAYS, Busy, Unswept

FOLD_SECONDS = 120.0
"""How long one statement may take while calls are taken in."""

DAY_SECONDS = 600.0
"""How long it may take to go through a day's calls."""

LOOKED_AT = 8
"""Days among which the last call of another home is looked for."""

_FIELDS = ("number", "home", "gateway", "sequence", "segment", "offset", "line", *COLUMNS)
_NAMES = ", ".join(f'"{name}"' for name in (*_FIELDS, "text", "words"))

_PLACE = (
    'insert into places (home, gateway, segment, "offset") values (%s, %s, %s, %s)'
    " on conflict (home, gateway) do update"
    ' set segment = excluded.segment, "offset" = excluded."offset"'
)


class PostgresCalls:
    """Calls that were folded out of segments, of whichever hosts.

    Args:
        url: such as `postgresql://user@host/name`; its user may make a schema there.
        home: tells this home's gateways from those of others that are called like them.

    Raises:
        Invalid: the URL names no PostgreSQL, or one that cannot hold every text.
        Unavailable: it does not answer, or its tables are of another version.
    """

    def __init__(self, url: str, home: str) -> None:
        self.url = url
        self._home = home
        self._link = Link(url)
        try:
            with self._link.talking():
                pass
        except BaseException:
            self.close()
            raise

    def places(self) -> dict[str, Place]:
        """How far each of this home's gateways' segments have been folded."""
        with self._link.talking() as db:
            return self._places(db)

    def fold(
        self,
        read: Callable[[Mapping[str, Place]], tuple[Sequence[Folded], Sequence[Place]]],
        wait: float = LOCK_SECONDS,
    ) -> int:
        """Take what a reader finds from where the last one stopped; see `CallStore.fold`.

        Raises:
            Busy: others write for longer than is waited.
            Unavailable: they cannot be written.
        """
        with self._link.writing(FOLD_SECONDS, wait) as db:
            calls, places = read(self._places(db))
            new = Numbering(db, self._home).numbered(calls)
            days.add(db, (number for number, _ in new))
            by_day: dict[str, list[tuple[object, ...]]] = {}
            for number, one in new:
                by_day.setdefault(days.day_of(number), []).append(self._row(number, one))
            for day, rows in by_day.items():
                command = sql.SQL(f"copy {{}} ({_NAMES}) from stdin").format(sql.Identifier(day))
                with db.cursor().copy(command) as copy:
                    for row in rows:
                        copy.write_row(row)
            for place in places:
                db.execute(_PLACE, (self._home, place.gateway, place.segment, place.offset))
        return len(new)

    def forget(self, calls: Mapping[str, Iterable[tuple[int, int]]]) -> int:
        """Forget the payloads of calls of this home, and leave nothing of them in the tables.

        Args:
            calls: gateway to sequences, each with the moment of its arrival (`at_us`): a gateway
                that began anew has counted from 1 again.

        Returns:
            How many there were.

        Raises:
            Unswept: they are found no more, but lie in the files still.
            Unavailable: it could not be finished, and is with the next call of this.
        """
        wanted = [(gateway, list(sequences)) for gateway, sequences in calls.items()]
        forgotten = sum(
            self._forgetting(
                day, lambda db, day: sum(self._forgotten(db, day, *one) for one in wanted)
            )
            for day in self._days()
        )
        self.settle()
        return forgotten

    def forget_elsewhere(self, query: Query) -> Mapping[str, int]:
        """Forget the texts of other homes' calls that match; `settle` takes them off the disk.

        Args:
            query: without a text.

        Returns:
            How many calls there are that match, whether they had texts or not, by gateway.

        Raises:
            Unavailable: it could not be finished; what is forgotten is.
        """
        there = dict[str, int]()
        for day in self._days(postgres_search.below_of(query), query.since_us):
            self._forgetting(day, lambda db, day: neighbours.forget(db, day, self._home, query))
            with self._link.talking() as db:
                for gateway, many in neighbours.calls(db, day, self._home, query).items():
                    there[gateway] = there.get(gateway, 0) + many
        return there

    def elsewhere(self) -> Sequence[Last]:
        """Give of each other home the gateway and the moment of the last call that it folded.

        Returns:
            Microseconds since the epoch; None where its last call is not of the last days.

        Raises:
            Unavailable: the store does not answer.
        """
        with self._link.talking() as db:
            return neighbours.last(db, self._days()[:LOOKED_AT], self._home)

    def _forgetting(self, day: str, forget: Callable[[psycopg.Connection, str], int]) -> int:
        """Forget what a day has; a day at a time, so that no transaction locks them all."""
        with self._link.writing(DAY_SECONDS) as db:
            if not days.is_there(db, day):
                return 0
            if count := forget(db, day):
                db.execute("insert into unswept (day) values (%s)", [day])
            return count

    def settle(self) -> None:
        """Write anew what days have that something was forgotten of; readers hardly wait for it.

        Raises:
            Unswept: somebody reads what was there before, or writes, for long.
            Unavailable: it could not be finished, and is with the next call of this.
        """
        left = list[str]()
        try:
            for day, ids in self._unswept().items():
                with self._link.writing(DAY_SECONDS) as db:
                    if not _written_anew(db, day):
                        left.append(day)
                    else:
                        # Only what was there before: another may ask for it once more.
                        db.execute("delete from unswept where id = any(%s)", [ids])
        except Busy as error:
            raise Unswept(STAYS, FOLLOWS) from error
        if left:
            raise Unswept(STAYS, FOLLOWS)

    def owed(self) -> bool:
        """Whether something that was forgotten has not left the files yet."""
        return bool(self._unswept())

    def _unswept(self) -> dict[str, list[int]]:
        days_ = dict[str, list[int]]()
        with self._link.talking() as db:
            for id_, day in db.execute("select id, day from unswept order by id").fetchall():
                days_.setdefault(str(day), []).append(int(id_))
        return days_

    def drop(self, namespace: str, before_us: int, own_us: int = 0) -> int:
        """Remove a namespace's calls of before a moment; give how many.

        Args:
            namespace: whose.
            before_us: microseconds since the epoch; of calls of every home.
            own_us: the same, of this home's alone: what another has room for it does not know.

        Raises:
            Unavailable: it could not be finished; what is gone is gone.
        """
        below, own = number_of(before_us), number_of(own_us)
        old = sql.SQL("namespace = {} and (number < {} or (home = {} and number < {}))").format(
            *map(sql.Literal, (column(namespace), below, self._home, own))
        )
        gone = 0
        for day in self._days(max(below, own)):
            with self._link.writing(DAY_SECONDS) as db:
                if days.is_there(db, day):
                    gone += _dropped(db, day, old, whole=days.end_of(day) <= max(below, own))
        return gone

    def namespaces(self) -> list[str]:
        """Name the namespaces that there are calls of, whether anybody made them or not."""
        with self._link.talking() as db:
            return sorted({name for day in self._days() for name in days.namespaces(db, day)})

    def page(self, query: Query) -> list[Hit]:
        """Give the newest calls that match, one page.

        Raises:
            Unavailable: the store does not answer.
        """
        with self._link.talking() as db:
            return postgres_search.page(db, query)

    def close(self) -> None:
        """Let go of the database."""
        self._link.close()

    def _places(self, db: psycopg.Connection) -> dict[str, Place]:
        asked = 'select gateway, segment, "offset" from places where home = %s'
        rows = db.execute(asked, [self._home]).fetchall()
        return {one: Place(gateway=one, segment=segment, offset=at) for one, segment, at in rows}

    def _days(self, below: int | None = None, since_us: int | None = None) -> list[str]:
        with self._link.talking() as db:
            return days.days(db, below, since_us)

    def _row(self, number: int, one: Folded) -> tuple[object, ...]:
        found, payload = one
        line = found.line
        text = folded(searched(found, payload))
        origin = (self._home, found.gateway, line.sequence, found.segment, found.offset)
        values = (column(getattr(line, name)) for name in COLUMNS)
        words = pairs(text).split()
        return (number, *origin, found.canonical, *values, text or None, words or None)

    def _forgotten(
        self, db: psycopg.Connection, day: str, gateway: str, calls: list[tuple[int, int]]
    ) -> int:
        command = sql.SQL(
            "update {} set text = null, words = null where home = %s and gateway = %s"
            " and sequence = any(%s) and text is not null"
            " and (sequence, at_us) in (select * from unnest(%s::bigint[], %s::bigint[]))"
        ).format(sql.Identifier(day))
        sequences, moments = [one for one, _ in calls], [at for _, at in calls]
        given = (self._home, gateway, sequences, sequences, moments)
        return db.execute(command, given).rowcount


def _written_anew(db: psycopg.Connection, day: str) -> bool:
    """Write a day anew, where it is still there; give whether it is done."""
    try:
        if days.is_there(db, day):
            days.write_anew(db, day)
    except errors.LockNotAvailable:
        return False
    return True


def _dropped(db: psycopg.Connection, day: str, old: sql.Composable, *, whole: bool) -> int:
    """Remove old calls of a day; the table where there may be no others; give how many went."""
    table = sql.Identifier(day)
    if whole:
        others = sql.SQL("select 1 from {} where not ({}) limit 1").format(table, old)
        if db.execute(others).fetchone() is None:
            row = db.execute(sql.SQL("select count(*) from {}").format(table)).fetchone()
            db.execute(
                sql.SQL("set local lock_timeout = {}").format(
                    f"{days.EXCHANGE_SECONDS * 1_000:.0f}ms"
                )
            )
            db.execute(sql.SQL("drop table {}").format(table))
            return int(row[0]) if row else 0
    return db.execute(sql.SQL("delete from {} where {}").format(table, old)).rowcount
