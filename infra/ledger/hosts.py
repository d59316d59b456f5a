"""Which home has which host's name: gateways and what is recorded of them go by that."""

import sqlalchemy as sa

from infra.ledger import schema
from infra.ledger.database import Database, put

GONE_SECONDS = 86_400.0
"""A home that was not heard of for so long keeps its name from no other."""


class Hosts:
    """Part of the ledger that keeps two homes from one name."""

    database: Database

    def take_name(self, name: str, home: str, now: float) -> float | None:
        """Take a host's name for a home, unless another has it.

        The home is what counts, and not the machine: it may be moved, and come back after a crash.

        Args:
            name: of the host.
            home: what tells the home from every other.
            now: seconds since the epoch.

        Returns:
            None where this home has the name; else when the other one was heard of last.
        """
        hosts, gateways = schema.hosts, schema.gateways
        of_name = sa.select(sa.func.max(gateways.c.at)).where(gateways.c.agent == name)
        with self.database.write() as connection:
            known = connection.execute(sa.select(hosts).where(hosts.c.name == name)).first()
            if known is not None and known.home != home:
                heard = max(float(known.heard_at), connection.scalar(of_name) or 0.0)
                if now - heard < GONE_SECONDS:
                    return heard
            put(connection, hosts, {"name": name}, {"home": home, "heard_at": now})
        return None
