"""What a call store that hosts share has of other homes than one's own."""

from collections.abc import Mapping, Sequence
from operator import itemgetter

import psycopg
from psycopg import errors, sql

from infra.calls.postgres_search import Conditions, others, where
from infra.calls.query import Query

Last = tuple[str, int | None]
"""A gateway, and the moment of its last call."""


def forget(db: psycopg.Connection, day: str, home: str, query: Query) -> int:
    """Forget the texts of other homes' calls of a day; give how many there were."""
    clause, values = where(_of_others(home, query))
    command = sql.SQL(
        f"update {{}} set text = null, words = null{clause} and text is not null"  # noqa: S608
    )
    return db.execute(command.format(sql.Identifier(day)), values).rowcount


def calls(db: psycopg.Connection, day: str, home: str, query: Query) -> Mapping[str, int]:
    """Count the calls of a day that are of other homes, by gateway."""
    clause, values = where(_of_others(home, query))
    command = sql.SQL(f"select gateway, count(*) from {{}}{clause} group by gateway")  # noqa: S608
    try:
        rows = db.execute(command.format(sql.Identifier(day)), values).fetchall()
    except errors.UndefinedTable:
        return {}  # it was too old, and went meanwhile
    return {str(gateway): int(many) for gateway, many in rows}


def last(db: psycopg.Connection, days: Sequence[str], home: str) -> Sequence[Last]:
    """Say how far other homes have folded.

    Args:
        db: the database.
        days: among which is looked, the newest first.
        home: that is none of them.

    Returns:
        Of each home the gateway and the moment, in microseconds since the epoch, of its last call;
        None where no day has one.
    """
    rows = db.execute("select home, gateway from places where home <> %s", [home]).fetchall()
    left = {str(whose): str(gateway) for whose, gateway in rows}
    found: list[Last] = []
    for day in days:
        if not left:
            break
        of_day = _last(db, day, list(left))
        found += of_day.values()
        left = {whose: gateway for whose, gateway in left.items() if whose not in of_day}
    return [*found, *((gateway, None) for gateway in left.values())]


def _last(db: psycopg.Connection, day: str, homes: list[str]) -> dict[str, tuple[str, int]]:
    """Find the last call of each home in a day, by the index of each gateway's."""
    command = sql.SQL(
        "select home, gateway, (select at_us from {} as call"
        " where call.home = place.home and call.gateway = place.gateway"
        " order by sequence desc limit 1) from places as place where home = any(%s)"
    ).format(sql.Identifier(day))
    try:
        rows = db.execute(command, [homes]).fetchall()
    except errors.UndefinedTable:
        return {}  # it was too old, and went meanwhile
    there = sorted((row for row in rows if row[2] is not None), key=itemgetter(2))
    return {str(home): (str(gateway), int(at_us)) for home, gateway, at_us in there}


def _of_others(home: str, query: Query) -> Conditions:
    return [("home <> %s", [home]), *others(query)]
