"""Ask a replica for whatever its task finds."""

from collections.abc import Sequence

from serving.client import ReplicaSession
from serving.replica.messages import Answer

BUDGET_MS = 60_000.0


def asked(
    session: ReplicaSession, texts: Sequence[str] = (), ids: Sequence[list[int]] = ()
) -> Answer:
    """Ask about texts or token ids, in one request."""
    assert session._connection is not None
    return session._await(session._connection.infer(list(texts), BUDGET_MS, list(ids)))
