"""The call store that hosts share: PostgreSQL, with trigrams of what was asked and answered.

It holds what the one on a host holds, and promises the same: a batch of calls and the places up to
which they were read are one transaction, writers queue, and what is erased leaves the tables and
their indexes, though not the database's own log and backups, which are its keeper's matter.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy import exc

from infra.calls import partitions, postgres_search
from infra.calls.folding import Folded, searched
from infra.calls.numbers import LATEST_US, TIES, number_of
from infra.calls.postgres_search import column, held
from infra.calls.query import COLUMNS, Hit, Query
from infra.calls.segments import Place
from infra.calls.terms import folded, pairs
from release.errors import Invalid, Unavailable

LOCK_SECONDS = 20
_OPTIONS = f"-c search_path={partitions.SCHEMA},public -c lock_timeout={LOCK_SECONDS}s"

Origin = tuple[str, int]
"""Gateway and sequence: which call it is."""

_NAMES = ("number", "gateway", "sequence", "segment", "offset", "line", *COLUMNS, "text", "words")
_QUOTED = ", ".join(f'"{name}"' for name in _NAMES)
_COPY = f"copy calls ({_QUOTED}) from stdin"


class PostgresCalls:
    """Calls that were folded out of segments, of whichever hosts.

    Args:
        url: such as `postgresql://user@host/name`; its user may make a schema there.

    Raises:
        Invalid: the URL names no PostgreSQL.
        Unavailable: it does not answer, or its tables are of another version.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._at, self._where = _parsed(url)
        self._known: psycopg.Connection | None = None
        try:
            with self._asked() as db:
                partitions.make(db)
        except BaseException:
            self.close()
            raise

    def places(self) -> dict[str, Place]:
        """How far each gateway's segments have been folded."""
        with self._asked() as db:
            return _places(db)

    def fold(
        self, read: Callable[[Mapping[str, Place]], tuple[Sequence[Folded], Sequence[Place]]]
    ) -> int:
        """Take what a reader finds from where the last one stopped; see `CallStore.fold`.

        Raises:
            Unavailable: they cannot be written.
        """
        with self._writing() as db:
            calls, places = read(_places(db))
            new = _numbered(db, calls)
            partitions.add(db, (one[0].line.at_us for one in calls))
            with db.cursor().copy(_COPY.encode()) as copy:
                for number, one in new:
                    copy.write_row(_row(number, one))
            for place in places:
                db.execute(
                    'insert into places (gateway, segment, "offset") values (%s, %s, %s)'
                    " on conflict (gateway) do update"
                    ' set segment = excluded.segment, "offset" = excluded."offset"',
                    (place.gateway, place.segment, place.offset),
                )
        return len(new)

    def forget(self, calls: Mapping[str, Iterable[int]]) -> int:
        """Forget the payloads of calls, and leave nothing of them in tables and indexes.

        Args:
            calls: gateway to sequences.

        Returns:
            How many there were.

        Raises:
            Unavailable: it could not be finished, and is with the next call of this.
        """
        forgotten = 0
        with self._writing() as db:
            for gateway, sequences in calls.items():
                rows = db.execute(
                    "update calls set text = null, words = null where gateway = %s"
                    " and sequence = any(%s) and text is not null returning tableoid::regclass",
                    (gateway, list(sequences)),
                ).fetchall()
                forgotten += len(rows)
                for part in {str(name) for (name,) in rows}:
                    db.execute("insert into unswept values (%s) on conflict do nothing", [part])
        with self._asked() as db:
            for (part,) in db.execute("select part from unswept").fetchall():
                # What an update leaves of a row stays in its page, until the table is written anew.
                if partitions.is_there(db, part):
                    db.execute(sql.SQL("vacuum (full, analyze) {}").format(sql.Identifier(part)))
                db.execute("delete from unswept where part = %s", [part])
        return forgotten

    def drop(self, namespace: str, before_us: int) -> int:
        """Remove a namespace's calls of before a moment; give how many."""
        gone = 0
        with self._writing() as db:
            for part in partitions.before(db, before_us):
                gone += _dropped(db, part, namespace)
            gone += db.execute(
                "delete from calls where namespace = %s and number < %s",
                (namespace, number_of(before_us)),
            ).rowcount
        return gone

    def page(self, query: Query) -> list[Hit]:
        """Give the newest calls that match, one page.

        Raises:
            Unavailable: the store does not answer.
        """
        with self._asked() as db:
            return postgres_search.page(db, query)

    def close(self) -> None:
        """Let go of the database."""
        if self._known is not None:
            self._known.close()

    @contextmanager
    def _writing(self) -> Iterator[psycopg.Connection]:
        """Give the one write transaction."""
        with self._asked() as db, db.transaction():
            db.execute("select pg_advisory_xact_lock(%s)", [partitions.LOCK])
            yield db

    @contextmanager
    def _asked(self) -> Iterator[psycopg.Connection]:
        try:
            yield self._connection()
        except psycopg.Error as error:
            said = f"The call store at {self._where} does not answer: {str(error).strip()}."
            raise Unavailable(said, "see SLIPWAY_CALLS_URL") from error

    def _connection(self) -> psycopg.Connection:
        if self._known is None or self._known.closed:
            self._known = psycopg.connect(
                self._at,
                autocommit=True,
                connect_timeout=10,
                # A database that is gone without a word is noticed, and not waited for.
                keepalives_idle=10,
                tcp_user_timeout=LOCK_SECONDS * 1_000,
                # A plan has to know what is looked for: some texts are in every call.
                prepare_threshold=None,
                options=_OPTIONS,
            )
        return self._known


