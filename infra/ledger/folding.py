"""Live evidence: closed windows of the journal are counted once each, with a cursor to show it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace

import sqlalchemy as sa

from infra.ledger import schema
from infra.ledger.database import put
from release.evidence import Cursor, Tally, Window

_COUNTS = ("requests", "failures", "slow", "rescued")


def fold(
    connection: sa.Connection,
    model: str,
    release_id: str | None,
    *,
    windows: Sequence[Window],
    cursors: Sequence[Cursor],
    step: int,
) -> None:
    """Count windows that were never counted before, and move the cursors past them.

    Args:
        connection: within a write transaction.
        model: whose tallies are taken; also the endpoint.
        release_id: what they are evidence for; None reads past them.
        windows: in any order; those at or before the stored cursor are passed over.
        cursors: where to go on reading; one behind the stored cursor is passed over.
        step: under which they are counted.
    """
    before = read_cursors(connection, model)
    reached = dict(before)
    fresh: defaultdict[str, Tally] = defaultdict(Tally)
    for window in _unseen(reached, windows):
        for digest, tally in window.tallies.get(model, {}).items():
            fresh[digest] += tally
    for cursor in cursors:
        if cursor.window >= reached.get(cursor.gateway, cursor).window:
            reached[cursor.gateway] = cursor
    for cursor in set(reached.values()) - set(before.values()):
        _keep(connection, model, cursor)
    for digest, tally in fresh.items():
        if release_id is not None:
            _add(connection, release_id, digest, step, tally)


def _unseen(reached: dict[str, Cursor], windows: Sequence[Window]) -> Iterator[Window]:
    """Give each window that no cursor has passed, and let its gateway's cursor pass it."""
    for window in sorted(windows, key=lambda one: one.number):
        at = reached.get(window.gateway, Cursor(gateway=window.gateway))
        if window.number > at.window:
            reached[window.gateway] = replace(at, window=window.number)
            yield window


def read_evidence(connection: sa.Connection, release_id: str) -> Mapping[str, Mapping[int, Tally]]:
    """Read a release's evidence: content digest to step to counts."""
    found: defaultdict[str, dict[int, Tally]] = defaultdict(dict)
    query = sa.select(schema.evidence).where(schema.evidence.c.release == release_id)
    for row in connection.execute(query).mappings():
        found[row["digest"]][row["step"]] = Tally(**{name: row[name] for name in _COUNTS})
    return dict(found)


def read_cursors(connection: sa.Connection, model: str) -> dict[str, Cursor]:
    """Read a model's cursors by gateway."""
    query = sa.select(schema.cursors).where(schema.cursors.c.model == model)
    return {
        row["gateway"]: Cursor(
            gateway=row["gateway"],
            window=row["window"],
            segment=row["segment"],
            offset=row["offset"],
        )
        for row in connection.execute(query).mappings()
    }


def _keep(connection: sa.Connection, model: str, cursor: Cursor) -> None:
    values = asdict(cursor)
    key = {"model": model, "gateway": values.pop("gateway")}
    put(connection, schema.cursors, key, values)


def _add(connection: sa.Connection, release_id: str, digest: str, step: int, tally: Tally) -> None:
    table = schema.evidence
    mine = (table.c.release == release_id) & (table.c.digest == digest) & (table.c.step == step)
    row = connection.execute(sa.select(table).where(mine)).mappings().first()
    known = Tally(**{name: row[name] for name in _COUNTS}) if row else Tally()
    key = {"release": release_id, "digest": digest, "step": step}
    put(connection, table, key, asdict(known + tally))
