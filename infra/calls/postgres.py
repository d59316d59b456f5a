"""The call store that hosts share: PostgreSQL, with trigrams of what was asked and answered.

It holds what the one on a host holds, and promises the same: a batch of calls and the places up to
which they were read are one transaction, writers queue, and what is erased leaves the tables and
their indexes, though not the database's own log and backups, which are its keeper's matter.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo
from sqlalchemy import exc

from infra.calls import days, postgres_search
from infra.calls.folding import Folded, searched
from infra.calls.numbering import Numbering
from infra.calls.numbers import number_of
from infra.calls.query import COLUMNS, Hit, Query
from infra.calls.segments import Place
from infra.calls.terms import column, folded, pairs
from release.errors import Invalid, Unavailable

LOCK_SECONDS = 20
DROP_SECONDS = 2
"""A day goes only where nobody reads just then; all who come behind would wait as well."""

# A host that is gone without a word must not hold the others up: neither side waits for long.
_OPTIONS = " ".join(
    f"-c {one}"
    for one in (
        f"lock_timeout={LOCK_SECONDS}s",
        "idle_in_transaction_session_timeout=60s",
        "tcp_keepalives_idle=10",
        "tcp_keepalives_interval=5",
        "tcp_keepalives_count=3",
        f"tcp_user_timeout={LOCK_SECONDS}s",
    )
)

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
        self._to, self._where = _parsed(url)
        self._known: psycopg.Connection | None = None
        try:
            with self._talking():
                pass
        except BaseException:
            self.close()
            raise

    def places(self) -> dict[str, Place]:
        """How far each of this home's gateways' segments have been folded."""
        with self._talking() as db:
            return self._places(db)

    def fold(
        self, read: Callable[[Mapping[str, Place]], tuple[Sequence[Folded], Sequence[Place]]]
    ) -> int:
        """Take what a reader finds from where the last one stopped; see `CallStore.fold`.

        Raises:
            Unavailable: they cannot be written.
        """
        with self._writing() as db:
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
            Unavailable: it could not be finished, and is with the next call of this.
        """
        forgotten = 0
        wanted = [(gateway, list(sequences)) for gateway, sequences in calls.items()]
        # A day at a time, so that no transaction locks them all.
        for day in self._days():
            with self._writing() as db:
                if not days.is_there(db, day):
                    continue
                count = sum(self._forgotten(db, day, *one) for one in wanted)
                if count:
                    db.execute("insert into unswept (day) values (%s)", [day])
            forgotten += count
        self.settle()
        return forgotten

    def settle(self) -> None:
        """Write anew what days have that something was forgotten of; readers hardly wait for it.

        Raises:
            Unavailable: it could not be finished, and is with the next call of this.
        """
        with self._talking() as db:
            rows = db.execute("select id, day from unswept").fetchall()
        for day in dict.fromkeys(str(one) for _, one in rows):
            with self._writing() as db:
                if days.is_there(db, day):
                    days.write_anew(db, day)
                # Only what was there before it was begun: another may ask for it once more.
                ids = [id_ for id_, one in rows if one == day]
                db.execute("delete from unswept where id = any(%s)", [ids])

    def drop(self, namespace: str, before_us: int) -> int:
        """Remove a namespace's calls of before a moment; give how many.

        Raises:
            Unavailable: it could not be finished; what is gone is gone.
        """
        below = number_of(before_us)
        gone = 0
        for day in self._days(below):
            with self._writing() as db:
                if days.is_there(db, day):
                    gone += _dropped(db, day, namespace, below)
        return gone

    def namespaces(self) -> list[str]:
        """Name the namespaces that there are calls of, whether anybody made them or not."""
        with self._talking() as db:
            return sorted({name for day in self._days() for name in days.namespaces(db, day)})

    def page(self, query: Query) -> list[Hit]:
        """Give the newest calls that match, one page.

        Raises:
            Unavailable: the store does not answer.
        """
        with self._talking() as db:
            return postgres_search.page(db, query)

    def close(self) -> None:
        """Let go of the database."""
        if self._known is not None:
            self._known.close()

    def _places(self, db: psycopg.Connection) -> dict[str, Place]:
        asked = 'select gateway, segment, "offset" from places where home = %s'
        rows = db.execute(asked, [self._home]).fetchall()
        return {one: Place(gateway=one, segment=segment, offset=at) for one, segment, at in rows}

    def _days(self, below: int | None = None) -> list[str]:
        with self._talking() as db:
            return days.days(db, below, None)

    def _row(self, number: int, one: Folded) -> tuple[object, ...]:
        found, payload = one
        line = found.line
        text = folded(searched(line, payload))
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

    @contextmanager
    def _writing(self) -> Iterator[psycopg.Connection]:
        """Give the one write transaction."""
        with self._talking() as db, db.transaction():
            db.execute("select pg_advisory_xact_lock(%s)", [days.LOCK])
            yield db

    @contextmanager
    def _talking(self) -> Iterator[psycopg.Connection]:
        """Give the connection, and say in our own words what goes wrong on it."""
        at = f"The call store at {self._where}"
        try:
            yield self._connection()
        except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
            said = f"{at} is busy: {_primary(error)}."
            raise Unavailable(
                said, "somebody reads or writes there for long; do it again"
            ) from error
        except errors.InsufficientPrivilege as error:
            said = f"{at} does not let us: {_primary(error)}."
            raise Unavailable(said, f"its user owns the schema {days.SCHEMA}") from error
        except (psycopg.Error, UnicodeError) as error:
            said = f"{at} does not answer: {_primary(error)}."
            raise Unavailable(said, "see SLIPWAY_CALLS_URL") from error

    def _connection(self) -> psycopg.Connection:
        if self._known is None or self._known.closed:
            made = psycopg.connect(
                self._to,
                autocommit=True,
                connect_timeout=10,
                # A database that is gone without a word is noticed, and not waited for.
                keepalives_idle=10,
                tcp_user_timeout=LOCK_SECONDS * 1_000,
                client_encoding="utf8",
                # A plan has to know what is looked for: some texts are in every call.
                prepare_threshold=None,
                options=_OPTIONS,
            )
            try:
                days.make(made)
            except BaseException:
                # Known, it would be taken for one that finds its tables.
                made.close()
                raise
            self._known = made
        return self._known


