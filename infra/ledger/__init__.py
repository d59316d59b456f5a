"""The ledger: what is desired, what happened, who agreed. The truth of which all else is an image.

database ← rows ← history, desired (with folding), observed, anchors, hosts ← Ledger
migrate, migrations: how a database gets its schema
"""

from typing import Self

from infra.ledger.anchors import Anchors
from infra.ledger.database import Database
from infra.ledger.desired import Change, Claim, Desires
from infra.ledger.history import History, one_at_a_time
from infra.ledger.hosts import Hosts
from infra.ledger.migrate import upgrade
from infra.ledger.observed import Observed

__all__ = ["Change", "Claim", "Ledger", "one_at_a_time"]


class Ledger(History, Desires, Observed, Anchors, Hosts):
    """Every verb of the ledger. Safe to use from several threads and processes.

    Foreign errors are translated: `Unavailable` where the database does not answer.
    """

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a ledger, and bring its database to today's schema if need be.

        Args:
            url: such as `sqlite:////home/me/.slipway/ledger.db` or `postgresql://host/slipway`.

        Raises:
            Invalid: the URL names no ledger.
            Conflict: a newer Slipway has migrated it.
            Unavailable: the database does not answer.
        """
        database = Database(url)
        try:
            upgrade(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        """Close every connection."""
        self.database.close()
