"""Tables of the call store in PostgreSQL: a partition for each day, made when its first call comes.

A day's calls go as a table, and each day has indexes of a size of its own. Everything lies in a
schema of its own, so that the ledger may lie in the same database.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from infra.calls.numbers import TIES, number_of
from infra.calls.query import COLUMNS
from release.errors import Unavailable

SCHEMA = "slipway_calls"
VERSION = 1
LOCK = 0x511B_CA11
"""Key of the advisory lock that makes writers queue."""

DAY_US = 86_400 * 1_000_000
_DAYS = 47_482
"""Days from 1970 to 2099; calls that claim to be later lie in one partition.

It is no default partition: only without one are days known to be in order, and are read no further
back than a page needs.
"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {name: "bigint" if name in ("at_us", "version", "status") else "text" for name in COLUMNS}

_DECLARED = ", ".join(f'"{name}" {kind} not null' for name, kind in _KINDS.items())

_TABLES = f"""
create schema {SCHEMA};
create table {SCHEMA}.calls (
    number bigint not null, gateway text not null, sequence bigint not null,
    segment bigint not null, "offset" bigint not null, line bytea not null,
    {_DECLARED},
    text text, words text[]
) partition by range (number);
alter table {SCHEMA}.calls add primary key (number);
create index on {SCHEMA}.calls (gateway, sequence);
create index on {SCHEMA}.calls (id, number);
create index on {SCHEMA}.calls (namespace, number);
create index on {SCHEMA}.calls ("user", number) where "user" <> '';
create index on {SCHEMA}.calls (caller, number) where caller <> '';
create index on {SCHEMA}.calls (endpoint, version, number);
create index on {SCHEMA}.calls (outcome, number) where outcome <> 'ok';
create index on {SCHEMA}.calls using gin (text gin_trgm_ops);
create index on {SCHEMA}.calls using gin (words);
create table {SCHEMA}.later partition of {SCHEMA}.calls
    for values from ({number_of(_DAYS * DAY_US)}) to (maxvalue);
create table {SCHEMA}.places (
    gateway text primary key, segment bigint not null, "offset" bigint not null
);
create table {SCHEMA}.unswept (part text primary key);
create table {SCHEMA}.version as select {VERSION} as version;
"""

_PARTITION = """
create table if not exists {part} partition of calls for values from ({first}) to ({after})
"""


def make(db: psycopg.Connection) -> None:
    """Make the tables where there are none.

    Raises:
        Unavailable: they are of another version.
        psycopg.Error: they cannot be made.
    """
    with db.transaction():
        db.execute("select pg_advisory_xact_lock(%s)", [LOCK])
        if is_there(db, f"{SCHEMA}.version"):
            row = db.execute(f"select version from {SCHEMA}.version").fetchone()  # noqa: S608
            version = row[0] if row else None
            if version != VERSION:
                said = f"The call store is of version {version}, not {VERSION}."
                hint = f"drop its schema {SCHEMA}; it is made anew from the segments"
                raise Unavailable(said, hint)
            return
        db.execute("create extension if not exists pg_trgm")
        db.execute(_TABLES.encode())


def part_of(at_us: int) -> str:
    """Name the partition of a moment; `later` is of all that no day is made for."""
    day = number_of(at_us) // number_of(DAY_US)
    return f"day_{_EPOCH + timedelta(day):%Y%m%d}" if day < _DAYS else "later"


def add(db: psycopg.Connection, moments: Iterable[int]) -> None:
    """Make the partitions of some moments, where they are missing."""
    for at_us in {one // DAY_US * DAY_US for one in moments}:
        name = part_of(at_us)
        if name == "later" or is_there(db, name):
            continue
        first = number_of(at_us)
        command = sql.SQL(_PARTITION).format(
            part=sql.Identifier(SCHEMA, name),
            first=sql.Literal(first),
            after=sql.Literal(first + number_of(DAY_US)),
        )
        db.execute(command)


def before(db: psycopg.Connection, at_us: int) -> list[str]:
    """Name the days that were over at a moment."""
    today = part_of(at_us)
    return [one for one in _days(db) if one < today]


def names(db: psycopg.Connection, below: int, since_us: int | None) -> list[str]:
    """Name the partitions that may have calls of a range, the newest first.

    Args:
        db: the database.
        below: number that all of the calls are below.
        since_us: moment that none of them came before; None where that does not matter.
    """
    last, first = part_of(below >> TIES), part_of(since_us or 0)
    # Days sort before `later`, as they should.
    return sorted((one for one in [*_days(db), "later"] if first <= one <= last), reverse=True)


def _days(db: psycopg.Connection) -> list[str]:
    rows = db.execute(
        "select relname from pg_class join pg_inherits on inhrelid = pg_class.oid"
        " where inhparent = 'calls'::regclass and relname like 'day\\_%'"
    ).fetchall()
    return [str(name) for (name,) in rows]


def is_there(db: psycopg.Connection, name: str) -> bool:
    """Whether there is a table of this name."""
    row = db.execute("select to_regclass(%s)", [name]).fetchone()
    return row is not None and row[0] is not None
