"""Finds calls in SQLite, the newest first, a page at a time."""

import re
from collections.abc import Callable, Sequence

from infra.calls.numbers import number_of
from infra.calls.query import EQUAL, USUAL, Hit, Query, hit_of
from infra.calls.terms import folded, is_short, is_wide, pairs, spellings

Select = Callable[[str, Sequence[object]], list[tuple[object, ...]]]
"""Runs a statement with its values."""

FEW = 2_000
"""Calls of which each may be looked at for a text."""


def page(select: Select, query: Query) -> list[Hit]:
    """Give the newest calls that match, one page.

    Raises:
        Unavailable: the store does not answer.
    """
    wheres, values = _conditions(query)
    if not query.text:
        table, newest = "calls", "calls.number"
    elif _are_few(select, wheres, values):
        # Looking at these is quicker than walking through all calls that have the text.
        table, newest = "calls cross join texts on texts.rowid = calls.number", "calls.number"
        wheres.append("instr(texts.text, ?)")
        values.append(folded(query.text))
    else:
        # The index is walked backwards and left with the page, however frequent the text is.
        term = folded(query.text)
        index, asked = _indexed(term)
        table, newest = (
            f"{index} cross join calls on calls.number = {index}.rowid",
            f"{index}.rowid",
        )
        wheres = [one.replace("calls.number ", f"{newest} ") for one in wheres]
        wheres.append(f"{index} match ?")
        values.append(asked)
        if is_short(term) and not is_wide(term):
            # Its wide characters lead to calls that may have the others elsewhere.
            wheres.append(
                "exists (select 1 from texts where rowid = words.rowid and instr(text, ?))"
            )
            values.append(term)
    where = f" where {' and '.join(wheres)}" if wheres else ""
    rows = select(
        "select calls.number, gateway, segment, offset, line"  # noqa: S608
        f" from {table}{where} order by {newest} desc limit ?",
        [*values, query.most],
    )
    return [hit_of(row) for row in rows]


def _are_few(select: Select, wheres: list[str], values: list[object]) -> bool:
    """Whether so few calls meet all other conditions that each may be looked at."""
    if not wheres:
        return False
    where = " and ".join(wheres)
    sql = f"select count(*) from (select 1 from calls where {where} limit ?)"  # noqa: S608
    ((found,),) = select(sql, [*values, FEW + 1])
    return int(str(found)) <= FEW


def _conditions(query: Query) -> tuple[list[str], list[object]]:
    wheres, values = list[str](), list[object]()
    for name in EQUAL:
        if (value := getattr(query, name)) is not None:
            forms = spellings(value) if name == "user" else [value]
            wheres.append(
                f"calls.{name} in ({', '.join('?' * len(forms))})"
                if forms[1:]
                else f"calls.{name} = ?"
            )
            values += forms
            if (usual := USUAL.get(name)) is not None and value != usual:
                # Said once more, so that the index which leaves the usual out is found.
                wheres.append(f"calls.{name} <> {usual!r}")
    for condition, value in (
        ("calls.number >= ?", None if query.since_us is None else number_of(query.since_us)),
        ("calls.number < ?", None if query.until_us is None else number_of(query.until_us)),
        ("calls.number < ?", query.below),
    ):
        if value is not None:
            wheres.append(condition)
            values.append(value)
    return [*wheres, *(["calls.arm <> 'shadow'"] if query.clients else [])], values


def _indexed(term: str) -> tuple[str, str]:
    """Name the index that finds a folded term, and the term as the index is asked."""
    if is_short(term):
        return "words", f'"{pairs(term).split()[0] if not is_wide(term) else term}"'
    quoted = re.sub('"', '""', term)
    return "texts", f'"{quoted}"'
