"""Anchors of the call record: how far each gateway's journal had come, outside its folder."""

from typing import Any

import sqlalchemy as sa

from infra.calls.checkpoints import Checkpoint
from infra.ledger import schema
from infra.ledger.database import Database, put
from release.errors import Conflict

HOUR_US = 3_600_000_000

_HINT = "see slipway calls verify"


class Anchors:
    """Part of the ledger that keeps checkpoints of each gateway, one an hour.

    Only the newest is ever replaced, and only by one that is said to go on from it: whoever has a
    journal's folder can have others anchored beside it, and cannot have it forgotten.
    """

    database: Database

    def anchor(self, checkpoint: Checkpoint, after: Checkpoint | None = None) -> None:
        """Keep a checkpoint, in the place of the newest if that is of the same hour.

        Args:
            checkpoint: what to keep.
            after: the newest anchor, where the journal was seen to go on from it.

        Raises:
            Conflict: the journal was further once: its end is missing, or it was begun anew. Or it
                would take the place of an anchor that it was not seen to go on from.
        """
        table = schema.anchors
        values = {name: getattr(checkpoint, name) for name in ("at_us", "chain", "segment")}
        values |= {"sequence": checkpoint.sequence, "signature": checkpoint.signature}
        with self.database.write() as connection:
            newest = connection.execute(_newest(checkpoint.gateway)).mappings().first()
            hour = _hour(checkpoint, newest, after)
            put(connection, table, {"gateway": checkpoint.gateway, "hour": hour}, values)

    def anchors(self, gateway: str) -> list[Checkpoint]:
        """Read the anchors of a gateway, the oldest first."""
        table = schema.anchors
        query = sa.select(table).where(table.c.gateway == gateway).order_by(table.c.hour)
        with self.database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [_checkpoint(row) for row in rows]

    def newest_anchor(self, gateway: str) -> Checkpoint | None:
        """Read the newest anchor of a gateway; None where it has none."""
        with self.database.read() as connection:
            row = connection.execute(_newest(gateway)).mappings().first()
        return None if row is None else _checkpoint(row)

    def anchored(self) -> dict[str, int]:
        """Give every gateway that has an anchor, with the call that it was furthest at."""
        table = schema.anchors
        query = sa.select(table.c.gateway, sa.func.max(table.c.sequence)).group_by(table.c.gateway)
        with self.database.read() as connection:
            return {str(gateway): int(most) for gateway, most in connection.execute(query)}


def _newest(gateway: str) -> sa.Select[Any]:
    table = schema.anchors
    mine = sa.select(table).where(table.c.gateway == gateway)
    return mine.order_by(table.c.hour.desc()).limit(1)


def _hour(checkpoint: Checkpoint, newest: sa.RowMapping | None, after: Checkpoint | None) -> int:
    """Say which hour's place a checkpoint takes.

    Raises:
        Conflict: none that it may.
    """
    hour = checkpoint.at_us // HOUR_US
    if newest is None:
        return hour
    if checkpoint.sequence < newest["sequence"]:
        raise Conflict(
            f"The journal of {checkpoint.gateway} is at call {checkpoint.sequence}, and was at "
            f"call {newest['sequence']} before.",
            _HINT,
        )
    goes_on = newest["chain"] in (checkpoint.chain, after.chain if after else "")
    if not goes_on and hour <= newest["hour"]:
        raise Conflict(
            f"The journal of {checkpoint.gateway} was not seen to go on from call "
            f"{newest['sequence']} as that was anchored.",
            _HINT,
        )
    # Also by a clock that was put back: rows of before the newest stay as they are.
    return max(hour, int(newest["hour"]))


def _checkpoint(row: sa.RowMapping) -> Checkpoint:
    return Checkpoint(**{name: row[name] for name in Checkpoint.__struct_fields__})
