"""What the ledger says of who may call, as gateways are to know it."""

from collections.abc import Mapping

import sqlalchemy as sa

from infra.callers.namespaces import DEFAULT, said_in
from infra.callers.snapshot import CallersSnapshot, KeyEntry, NamespaceEntry
from infra.ledger import Ledger, schema
from release.callers import Recording


def changes(ledger: Ledger) -> int:
    """Say how often anything has changed; cheap, for whoever looks all the time."""
    with ledger.database.read() as connection:
        return connection.scalar(sa.select(schema.caller_changes.c.number)) or 0


def endpoints(ledger: Ledger) -> Mapping[str, str]:
    """Give every endpoint that was released, or given away, to the namespace that owns it."""
    wanted = sa.select(schema.desired.c.model).where(schema.desired.c.generation > 0)
    models = sa.union(wanted, sa.select(schema.releases.c.model))
    with ledger.database.read() as connection:
        found = dict.fromkeys(map(str, connection.scalars(models)), DEFAULT)
        owned = connection.execute(sa.select(schema.owned)).mappings().all()
    return found | {row["endpoint"]: row["namespace"] for row in owned}


def contents(ledger: Ledger, host: Recording) -> CallersSnapshot:
    """Read every key that is not revoked, every namespace and what each owns; numbered 0.

    Args:
        ledger: where they are.
        host: what this host records where nobody has said otherwise.
    """
    with ledger.database.read() as connection:
        table = schema.keys
        good = sa.select(table).where(table.c.revoked_at == 0)
        keys = connection.execute(good).mappings().all()
        namespaces = connection.execute(sa.select(schema.namespaces)).mappings().all()
        owned = connection.execute(sa.select(schema.owned)).mappings().all()
    return CallersSnapshot(
        number=0,
        keys={
            row["id"]: KeyEntry(
                secret=row["secret"],
                namespace=row["namespace"],
                scopes=list(row["scopes"]),
                user=row["user"],
                tenant=row["tenant"],
                expires=row["expires"],
                requests=row["requests"],
                tokens=row["tokens"],
            )
            for row in keys
        },
        namespaces={row["name"]: _entry(said_in(row).over(host)) for row in namespaces},
        owners={row["endpoint"]: row["namespace"] for row in owned},
    )


def _entry(recording: Recording) -> NamespaceEntry:
    return NamespaceEntry(
        capture=recording.capture.value,
        sample=recording.sample,
        strict=recording.strict,
        when_full=recording.when_full.value,
        days=recording.days,
    )
