"""What can be asked here: a replica of it is ready, and its calls can be recorded."""

from release.callers import Action
from release.variants import Variant
from serving.gateway.describing import index_entry
from serving.gateway.passes import Pass
from serving.gateway.pool import Pool
from serving.gateway.recording import CallRecorder
from serving.gateway.table import Table

NO_REPLICA = "no replica of it is ready"
UNRECORDED = "its calls cannot be recorded"
"""Why is for operators, in `slipway status`: it names places on this host."""


class Readiness:
    """Says of one gateway what can be asked.

    Args:
        table: what is served.
        pool: connections to replicas.
        recorder: knows whose calls it cannot record.
    """

    def __init__(self, table: Table, pool: Pool, recorder: CallRecorder) -> None:
        self._table = table
        self._pool = pool
        self._recorder = recorder

    def hindrance(self, endpoint: str, arm: Variant) -> str:
        """Say why an arm of an endpoint cannot be asked; empty where it can."""
        if self._pool.status(arm.digest) is None:
            return NO_REPLICA
        return UNRECORDED if self._recorder.hindrance(endpoint) else ""

    def all(self) -> bool:
        """Say whether calls are answered: every champion can be asked, and calls be recorded.

        Where those of some endpoints alone cannot be, others are served: each says of itself.
        """
        # An endpoint whose first release is still warming makes nobody else unready.
        stable = {
            name: arm
            for name, one in self._table.endpoints.items()
            if (arm := one.route.stable) is not None
        }
        found = [self.hindrance(name, arm) for name, arm in stable.items()]
        if self._recorder.trouble or NO_REPLICA in found:
            return False
        return not found or not all(found)

    def listed(self, who: Pass, *, only_ready: bool) -> list[dict[str, str]]:
        """List every version that is kept ready or should be, as a repository's index.

        What a caller may not see is not there for it.
        """
        return [
            index_entry(name, arm, why)
            for name, endpoint in sorted(self._table.endpoints.items())
            for arm in sorted(endpoint.route.variants, key=lambda one: one.version)
            if who.may(name, Action.READ)
            and (not (why := self.hindrance(name, arm)) or not only_ready)
        ]
