"""What a call store that hosts share has of other homes than one's own."""

from collections.abc import Mapping

import psycopg
from psycopg import errors, sql

from infra.calls.postgres_search import others
from infra.calls.query import Query


def forget(db: psycopg.Connection, day: str, home: str, query: Query) -> int:
    """Forget the texts of other homes' calls of a day; give how many there were."""
    where, values = _where(home, query)
    command = sql.SQL(
        f"update {{}} set text = null, words = null{where} and text is not null"  # noqa: S608
    )
    return db.execute(command.format(sql.Identifier(day)), values).rowcount


def calls(db: psycopg.Connection, day: str, home: str, query: Query) -> Mapping[str, int]:
    """Count the calls of a day that are of other homes, by gateway."""
    where, values = _where(home, query)
    command = sql.SQL(f"select gateway, count(*) from {{}}{where} group by gateway")  # noqa: S608
    try:
        rows = db.execute(command.format(sql.Identifier(day)), values).fetchall()
    except errors.UndefinedTable:
        return {}  # it was too old, and went meanwhile
    return {str(gateway): int(many) for gateway, many in rows}


def _where(home: str, query: Query) -> tuple[str, list[object]]:
    conditions = [("home <> %s", [home]), *others(query)]
    said = " and ".join(condition for condition, _ in conditions)
    return f" where {said}", [value for _, given in conditions for value in given]
