"""Tables of the call store in PostgreSQL: one for each day, made when its first call comes.

A day's calls go as a table, and each day has indexes of a size of its own. They are partitions of
one table, for people who look there; we ask days by their names, since whoever asks the table of
all days locks each of them. There is no default partition either, and no day is attached in a way
that readers have to wait for.

All of it lies in a schema of its own, so that the ledger may lie in the same database.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import errors, sql

from infra.calls.numbers import DAY_US, MOST_NUMBER, number_of
from infra.calls.query import COLUMNS, NUMBERS, USUAL
from release.errors import Invalid, Unavailable

SCHEMA = "slipway_calls"
VERSION = 1
LOCK = 0x511B_CA11
"""Key of the advisory lock that makes writers queue."""

EXCHANGE_SECONDS = 2.0
"""A table goes only where nobody reads just then; all who come behind would wait as well."""

_DAYS = 47_482
"""Days from 1970 to 2099; calls that claim to be later lie in one table."""

_LATER = "later"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {name: "bigint" if name in NUMBERS else "text" for name in COLUMNS}
_DECLARED = ", ".join(f'"{name}" {kind} not null' for name, kind in _KINDS.items())
_UNUSUAL = "; ".join(
    f'create index on {SCHEMA}.calls ("{name}", number) where "{name}" <> {usual!r}'
    for name, usual in USUAL.items()
)

_TABLES = f"""
create table {SCHEMA}.calls (
    number bigint not null, home text not null, gateway text not null, sequence bigint not null,
    segment bigint not null, "offset" bigint not null, line bytea not null,
    {_DECLARED}, text text, words text[]
) partition by range (number);
alter table {SCHEMA}.calls add primary key (number);
create index on {SCHEMA}.calls (gateway, sequence);
create index on {SCHEMA}.calls (id, number);
create index on {SCHEMA}.calls (namespace, number);
create index on {SCHEMA}.calls (endpoint, version, number);
{_UNUSUAL};
create index on {SCHEMA}.calls using gin (text gin_trgm_ops);
create index on {SCHEMA}.calls using gin (words);
alter table {SCHEMA}.calls alter column text set statistics 0, alter column words set statistics 0;
create table {SCHEMA}.places (
    home text not null, gateway text not null, segment bigint not null, "offset" bigint not null,
    primary key (home, gateway)
);
create table {SCHEMA}.unswept (id bigint generated always as identity, day text not null);
create table {SCHEMA}.version as select {VERSION} as version;
"""

_MAKE = "create table {day} (like calls including defaults)"
_BOUND = "alter table {day} add check (number >= {low} and number < {high})"
_GRANTED = (
    (
        f"schema {SCHEMA}",
        "select 1 from pg_namespace where nspname = %s",
        SCHEMA,
        f"create schema {SCHEMA}",
        f'create schema {SCHEMA} authorization "{{user}}"',
    ),
    (
        "extension pg_trgm",
        "select 1 from pg_extension where extname = %s",
        "pg_trgm",
        f"create extension pg_trgm schema {SCHEMA}",
        "create extension pg_trgm",
    ),
)
"""What takes a right on the database: how it is found, how we make it, and how its owner does."""

_ATTACH = "alter table calls attach partition {day} for values from ({low}) to ({high})"
# What the planner learns of texts it would keep, and show, after they are erased.
_UNLEARNT = (
    "alter table {day} alter column text set statistics 0, alter column words set statistics 0"
)


_NAMESPACES = """
with recursive names (name) as (
    (select namespace from {day} order by namespace limit 1)
    union all
    select (select namespace from {day} where namespace > name order by namespace limit 1)
    from names where name is not null
)
select name from names where name is not null
"""
"""Leaps from name to name in the index, and does not look at each call."""


def make(db: psycopg.Connection) -> None:
    """Make the tables where there are none, and find those that are there.

    Raises:
        Unavailable: they are of another version, or its user may not make them.
        Invalid: the database cannot hold every text.
        psycopg.Error: they cannot be made.
    """
    if db.info.parameter_status("server_encoding") != "UTF8":
        said = f"The database {db.info.dbname!r} cannot hold every text: its encoding is not UTF8."
        raise Invalid(said, "createdb --encoding UTF8 --template template0")
    if (version := _version(db)) is None:
        with db.transaction():
            db.execute("select pg_advisory_xact_lock(%s)", [LOCK])
            # Asked once more: another host may have made them meanwhile.
            if (version := _version(db)) is None:
                for what in _GRANTED:
                    _make_granted(db, *what)
                _look_into(db)
                db.execute(_TABLES.encode())
                _add(db, _LATER, number_of(_DAYS * DAY_US), MOST_NUMBER - 1)
                version = VERSION
    if version != VERSION:
        said = f"The call store is of version {version}, not {VERSION}."
        hint = f"drop its schema {SCHEMA}; it is made anew from the segments"
        raise Unavailable(said, hint)
    _look_into(db)


def day_of(number: int) -> str:
    """Name the day that a call with this number lies in; `later` is of all that have none."""
    day = number // number_of(DAY_US)
    return f"day_{_EPOCH + timedelta(day):%Y%m%d}" if day < _DAYS else _LATER


def add(db: psycopg.Connection, numbers: Iterable[int]) -> None:
    """Make the days of some calls, where they are missing."""
    length = number_of(DAY_US)
    for low in sorted({number // length * length for number in numbers}):
        name = day_of(low)
        if name != _LATER and not is_there(db, name):
            _add(db, name, low, low + length)


def days(db: psycopg.Connection, below: int | None, since_us: int | None) -> list[str]:
    """Name the days that may have calls of a range, the newest first.

    Args:
        db: the database.
        below: number that all of the calls are below; None where that does not matter.
        since_us: moment that none of them came before; None where that does not matter.
    """
    rows = db.execute(
        "select relname from pg_class join pg_inherits on inhrelid = pg_class.oid"
        " where inhparent = 'calls'::regclass"
    ).fetchall()
    last = _LATER if below is None else day_of(max(below - 1, 0))
    first = day_of(number_of(since_us or 0))
    # In the order of the alphabet days are in their own, and `later` comes behind them.
    return sorted((str(one) for (one,) in rows if first <= str(one) <= last), reverse=True)


def end_of(day: str) -> int:
    """Give the number that all calls of a day are below."""
    if day == _LATER:
        return MOST_NUMBER - 1
    began = datetime.strptime(day, "day_%Y%m%d").replace(tzinfo=UTC)
    return number_of(((began - _EPOCH).days + 1) * DAY_US)


def namespaces(db: psycopg.Connection, day: str) -> list[str]:
    """Name the namespaces that a day has calls of."""
    try:
        rows = db.execute(sql.SQL(_NAMESPACES).format(day=sql.Identifier(day))).fetchall()
    except errors.UndefinedTable:
        return []  # it was too old, and went meanwhile
    return [str(name) for (name,) in rows]


def is_there(db: psycopg.Connection, day: str) -> bool:
    """Whether a day has a table."""
    return _exists(db, day)


def write_anew(db: psycopg.Connection, day: str) -> None:
    """Write what a day has into a table of its own, and put it in the other's place.

    What an update leaves of a row stays in its page, and `vacuum full` keeps it as long as anybody
    has a transaction of before. Readers wait only while the one is exchanged for the other.

    Raises:
        psycopg.errors.LockNotAvailable: somebody reads it for longer; nothing was changed.
        psycopg.Error: it could not be finished, and changed nothing.
    """
    high = end_of(day)
    low = number_of(_DAYS * DAY_US) if day == _LATER else high - number_of(DAY_US)
    with db.transaction():
        hurry(db)
        # A long copy would be for nothing where it cannot be exchanged now.
        with db.transaction(force_rollback=True):
            _run(
                db,
                "lock table only {calls}, {day} in access exclusive mode",
                calls="calls",
                day=day,
            )
        _run(db, "lock table {day} in share row exclusive mode", day=day)
        _run(db, "create table {fresh} (like {day} including all)", fresh=f"{day}_anew", day=day)
        _run(db, "insert into {fresh} select * from {day}", fresh=f"{day}_anew", day=day)
        _run(db, "alter table calls detach partition {day}", day=day)
        _run(db, "drop table {day}", day=day)
        _run(
            db, "alter table {fresh} rename to {day}", fresh=f"{day}_anew", day=sql.Identifier(day)
        )
        _run(db, _UNLEARNT, day=day)
        _run(db, _ATTACH, day=day, low=low, high=high)


def hurry(db: psycopg.Connection) -> None:
    """Wait for no table longer than for one that goes, until the transaction ends."""
    db.execute(f"set local lock_timeout = '{EXCHANGE_SECONDS * 1_000:.0f}ms'".encode())


def _make_granted(
    db: psycopg.Connection, what: str, found: str, name: str, ours: str, owners: str
) -> None:
    """Make what takes a right on the database, where nobody made it before.

    Raises:
        Unavailable: naming what it is and the right.
    """
    if db.execute(found.encode(), [name]).fetchone():
        return
    try:
        db.execute(ours.encode())
    except errors.InsufficientPrivilege as error:
        where, user = db.info.dbname, db.info.user
        said = f"The database {where!r} has no {what}, and {user!r} lacks the right CREATE there."
        by_hand = owners.format(user=user)
        hint = f"its owner does it: {by_hand}; or: grant create on database {where} to {user}"
        raise Unavailable(said, hint) from error


def _add(db: psycopg.Connection, day: str, low: int, high: int) -> None:
    with db.transaction():
        _run(db, _MAKE, day=day)
        _run(db, _BOUND, day=day, low=low, high=high)
        _run(db, _UNLEARNT, day=day)
        _run(db, _ATTACH, day=day, low=low, high=high)


def _run(db: psycopg.Connection, command: str, **names: str | int | sql.Composable) -> None:
    """Run a command in which `{…}` stand for tables, numbers, or what is given as SQL."""
    given: dict[str, sql.Composable] = {}
    for name, value in names.items():
        match value:
            case str():
                given[name] = sql.Identifier(SCHEMA, value)
            case int():
                given[name] = sql.Literal(value)
            case _:
                given[name] = value
    db.execute(sql.SQL(command).format(**given))


def _version(db: psycopg.Connection) -> int | None:
    if not _exists(db, "version"):
        return None
    command = sql.SQL("select version from {}").format(sql.Identifier(SCHEMA, "version"))
    row = db.execute(command).fetchone()
    return int(row[0]) if row else None


def _exists(db: psycopg.Connection, name: str) -> bool:
    row = db.execute("select to_regclass(%s)", [f"{SCHEMA}.{name}"]).fetchone()
    return row is not None and row[0] is not None


def _look_into(db: psycopg.Connection) -> None:
    """Find tables, and operators of trigrams, wherever somebody put the extension."""
    row = db.execute(
        "select nspname from pg_extension join pg_namespace on extnamespace = pg_namespace.oid"
        " where extname = 'pg_trgm'"
    ).fetchone()
    paths = dict.fromkeys((SCHEMA, str(row[0]) if row else SCHEMA))
    path = sql.SQL(", ").join(sql.Identifier(one) for one in paths)
    db.execute(sql.SQL("set search_path to {}").format(path))
