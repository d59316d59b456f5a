"""Who may change who calls, and how agents hear of it. Within the ledger's write transaction."""

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from infra.identity import Identity
from infra.ledger import schema
from infra.ledger.history import append
from release.errors import Refused
from release.releases import Event

HOUSE = "slipway"
"""Who acts where this home makes keys for itself."""


def need_admin(connection: sa.Connection, by: Identity, what: str) -> None:
    """Hold a proof against the ledger of now: it may have been given a while ago.

    Raises:
        Refused: `by` is no active admin.
    """
    table = schema.identities
    row = connection.execute(sa.select(table).where(table.c.name == by.name)).mappings().first()
    if row is None or row["role"] != "admin" or not row["active"]:
        raise Refused(f"{by.name} is {by.role} and may not {what}.", "it takes an active admin")


def changed(
    connection: sa.Connection,
    kind: str,
    actor: str,
    sentence: str,
    data: Mapping[str, Any],
    model: str = "",
) -> None:
    """Record a change, and number it so that agents see that there is one."""
    table = schema.caller_changes
    if not connection.execute(sa.update(table).values(number=table.c.number + 1)).rowcount:
        connection.execute(sa.insert(table).values(id=1, number=1))
    said = Event(kind=kind, at=time.time(), actor=actor, sentence=sentence, data=data, model=model)
    append(connection, said)
