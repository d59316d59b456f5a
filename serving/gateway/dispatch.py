"""The way of one request: choose an arm, ask it, let the champion answer for a failing canary."""

import asyncio
import time
from collections.abc import Awaitable
from contextlib import suppress

from infra.calls.lines import Share
from release.routes import Rule
from release.variants import Variant
from serving.gateway.asking import GONE, ask
from serving.gateway.calling import Call, Recorder, Reply
from serving.gateway.metrics import Metrics
from serving.gateway.pool import Pool
from serving.gateway.refusing import Failure, Refusal, refusal_of
from serving.gateway.shadowing import Shadows
from serving.gateway.table import Endpoint
from serving.replica.messages import Answer, Kind

__all__ = ["Call", "Dispatcher", "Recorder", "Refusal", "Reply"]


_Outcome = Answer | Failure


class _Moved(Exception):
    """An arm's replicas are gone, and so are the routes that it was chosen by."""


class Dispatcher:
    """Answers calls over a pool of replicas, and tells the journal.

    Args:
        pool: connections to replicas.
        recorder: keeps each call's line, before the client is answered.
        metrics: counts.
    """

    def __init__(self, pool: Pool, recorder: Recorder, metrics: Metrics) -> None:
        self.pool = pool
        self.recorder = recorder
        self.metrics = metrics
        self.shadows = Shadows(pool, recorder)

    async def close(self) -> None:
        """Give up what no client waits for."""
        await self.shadows.close()

    async def answer(self, endpoint: Endpoint, call: Call) -> Reply:
        """Answer one call within its deadline.

        Raises:
            Refusal: saying why not.
        """
        endpoint.in_flight += 1
        started, owed = time.monotonic(), list[Share]()
        try:
            while True:
                way = _Way(self, endpoint, call, started, owed)
                with suppress(_Moved):
                    return await way.go()
        finally:
            endpoint.in_flight -= 1


