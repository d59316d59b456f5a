"""Finds calls in the call store, the newest first, a page at a time."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from infra.calls.lines import CallLine, read_call
from infra.calls.store import CallStore, number_of
from infra.calls.terms import folded, is_short, is_wide
from release.errors import Invalid

MOST = 1_000
"""Calls of one page."""

FEW = 2_000
"""Calls of which each may be looked at for a text."""

_EQUAL = (
    *("id", "namespace", "user", "tenant", "caller", "endpoint", "model", "version", "variant"),
    *("digest", "arm", "outcome", "status"),
)
_USUAL: dict[str, str | int] = {
    "user": "",
    "tenant": "",
    "caller": "",
    "digest": "",
    "arm": "champion",
    "outcome": "ok",
    "status": 200,
}
"""Values that most calls have, and that are left out of the columns' indexes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is looked for; whatever is absent does not matter."""

    text: str = ""
    """Found anywhere inside what was asked or answered, whatever its case."""

    id: str | None = None
    namespace: str | None = None
    user: str | None = None
    tenant: str | None = None
    caller: str | None = None
    endpoint: str | None = None
    model: str | None = None
    version: int | None = None
    variant: str | None = None
    digest: str | None = None
    arm: str | None = None
    outcome: str | None = None
    status: int | None = None
    since_us: int | None = None
    """Calls of this moment or later, in microseconds since the epoch."""

    until_us: int | None = None
    """Calls of before this moment."""

    below: int | None = None
    """Calls older than the one with this number, which ended the page before."""

    most: int = 50

    def __post_init__(self) -> None:
        """Refuse what no page can be.

        Raises:
            Invalid: naming value and limit.
        """
        if not 1 <= self.most <= MOST:
            raise Invalid(f"A page has 1 to {MOST} calls, not {self.most}.")
        term = folded(self.text)
        if self.text and is_short(term) and not is_wide(term):
            said = f"{self.text[:20]!r} is too short to be searched for."
            hint = "three characters at least, or one of a script such as Chinese"
            raise Invalid(said, hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A call that was found."""

    number: int
    """In the order of arrival."""

    gateway: str
    segment: int
    offset: int
    line: CallLine


def search(store: CallStore, query: Query) -> list[Hit]:
    """Give the newest calls that match, one page.

    Raises:
        Unavailable: the store does not answer.
    """
    wheres, values = _conditions(query)
    if not query.text:
        table, newest = "calls", "calls.number"
    elif _are_few(store, wheres, values):
        # Looking at these is quicker than walking through all calls that have the text.
        table, newest = "calls cross join texts on texts.rowid = calls.number", "calls.number"
        wheres.append("instr(texts.text, ?)")
        values.append(folded(query.text))
    else:
        # The index is walked backwards and left with the page, however frequent the text is.
        index, term = _indexed(query.text)
        table, newest = (
            f"{index} cross join calls on calls.number = {index}.rowid",
            f"{index}.rowid",
        )
        wheres = [one.replace("calls.number ", f"{newest} ") for one in wheres]
        wheres.append(f"{index} match ?")
        values.append(term)
    where = f" where {' and '.join(wheres)}" if wheres else ""
    rows = store.select(
        "select calls.number, gateway, segment, offset, line"  # noqa: S608
        f" from {table}{where} order by {newest} desc limit ?",
        [*values, query.most],
    )
    return [_hit(row) for row in rows]


def _are_few(store: CallStore, wheres: list[str], values: list[object]) -> bool:
    """Whether so few calls meet all other conditions that each may be looked at."""
    if not wheres:
        return False
    where = " and ".join(wheres)
    sql = f"select count(*) from (select 1 from calls where {where} limit ?)"  # noqa: S608
    ((found,),) = store.select(sql, [*values, FEW + 1])
    return int(str(found)) <= FEW


def every(store: CallStore, query: Query) -> Iterator[Hit]:
    """Give all calls that match, the newest first, page after page."""
    query = replace(query, most=MOST)
    while page := search(store, query):
        yield from page
        query = replace(query, below=page[-1].number)


def _conditions(query: Query) -> tuple[list[str], list[object]]:
    wheres, values = list[str](), list[object]()
    for name in _EQUAL:
        if (value := getattr(query, name)) is not None:
            wheres.append(f"calls.{name} = ?")
            values.append(value)
            if (usual := _USUAL.get(name)) is not None and value != usual:
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
    return wheres, values


def _indexed(text: str) -> tuple[str, str]:
    """Name the index that finds a text, and the text as the index is asked."""
    term = folded(text)
    quoted = re.sub('"', '""', term)
    return ("words" if is_short(term) else "texts"), f'"{quoted}"'


def _hit(row: tuple[object, ...]) -> Hit:
    number, gateway, segment, offset, line = row
    return Hit(
        number=int(str(number)),
        gateway=str(gateway),
        segment=int(str(segment)),
        offset=int(str(offset)),
        line=read_call(bytes(line) if isinstance(line, bytes) else str(line)),
    )
