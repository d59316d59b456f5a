"""What agents report: which generation each gateway serves, which replicas are ready."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from infra.ledger import schema
from infra.ledger.database import Database, put
from infra.ledger.rows import gateway_of, replica_of
from release.errors import Invalid
from release.releases import GatewayStatus, ReplicaStatus


class Observed:
    """Part of the ledger that anybody may overwrite with something newer."""

    database: Database

    def observe(
        self, gateways: Sequence[GatewayStatus], replicas: Sequence[ReplicaStatus], agent: str
    ) -> None:
        """Replace all that an agent reported before.

        A report that was overtaken by a newer one changes nothing of what that said.

        Args:
            gateways: every gateway of the agent, for every endpoint; ids begin with `agent/`.
            replicas: every replica of the agent.
            agent: who reports.

        Raises:
            Invalid: a row belongs to another agent.
        """
        for status in gateways:
            if not status.gateway.startswith(f"{agent}/"):
                raise Invalid(f"Agent {agent} may not report the gateway {status.gateway!r}.")
        for replica in replicas:
            if replica.agent != agent:
                raise Invalid(f"Agent {agent} may not report a replica of {replica.agent!r}.")
        heard = [{**asdict(one), "agent": agent} for one in gateways]
        running = [asdict(one) for one in replicas]
        with self.database.write() as connection:
            _replace(connection, schema.gateways, heard, agent)
            _replace(connection, schema.replicas, running, agent)

    def gateways(self, endpoint: str | None = None) -> list[GatewayStatus]:
        """Read what gateways serve, of one endpoint or of all."""
        return [gateway_of(row) for row in self._rows(schema.gateways, endpoint)]

    def replicas(self, endpoint: str | None = None) -> list[ReplicaStatus]:
        """Read what replicas say, of one endpoint or of all."""
        return [replica_of(row) for row in self._rows(schema.replicas, endpoint)]

    def _rows(self, table: sa.Table, endpoint: str | None) -> Sequence[sa.RowMapping]:
        query = sa.select(table).order_by(*table.primary_key.columns)
        if endpoint is not None:
            query = query.where(table.c.endpoint == endpoint)
        with self.database.read() as connection:
            return connection.execute(query).mappings().all()


def _replace(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], agent: str
) -> None:
    key = [column.name for column in table.primary_key.columns]
    query = sa.select(table).where(table.c.agent == agent)
    known = {
        tuple(row[name] for name in key): row["at"] for row in connection.execute(query).mappings()
    }
    now = max((row["at"] for row in rows), default=float("inf"))
    named = {tuple(row[name] for name in key): row for row in rows}
    for identity, at in known.items():
        if identity not in named and at <= now:
            connection.execute(sa.delete(table).where(*_where(table, key, identity)))
    for identity, row in named.items():
        if row["at"] >= known.get(identity, float("-inf")):
            values = {name: value for name, value in row.items() if name not in key}
            put(connection, table, dict(zip(key, identity, strict=True)), values)


def _where(
    table: sa.Table, key: Sequence[str], identity: Sequence[Any]
) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == value for name, value in zip(key, identity, strict=True)]
