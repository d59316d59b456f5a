"""Anchors of the call record: how far each gateway's journal had come, outside its folder."""

import sqlalchemy as sa

from infra.calls.checkpoints import Checkpoint
from infra.ledger import schema
from infra.ledger.database import Database, put
from release.errors import Conflict

HOUR_US = 3_600_000_000


class Anchors:
    """Part of the ledger that keeps the newest checkpoint of each gateway and hour."""

    database: Database

    def anchor(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint in the place of an earlier one of the same hour.

        Raises:
            Conflict: the journal was further once: its end is missing, or it was begun anew.
        """
        table = schema.anchors
        key = {"gateway": checkpoint.gateway, "hour": checkpoint.at_us // HOUR_US}
        reached = sa.select(sa.func.max(table.c.sequence)).where(
            table.c.gateway == checkpoint.gateway
        )
        values = {name: getattr(checkpoint, name) for name in ("at_us", "chain", "segment")}
        values |= {"sequence": checkpoint.sequence, "signature": checkpoint.signature}
        with self.database.write() as connection:
            most = connection.scalar(reached) or 0
            if checkpoint.sequence < most:
                raise Conflict(
                    f"The journal of {checkpoint.gateway} is at call {checkpoint.sequence}, and "
                    f"was at call {most} before.",
                    "see slipway calls verify",
                )
            put(connection, table, key, values)

    def anchors(self, gateway: str) -> list[Checkpoint]:
        """Read the anchors of a gateway, the oldest first."""
        table = schema.anchors
        query = sa.select(table).where(table.c.gateway == gateway).order_by(table.c.hour)
        with self.database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Checkpoint(**{name: row[name] for name in Checkpoint.__struct_fields__}) for row in rows
        ]

    def anchored(self) -> dict[str, int]:
        """Give every gateway that has an anchor, with the call that it was furthest at."""
        table = schema.anchors
        query = sa.select(table.c.gateway, sa.func.max(table.c.sequence)).group_by(table.c.gateway)
        with self.database.read() as connection:
            return {str(gateway): int(most) for gateway, most in connection.execute(query)}
