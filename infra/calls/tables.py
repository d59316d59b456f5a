"""How the call store on one host is laid out: tables, indexes, and what leads a search to one."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from release.errors import Unavailable

VERSION = 3

_ROWS = {
    "calls_id": "1",
    "calls_user": "1000",
    "calls_caller": "2000",
    "calls_status": "5000",
    "calls_arm": "10000",
    "calls_outcome": "10000",
    "calls_tenant": "20000",
    "calls_endpoint": "100000 50000",
    "calls_version": "90000",
    "calls_digest": "100000",
    "calls_namespace": "300000",
}
"""Index to how many of a million calls have the same value, about.

Told once instead of counted: of several indexes that serve a search, the one that leaves least to
look at is taken.
"""

_LOAD = "analyze sqlite_schema"
"""Counts nothing: it makes the table of what is told where there is none, and reads it."""

_LAYOUT = """
create table calls (
    number integer primary key,
    gateway text not null, sequence integer not null, segment integer not null,
    offset integer not null, line blob not null,
    id text not null, at_us integer not null, namespace text not null, user text not null,
    tenant text not null, caller text not null, endpoint text not null, model text not null,
    version integer not null, variant text not null, digest text not null, arm text not null,
    outcome text not null, status integer not null,
    unique (gateway, sequence, at_us)
);
create index calls_id on calls (id);
create index calls_namespace on calls (namespace);
create index calls_user on calls (user) where user <> '';
create index calls_tenant on calls (tenant) where tenant <> '';
create index calls_caller on calls (caller) where caller <> '';
create index calls_digest on calls (digest) where digest <> '';
create index calls_version on calls (version);
create index calls_endpoint on calls (endpoint, version);
create index calls_arm on calls (arm) where arm <> 'champion';
create index calls_status on calls (status) where status <> 200;
create index calls_outcome on calls (outcome) where outcome <> 'ok';
create virtual table texts using fts5 (text, tokenize = 'trigram');
create virtual table words using fts5 (
    text, detail = 'none',
    tokenize = "unicode61 remove_diacritics 0 categories 'L* M* N* P* S* Co Cn'"
);
create table places (
    gateway text primary key, segment integer not null, offset integer not null
);
"""

_TOLD = [
    f"insert into sqlite_stat1 (tbl, idx, stat) values ('calls', '{name}', '1000000 {rows}')"  # noqa: S608
    for name, rows in _ROWS.items()
]

_OWED = "create table unswept (number integer primary key autoincrement)"
"""Has a row as long as something that was forgotten may lie in the log."""

_TABLES = (
    *(one for one in _LAYOUT.split(";") if one.strip()),
    *(_LOAD, *_TOLD, _LOAD, _OWED),
    f"pragma user_version = {VERSION}",
)

_MISLED = "from sqlite_stat1 where idx is null and stat = '2'"
"""Finds what an `analyze` had counted in FTS5's tables when these were empty: two rows each.

Told so, FTS5 goes through all of such a table whenever two parts of an index have been merged.
"""

_UNMISLED = f"update sqlite_stat1 set stat = '1000000' {_MISLED.removeprefix('from sqlite_stat1 ')}"  # noqa: S608
"""Told anew instead of deleted: reading what is told forgets nothing of what it had said before."""

_STEPS = (
    ("select 1 from pragma_user_version where user_version = 0", _TABLES),
    (f"select 1 {_MISLED}", (_UNMISLED, _LOAD)),
    ("select 1 where not exists (select 1 from sqlite_schema where name = 'unswept')", (_OWED,)),
)
"""What leads from an empty file, and from stores of before, to what there is today: a question that
finds something where it is still to be done, and statements."""


def make(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables where there are none, and whatever else stores of before do not have.

    Args:
        db: the store.
        path: its file.

    Raises:
        Unavailable: it is of another version.
        sqlite3.Error: they cannot be made.
    """
    version = int(db.execute("pragma user_version").fetchone()[0])
    if version not in (0, VERSION):
        said = f"The call store {path} is of version {version}, not {VERSION}."
        raise Unavailable(said, "move it away; it is made anew from the segments")
    for asked, statements in _STEPS:
        if db.execute(asked).fetchone():
            _together(db, asked, statements)


def _together(db: sqlite3.Connection, asked: str, statements: Iterable[str]) -> None:
    db.execute("begin immediate")
    # Asked once more: another process may have done it meanwhile.
    for statement in statements if db.execute(asked).fetchone() else ():
        db.execute(statement)
    db.execute("commit")