def _parsed(url: str) -> tuple[str, str]:
    """Give a URL as the driver takes it, and as people may read it."""
    hint = "give postgresql://USER@HOST/NAME in SLIPWAY_CALLS_URL, or nothing"
    try:
        parsed = sa.make_url(url)
        named = parsed.translate_connect_args(database="dbname", username="user")
        to = make_conninfo(**{**named, **{name: str(one) for name, one in parsed.query.items()}})
    except (exc.ArgumentError, ValueError, psycopg.Error) as error:
        raise Invalid("The call store's URL cannot be read.", hint) from error
    if parsed.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise Invalid(f"A call store cannot lie on {parsed.drivername!r}.", hint)
    # A password may stand in the query as well.
    plain = parsed.set(drivername="postgresql", query={})
    return to, plain.render_as_string(hide_password=True)


def _primary(error: Exception) -> str:
    """Give what is wrong without the row that it is wrong with."""
    told = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return (told or str(error)).strip().removesuffix(".")


def _dropped(db: psycopg.Connection, day: str, namespace: str, below: int) -> int:
    """Remove calls of one day; the table where there are no others; give how many went."""
    table, whose = sql.Identifier(day), column(namespace)
    if days.end_of(day) <= below:
        others = sql.SQL("select 1 from {} where namespace <> %s limit 1").format(table)
        if db.execute(others, [whose]).fetchone() is None:
            row = db.execute(sql.SQL("select count(*) from {}").format(table)).fetchone()
            db.execute(sql.SQL("set local lock_timeout = {}").format(f"{DROP_SECONDS}s"))
            db.execute(sql.SQL("drop table {}").format(table))
            return int(row[0]) if row else 0
    command = sql.SQL("delete from {} where namespace = %s and number < %s").format(table)
    return db.execute(command, (whose, below)).rowcount
