"""What is amiss with one gateway, for operators: each thing, and why. It names places on this host.

Whoever asks the gateway's own socket hears it, and the agent asks several times a second.
"""

from collections.abc import Iterator

from serving.gateway.callers import Callers
from serving.gateway.pool import Pool
from serving.gateway.recording import CallRecorder
from serving.gateway.table import Table

ROOM = "make room on that disk, or see what is wrong with it: the gateway goes on by itself"


def amiss(table: Table, pool: Pool, recorder: CallRecorder, callers: Callers) -> dict[str, str]:
    """Give everything that is amiss now, each with why and what to do about it."""
    found = dict[str, str]()
    if recorder.trouble:
        found["it refuses every call"] = f"{recorder.trouble} ({ROOM})"
    if callers.trouble:
        found["it lets nobody in"] = callers.trouble
    found |= recorder.unsealed()
    for name, one in table.endpoints.items():
        if one.tripped:
            found[f"it has cut off the canary of {name}"] = one.tripped
    return found | dict(_unasked(table, pool))


def _unasked(table: Table, pool: Pool) -> Iterator[tuple[str, str]]:
    """Replicas that it cannot ask, though there are some."""
    refs = {arm.digest: arm.ref for one in table.endpoints.values() for arm in one.route.variants}
    for digest, mine in pool.standing().items():
        for one in mine:
            if not one.ready and one.trouble:
                what = f"it cannot ask replica {one.number} of {refs.get(digest, digest)}"
                yield what, f"{one.trouble} (see the replica's log)"