class _Way:
    """One call under way."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        endpoint: Endpoint,
        call: Call,
        started: float,
        owed: list[Share],
    ) -> None:
        self._pool = dispatcher.pool
        self._recorder = dispatcher.recorder
        self._metrics = dispatcher.metrics
        self._shadows = dispatcher.shadows
        self._endpoint = endpoint
        self._route = endpoint.route
        self._call = call
        self._guard = endpoint.route.guard
        self._asked: Variant | None = None
        self._asked_at = started
        self._rule = ""
        self._drawn = False
        """Whether the split chose the arm: only such requests say which of two arms is better."""

        self._failed: Variant | None = None
        """The canary, once it has failed by its own fault and the champion is asked instead."""

        self._written = False
        """Whether this call has its line, or was refused because it could have none."""

        self._owed = owed
        """What must still be counted of arms that this call met before its routes moved on."""

        self._started = started
        limits = [self._guard.deadline_ms, call.deadline_ms or self._guard.deadline_ms]
        self._deadline = self._started + min(limits) / 1e3

    async def go(self) -> Reply:
        await self._recorder.admit(self._route.endpoint, self._deadline)
        arm = self._choose()
        try:
            return await self._through(arm)
        except asyncio.CancelledError:
            if not self._written:
                self._abandoned()
            raise

    async def _through(self, arm: Variant) -> Reply:
        if self._drawn and arm == self._route.canary and arm != self._route.stable:
            return await self._through_canary(arm)
        outcome = await self._ask(arm, self._left(), wait=arm == self._route.stable)
        if isinstance(outcome, Answer) and arm == self._route.stable:
            self._endpoint.answered((time.monotonic() - self._asked_at) * 1e3)
        counted = self._count(arm, outcome) if self._drawn else ()
        shown = self._drawn and arm == self._route.stable
        return await self._finish(arm, outcome, counted=counted, shown=shown)

    def _abandoned(self) -> None:
        """Note that the client would wait no longer, and against whom.

        A canary that has failed already answers for it, though the champion was being asked. Else
        it is the arm that was asked, if it has had its time: who leaves at once says nothing.
        """
        if (asked := self._asked) is None:
            return
        had = (time.monotonic() - self._asked_at) * 1e3
        late = self._drawn and had >= self._endpoint.fair_ms
        arm = self._failed or (asked if late else None)
        if arm is not None and arm == self._route.canary:
            self._endpoint.learn(self._route.generation, failed=True)
        said = Failure(kind="abandoned", message=f"the client left while {asked.ref} was asked")
        with suppress(Refusal):
            self._write(asked, said, counted=(_failure_of(arm),) if arm else ())

    def _choose(self) -> Variant:
        call = self._call
        if call.version is not None:
            self._rule = Rule.PINNED
            if arm := self._endpoint.version(call.version):
                return arm
            served = ", ".join(str(one.version) for one in self._route.variants) or "none"
            said = f"{self._route.endpoint} does not serve version {call.version}."
            raise Refusal(404, said, f"it serves {served}")
        stable, rule = self._route.stable, self._endpoint.rule()
        if stable is not None and self._left() < 2 * self._guard.canary_ms / 1e3:
            # Too little time to try a canary and still be answered by the champion. Such requests
            # are no evidence: the canary meets none of their kind.
            self._rule = Rule.HURRIED if rule is Rule.SPLIT else rule
            return stable
        self._rule = f"{rule}:{call.by}" if rule is Rule.SPLIT and call.by else rule
        if arm := self._endpoint.choose(call.key):
            self._drawn = True
            return arm
        raise Refusal(503, f"{self._route.endpoint} has no version in production yet.", retry=1)

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    async def _ask(self, arm: Variant, seconds: float, *, wait: bool = False) -> _Outcome:
        """Ask an arm: any replica of it that can answer, and wait for one where that is wanted.

        Raises:
            _Moved: it has none any more, because it has left the routes meanwhile.
        """
        self._asked, self._asked_at = arm, time.monotonic()
        outcome = await ask(self._pool, arm, self._call, seconds, wait=wait)
        if isinstance(outcome, Failure) and outcome.kind == GONE and self._has_moved():
            raise _Moved
        return outcome

    def _has_moved(self) -> bool:
        """Whether the routes have, and there is time to go by the new ones."""
        return self._endpoint.route.generation != self._route.generation and self._left() > 0

    async def _through_canary(self, canary: Variant) -> Reply:
        budget = self._guard.canary_ms / 1e3
        first = await self._ask(canary, budget)
        if isinstance(first, Answer):
            self._endpoint.learn(self._route.generation, failed=False)
            return await self._finish(canary, first, counted=self._count(canary, first))
        champion = self._route.stable
        if champion is None:
            if not first.predicted:
                self._endpoint.learn(self._route.generation, failed=first.blames)
            return await self._finish(canary, first, counted=self._count(canary, first))
        self._failed = canary if first.blames else None
        try:
            second = await self._ask(champion, self._left(), wait=True)
        except _Moved:
            self._owed += [_failure_of(one) for one in [self._failed] if one]
            raise
        return await self._rescue(canary, champion, first, second)

    async def _rescue(
        self, canary: Variant, champion: Variant, first: Failure, second: _Outcome
    ) -> Reply:
        """Let the champion's answer decide whose fault it was."""
        if isinstance(second, Failure) and first.clients_fault:
            # Nobody knows that the champion would have taken it.
            return await self._finish(champion, second, counted=self._count(champion, second))
        full = isinstance(second, Failure) and first.kind == second.kind == Kind.OVERLOADED
        if not (full or first.predicted):
            # Where both are full it is the host that is.
            self._endpoint.learn(self._route.generation, failed=True)
        rescued = isinstance(second, Answer)
        self._metrics.stood_in_for(self._route.endpoint, canary, first.kind, rescued=rescued)
        failure = Share(digest=canary.digest, requests=1, failures=1, rescued=int(rescued))
        counted = [] if first.predicted else [failure]
        if not rescued:
            counted += self._count(champion, second)
        return await self._finish(
            champion, second, counted=tuple(counted), why=first.message, rescued=rescued
        )

    def _count(self, arm: Variant, outcome: _Outcome) -> tuple[Share, ...]:
        if isinstance(outcome, Failure):
            return (_failure_of(arm),) if outcome.blames else ()
        slow = (time.monotonic() - self._started) * 1e3 > self._guard.slow_ms
        return (Share(digest=arm.digest, requests=1, slow=int(slow)),)

    async def _finish(
        self,
        arm: Variant,
        outcome: _Outcome,
        *,
        counted: tuple[Share, ...],
        why: str = "",
        rescued: bool = False,
        shown: bool = False,
    ) -> Reply:
        if (settled := self._write(arm, outcome, counted=counted, why=why)) is not None:
            await settled
        if shown:
            # Now: the client waits for nothing more, and what has no line is shown to nobody.
            self._shadows.follow(self._endpoint, self._call, outcome, self._started)
        if isinstance(outcome, Answer):
            generation = self._route.generation
            return Reply(answer=outcome, arm=arm, generation=generation, rescued=rescued)
        refusal = refusal_of(outcome)
        refusal.recorded = True
        raise refusal

    def _write(
        self, arm: Variant, outcome: _Outcome, *, counted: tuple[Share, ...], why: str = ""
    ) -> Awaitable[None] | None:
        self._written = True
        self._measure(arm, outcome)
        return self._recorder.note(
            self._call,
            self._route,
            arm,
            outcome,
            counted=(*counted, *self._owed),
            why=why,
            started=self._started,
            until=self._deadline,
            rule=self._rule,
        )

    def _measure(self, arm: Variant, outcome: _Outcome) -> None:
        name, seconds = self._route.endpoint, time.monotonic() - self._started
        self._metrics.called(self._call.caller)
        if isinstance(outcome, Answer):
            texts = len(self._call.texts or self._call.ids)
            self._metrics.answered(name, arm, outcome, texts=texts, seconds=seconds)
        else:
            failed = not outcome.clients_fault
            self._metrics.unanswered(name, arm, outcome.kind, seconds=seconds, failed=failed)


def _failure_of(arm: Variant) -> Share:
    return Share(digest=arm.digest, requests=1, failures=1)
