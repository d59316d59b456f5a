"""How the call store on one host is laid out: tables, indexes, and what leads a search to one."""

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

LOAD = "analyze sqlite_schema"
"""Counts nothing: it makes the table of what is told where there is none, and reads it."""

MISLED = "select 1 from sqlite_stat1 where idx is null and stat = '2'"
"""Finds what an `analyze` had counted in FTS5's tables when these were empty: two rows each.

Told so, FTS5 goes through all of such a table whenever two parts of an index have been merged.
"""

UNMISLEAD = ("update sqlite_stat1 set stat = '1000000' where idx is null and stat = '2'", LOAD)
"""Told anew instead of deleted: reading what is told forgets nothing of what it had said before."""

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

TABLES = (
    *(one for one in _LAYOUT.split(";") if one.strip()),
    *(LOAD, *_TOLD, LOAD),
    f"pragma user_version = {VERSION}",
)
"""Statements that make all of it in an empty file, in one transaction."""