def _parsed(url: str) -> tuple[str, str]:
    """Give a URL as the driver takes it, and as people may read it."""
    hint = "give postgresql://USER@HOST/NAME in SLIPWAY_CALLS_URL, or nothing"
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError) as error:
        raise Invalid("The call store's URL cannot be read.", hint) from error
    if parsed.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise Invalid(f"A call store cannot lie on {parsed.drivername!r}.", hint)
    plain = parsed.set(drivername="postgresql")
    return plain.render_as_string(hide_password=False), plain.render_as_string(hide_password=True)


def _places(db: psycopg.Connection) -> dict[str, Place]:
    rows = db.execute('select gateway, segment, "offset" from places').fetchall()
    return {one: Place(gateway=one, segment=segment, offset=at) for one, segment, at in rows}


def _numbered(db: psycopg.Connection, calls: Sequence[Folded]) -> list[tuple[int, Folded]]:
    """Give each call that is not there yet the first number that is free."""
    moments = sorted({found.line.at_us for found, _ in calls})
    rows = db.execute(
        "select number, calls.gateway, calls.sequence"
        " from unnest(%s::bigint[], %s::bigint[]) as moment (first, after)"
        " join calls on number >= first and number < after",
        ([number_of(one) for one in moments], [_after(one) for one in moments]),
    ).fetchall()
    taken: dict[int, Origin] = {number: (gateway, sequence) for number, gateway, sequence in rows}
    there = set(taken.values())
    new = []
    for one in calls:
        found = one[0]
        if (origin := (found.gateway, found.line.sequence)) in there:
            continue
        number = number_of(found.line.at_us)
        while number in taken:
            number += 1
        taken[number] = origin
        there.add(origin)
        new.append((number, one))
    return new


def _after(at_us: int) -> int:
    """Give a number that no call of this moment has."""
    first = number_of(at_us)
    # Whatever claims an impossible moment lies at one of the ends, any number of it.
    possible = 0 < at_us < LATEST_US
    return first + (1 << TIES if possible else (1 << 40) - 1)


def _row(number: int, folded_call: Folded) -> tuple[object, ...]:
    found, payload = folded_call
    line = found.line
    text = held(folded(searched(line, payload)))
    values = (column(getattr(line, name)) for name in COLUMNS)
    origin = (found.gateway, line.sequence, found.segment, found.offset)
    return (number, *origin, found.canonical, *values, text or None, pairs(text).split() or None)


def _dropped(db: psycopg.Connection, part: str, namespace: str) -> int:
    """Drop a day that has calls of one namespace alone, or of none; give how many went."""
    table = sql.Identifier(part)
    others = sql.SQL("select 1 from {} where namespace <> %s limit 1").format(table)
    if db.execute(others, [namespace]).fetchone() is not None:
        return 0
    row = db.execute(sql.SQL("select count(*) from {}").format(table)).fetchone()
    db.execute(sql.SQL("drop table {}").format(table))
    return int(row[0]) if row else 0
