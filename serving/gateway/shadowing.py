"""Shows canaries copies of what champions were asked: they are judged, and no client meets them.

A copy is asked for once the champion has answered: no client waits for it, pays for it or is told
of it. It has a line of its own in the journal, under the id of the request that it copies, and what
it adds to the canary's counts is evidence like any other. What of it would be a burden is left out
and counted: copies beyond what may be under way, and those that no line could be written of.
"""

import asyncio
import time

from infra.calls.lines import Share
from release.routes import Route, Rule
from release.variants import Variant
from serving.gateway.asking import ask
from serving.gateway.calling import Call, Recorder
from serving.gateway.lots import drawn
from serving.gateway.pool import Pool
from serving.gateway.refusing import Failure, Refusal
from serving.gateway.table import Endpoint
from serving.replica.messages import Answer, Kind

MOST_UNDER_WAY = 64
"""Copies of all endpoints; a canary that is slower than its champion makes no queue here."""

LEFT_OUT = "left_out"
"""Outcome of a copy that was not asked for, or has no line."""


class Shadows:
    """Asks canaries for copies.

    Args:
        pool: connections to replicas.
        recorder: keeps each copy's line.
    """

    def __init__(self, pool: Pool, recorder: Recorder) -> None:
        self._pool = pool
        self._recorder = recorder
        self._under_way: set[asyncio.Task[None]] = set()

    def follow(
        self, endpoint: Endpoint, call: Call, outcome: Answer | Failure, arrived: float
    ) -> None:
        """Copy a request that the champion has just answered, if the routes want that.

        Args:
            endpoint: whose it is.
            call: what was asked.
            arrived: monotonic moment at which that came. It is the copy's too, so that whatever
                holds for what was asked until a moment, an erasure say, holds for both.
            outcome: what the champion answered. Where that was the client's fault, or the host had
                no room, there is nothing to be learnt of the canary.
        """
        # By lot: many clients give all that they ask one id, or answer for one user.
        if not drawn(endpoint.shadow() / 100):
            return
        failure = outcome if isinstance(outcome, Failure) else None
        if failure and (not failure.blames or failure.kind == Kind.OVERLOADED):
            return
        if len(self._under_way) >= MOST_UNDER_WAY:
            endpoint.copied(LEFT_OUT)
            return
        work = self._copy(endpoint, endpoint.route, call, arrived, answered=failure is None)
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Give up what is under way: whoever ends waits for clients, not for copies.

        The recorder must still run: what a canary was asked has its line.
        """
        for one in self._under_way:
            one.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _copy(
        self, endpoint: Endpoint, route: Route, call: Call, arrived: float, *, answered: bool
    ) -> None:
        canary, seconds = route.canary, route.guard.canary_ms / 1e3
        assert canary is not None  # noqa: S101 - a route with a shadow has one
        asked, judged = time.monotonic(), True
        try:
            outcome = await ask(self._pool, canary, call, seconds)
        except asyncio.CancelledError:
            said = f"the gateway ended while {canary.ref} was shown a copy"
            outcome, judged = Failure(kind="abandoned", message=said), False
        # It may just have lost its replicas, because it goes.
        judged &= endpoint.route.generation == route.generation
        slow = (time.monotonic() - asked) * 1e3 > route.guard.slow_ms
        counted = _counted(canary, outcome, answered=answered, slow=slow) if judged else ()
        if counted:
            endpoint.learn(route.generation, failed=bool(counted[0].failures))
        try:
            settled = self._recorder.note(
                call,
                route,
                canary,
                outcome,
                counted=counted,
                why="",
                started=arrived,
                until=asked + seconds,
                rule=Rule.SHADOW,
            )
            if settled is not None:
                await settled
        except Refusal:
            endpoint.copied(LEFT_OUT)
            return
        endpoint.copied("ok" if isinstance(outcome, Answer) else outcome.kind)


def _counted(
    canary: Variant, outcome: Answer | Failure, *, answered: bool, slow: bool
) -> tuple[Share, ...]:
    """Say what a copy adds to the canary's counts.

    What the champion took and the canary did not is the canary's failure, whosever fault it calls
    it; else only what blames the canary is.
    """
    if isinstance(outcome, Answer):
        return (Share(digest=canary.digest, requests=1, slow=int(slow)),)
    if outcome.predicted or not (answered or outcome.blames):
        return ()
    return (Share(digest=canary.digest, requests=1, failures=1),)
