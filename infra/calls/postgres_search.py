"""Finds calls in PostgreSQL, the newest first, a page at a time.

Days are asked one after the other, the newest first and several at once only as long as they give
nothing, until the page is full. How frequent a text is the database cannot know, and a plan that
guesses wrong reads every call of a day. So it is not left to it: calls are looked at one by one as
long as many of them have the text; only then a day's index is asked.
"""

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import errors, sql

from infra.calls import days
from infra.calls.numbers import number_of
from infra.calls.query import EQUAL, USUAL, Hit, Query, hit_of
from infra.calls.terms import column, folded, is_short, is_wide, pairs, spellings

FEW = 2_000
"""Calls that are looked at one by one before it is decided how to go on."""

MANY = 20
"""Where one call of so many has the text, looking at each is quicker than asking the index."""

AT_ONCE = 16
"""Days that one statement asks at the most: whoever asks a table locks it with all its indexes."""

Conditions = Sequence[tuple[str, Sequence[object]]]
"""Conditions, each with the values that it asks for."""

_FIELDS = 'number, gateway, segment, "offset", line'
_NEWEST = "order by number desc limit %s"


def page(db: psycopg.Connection, query: Query) -> list[Hit]:
    """Give the newest calls that match, one page.

    Raises:
        psycopg.Error: the database does not answer.
    """
    wheres, texts = list(others(query)), list(_containing(query.text))
    found: list[Hit] = []
    left = days.days(db, below_of(query), query.since_us)
    if texts and left:
        found, last = _looked_at(db, left, wheres, texts, query.most)
        if last is None:
            return found[: query.most]
        left = [day for day in left if day <= days.day_of(last)]
        wheres.append(("number < %s", [last]))
    at_once = 1
    while left and len(found) < query.most:
        some, left = left[:at_once], left[at_once:]
        found += _asked(db, some, wheres, texts, query.most - len(found))
        at_once = min(2 * at_once, AT_ONCE)
    return found


def _looked_at(
    db: psycopg.Connection, left: Sequence[str], others: Conditions, texts: Conditions, most: int
) -> tuple[list[Hit], int | None]:
    """Look at calls one by one as long as many of them have the text.

    Returns:
        What has it, and the number of the oldest that was looked at; None where no more is wanted.
    """
    found: list[Hit] = []
    edge: list[tuple[str, Sequence[object]]] = []
    for day in left:
        while True:
            hits, looked_at, last = _recent(db, day, [*others, *edge], texts)
            found += hits
            if len(found) >= most:
                return found, None
            if looked_at:
                edge = [("number < %s", [last])]
            if looked_at < FEW:
                break  # that was all of the day
            if len(hits) * MANY < FEW:
                return found, last
    return found, None


def _recent(
    db: psycopg.Connection, day: str, others: Conditions, texts: Conditions
) -> tuple[list[Hit], int, int]:
    """Look at the newest calls of a day.

    Returns:
        What has the text, how many were looked at, and the number of the oldest of them.
    """
    clause, values = where(others)
    has, terms = where(texts)
    command = sql.SQL(
        f"with recent as materialized (select {_FIELDS}, text, words from {{}}{clause} {_NEWEST})"  # noqa: S608
        f", hits as (select {_FIELDS} from recent{has})"
        f" select {_FIELDS}, (select count(*) from recent), (select min(number) from recent)"
        " from (select) as one left join hits on true order by number desc"
    ).format(sql.Identifier(day))
    try:
        rows = db.execute(command, [*values, FEW, *terms]).fetchall()
    except errors.UndefinedTable:
        return [], 0, 0  # it was too old, and went meanwhile
    *_, looked_at, last = rows[0]
    return [hit_of(row[:5]) for row in rows if row[0] is not None], looked_at, last


def _asked(
    db: psycopg.Connection, some: Sequence[str], others: Conditions, texts: Conditions, most: int
) -> list[Hit]:
    """Ask some days at once."""
    clause, values = where([*others, *texts])
    one = (
        # Materialized, so that it is planned as if every hit were wanted: by the index of texts.
        f"(with hits as materialized (select {_FIELDS} from {{}}{clause})"  # noqa: S608
        f" select {_FIELDS} from hits {_NEWEST})"
        if texts
        else f"(select {_FIELDS} from {{}}{clause} {_NEWEST})"  # noqa: S608
    )
    parts = sql.SQL(" union all ").join(sql.SQL(one).format(sql.Identifier(day)) for day in some)
    command = sql.SQL(f"select {_FIELDS} from ({{}}) as found {_NEWEST}").format(parts)  # noqa: S608
    given = [*values, most] * len(some)
    try:
        return [hit_of(row) for row in db.execute(command, [*given, most])]
    except errors.UndefinedTable:
        if len(some) == 1:
            return []  # it was too old, and went meanwhile
    return [hit for day in some for hit in _asked(db, [day], others, texts, most)]


def where(conditions: Conditions) -> tuple[str, list[object]]:
    """Give the clause of conditions that all hold, none for none, and its values."""
    said = " and ".join(condition for condition, _ in conditions)
    values = [value for _, given in conditions for value in given]
    return (f" where {said}" if said else ""), values


def below_of(query: Query) -> int | None:
    """Give the number that all calls of a page are below."""
    until = None if query.until_us is None else number_of(query.until_us)
    return min((one for one in (query.below, until) if one is not None), default=None)


def others(query: Query) -> Iterator[tuple[str, Sequence[object]]]:
    """Give all conditions but that of the text."""
    for name in EQUAL:
        if (value := getattr(query, name)) is not None:
            if name == "user" and (forms := spellings(value))[1:]:
                yield f'"{name}" = any(%s)', [[column(one) for one in forms]]
            else:
                yield f'"{name}" = %s', [column(value)]
            if name in USUAL and value != USUAL[name]:
                # Said once more, so that the index which leaves the usual out is found.
                yield f'"{name}" <> {USUAL[name]!r}', []
    if query.since_us is not None:
        yield "number >= %s", [number_of(query.since_us)]
    if (below := below_of(query)) is not None:
        yield "number < %s", [below]
    if query.clients:
        yield "arm <> 'shadow'", []


def _containing(text: str) -> Iterator[tuple[str, Sequence[object]]]:
    term = folded(text)
    words = pairs(term).split()
    if words := [one for one in words if len(one) > 1] or words:
        # Trigrams of such scripts are known to databases of some locales only; pairs to all.
        yield "words @> %s", [words]
    if term and not (is_short(term) and is_wide(term)):
        yield r"text like %s escape '\'", [f"%{_escaped(term)}%"]


def _escaped(term: str) -> str:
    return term.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
