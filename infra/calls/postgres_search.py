"""Finds calls in PostgreSQL, the newest first, a page at a time.

How frequent a text is the database cannot know, and a plan that guesses wrong reads every call of
every day. So it is not left to it: the newest calls are looked at one by one, which fills a page
with what is frequent; older ones are asked of a day's index, day after day, until the page is full.
"""

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

from infra.calls import partitions
from infra.calls.numbers import number_of
from infra.calls.query import EQUAL, USUAL, Hit, Query, hit_of
from infra.calls.terms import folded, is_short, pairs

LONGEST = 500
"""Characters of a column by which calls are found: PostgreSQL's indexes take up to 2.7 kB."""

FEW = 2_000
"""Calls of which each is looked at for a text."""

Conditions = Sequence[tuple[str, object]]
"""Conditions, each with the value that it asks for."""

_FIELDS = 'number, gateway, segment, "offset", line'


def page(db: psycopg.Connection, query: Query) -> list[Hit]:
    """Give the newest calls that match, one page.

    Raises:
        psycopg.Error: the database does not answer.
    """
    others = [*_equal(query), *_within(query)]
    if not query.text:
        return _plain(db, others, query.most)
    texts = list(_containing(query.text))
    found, last = _recent(db, others, texts)
    if last is None:
        return found[: query.most]
    others.append(("number < %s", last))
    for part in partitions.names(db, below=last, since_us=query.since_us):
        if len(found) >= query.most:
            break
        found += _day(db, part, [*others, *texts], query.most - len(found))
    return found[: query.most]


def _plain(db: psycopg.Connection, conditions: Conditions, most: int) -> list[Hit]:
    where, values = _where(conditions)
    command = f"select {_FIELDS} from calls{where} order by number desc limit %s"  # noqa: S608
    return [hit_of(row) for row in db.execute(command.encode(), [*values, most])]


def _recent(
    db: psycopg.Connection, others: Conditions, texts: Conditions
) -> tuple[list[Hit], int | None]:
    """Look at the newest calls one by one.

    Returns:
        What has the text, and the number of the oldest that was looked at; None where that was all.
    """
    where, values = _where(others)
    has, terms = _where(texts)
    command = (
        f"with recent as materialized (select {_FIELDS}, text, words from calls{where}"  # noqa: S608
        " order by number desc limit %s)"
        f", hits as (select * from recent{has})"
        f" select {_FIELDS}, (select count(*) from recent), (select min(number) from recent)"
        " from (select 1) as one left join hits on true order by number desc"
    )
    rows = db.execute(command.encode(), [*values, FEW, *terms]).fetchall()
    *_, looked_at, last = rows[0]
    found = [hit_of(row[:5]) for row in rows if row[0] is not None]
    return found, last if looked_at == FEW else None


def _day(db: psycopg.Connection, part: str, conditions: Conditions, most: int) -> list[Hit]:
    where, values = _where(conditions)
    # Materialized, so that it is planned as if every hit were wanted: by the index of texts.
    command = (
        f"with hits as materialized (select {_FIELDS} from {{}}{where})"  # noqa: S608
        f" select {_FIELDS} from hits order by number desc limit %s"
    )
    asked = sql.SQL(command).format(sql.Identifier(part))
    return [hit_of(row) for row in db.execute(asked, [*values, most])]


def _where(conditions: Conditions) -> tuple[str, list[object]]:
    said = " and ".join(condition for condition, _ in conditions)
    values = [value for condition, value in conditions if "%s" in condition]
    return (f" where {said}" if said else ""), values


def _equal(query: Query) -> Iterator[tuple[str, object]]:
    for name in EQUAL:
        if (value := getattr(query, name)) is not None:
            yield f'"{name}" = %s', column(value)
            if name in USUAL and value != USUAL[name]:
                # Said once more, so that the index which leaves the usual out is found.
                yield f"\"{name}\" <> '{USUAL[name]}'", None


def _within(query: Query) -> Iterator[tuple[str, object]]:
    if query.since_us is not None:
        yield "number >= %s", number_of(query.since_us)
    if query.until_us is not None:
        yield "number < %s", number_of(query.until_us)
    if query.below is not None:
        yield "number < %s", query.below


def _containing(text: str) -> Iterator[tuple[str, object]]:
    term = held(folded(text))
    words = pairs(term).split()
    if words := [one for one in words if len(one) > 1] or words:
        # Trigrams of such scripts are known to databases of some locales only; pairs to all.
        yield "words @> %s", words
    if not is_short(term):
        yield r"text like %s escape '\'", f"%{_escaped(term)}%"


def _escaped(term: str) -> str:
    return term.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")


def held(text: str) -> str:
    """Give a text as PostgreSQL can hold it, which has no character 0."""
    return text.replace("\0", "\ufffd")


def column(value: object) -> object:
    """Give a value as its column has it."""
    return held(value)[:LONGEST] if isinstance(value, str) else value
