"""Asks an arm, and says what came of it."""

from release.variants import Variant
from serving.gateway.calling import Call
from serving.gateway.pool import Pool
from serving.gateway.refusing import Failure
from serving.replica.messages import Answer
from serving.replica.wire import ReplicaGone, ReplicaProblem

GONE = "gone"
"""Kind of the failure of an arm whose replicas are away."""


async def ask(
    pool: Pool, arm: Variant, call: Call, seconds: float, *, wait: bool = False
) -> Answer | Failure:
    """Ask any replica of an arm that can answer.

    Args:
        pool: connections to replicas.
        arm: which is asked.
        call: what.
        seconds: for how long, at most.
        wait: whether one may be waited for, where none can answer now.
    """
    try:
        return await pool.infer(arm.digest, call.texts, seconds, wait=wait, ids=call.ids)
    except ReplicaGone as error:
        return Failure(kind=GONE, message=error.message)
    except ReplicaProblem as error:
        return Failure(
            kind=error.kind,
            message=error.message,
            wait=error.wait_seconds,
            predicted=error.predicted,
        )
    except TimeoutError:
        said = f"{arm.ref} did not answer within {seconds * 1e3:.0f} ms."
        return Failure(kind="timeout", message=said)
