"""A world on virtual time around the pure controller: gateways, traffic and a clock of ours.

Nothing in it waits. `pass_time` moves the clock a beat at a time; at each beat the gateways take
the row that is desired (unless they are cut off), answer the traffic as their routes say, and the
controller ticks, if it is alive.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from evaluation.live import judge_live
from release.controller import tick
from release.evidence import Tally
from release.gates import Decision, Verdict
from release.moves import Seen, Tick, restore
from release.releases import Approval, Desired, Event, Phase, Release
from release.routes import Route
from release.variants import Variant
from tests.fakes.nouns import a_release, judged, variant

BEAT = 0.25

STABLE = variant(1)
CANARY = variant(2)


@dataclass(slots=True)
class Gateway:
    """What a gateway promises: it latches a lapsed lease, and trips when the canary fails."""

    route: Route | None = None
    lapsed: bool = False
    tripped: str = ""
    reachable: bool = True
    in_a_row: int = 0

    def take(self, route: Route) -> None:
        if self.route is None or route.generation > self.route.generation:
            self.lapsed, self.tripped, self.in_a_row = False, "", 0
        self.route = route

    def choose(self, key: str, now: float) -> Variant | None:
        route = self.route
        if route is None:
            return None
        if (route.canary_percent or route.shadow_percent) and now >= route.lease_until:
            self.lapsed = True
        return route.stable if self.lapsed or self.tripped else route.choose(key, now)

    def learn(self, *, failed: bool) -> None:
        assert self.route is not None
        self.in_a_row = self.in_a_row + 1 if failed else 0
        if self.in_a_row >= self.route.guard.trip_after:
            self.tripped = f"{self.in_a_row} failures in a row"


@dataclass(slots=True)
class World:
    """One model, its release, and everything around them."""

    release: Release = field(default_factory=lambda: judged(a_release(stable=STABLE)))
    desired: Desired = field(
        default_factory=lambda: Desired(model="docs-router", generation=1, champion=STABLE)
    )
    gateways: list[Gateway] = field(default_factory=lambda: [Gateway(), Gateway()])
    now: float = 0.0
    rate: float = 40.0
    """Requests a second, over all gateways."""

    fails: Callable[[Variant], float] = lambda arm: 0.0
    """Probability that an arm fails a request."""

    ready: bool = True
    controller_alive: bool = True
    approvals: tuple[Approval, ...] = ()
    events: list[Event] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)
    in_step: int = 0
    unanswered: int = 0
    served: list[tuple[float, Variant | None]] = field(default_factory=list)
    copied: list[float] = field(default_factory=list)
    """When the canary was shown a copy."""

    chance: random.Random = field(default_factory=lambda: random.Random(11))

    def pass_time(self, seconds: float) -> "World":
        for _ in range(round(seconds / BEAT)):
            self.now += BEAT
            for gateway in self.gateways:
                if gateway.reachable:
                    gateway.take(self.desired.route())
            for _ in range(round(self.rate * BEAT)):
                self._request()
            if self.controller_alive:
                while self._tick():
                    pass
        return self

    def _request(self) -> None:
        gateway = self.chance.choice(self.gateways)
        arm = gateway.choose(f"caller-{self.chance.random()}", self.now)
        self.served.append((self.now, arm))
        if arm is None:
            self.unanswered += 1
            return
        failed = self.chance.random() < self.fails(arm)
        canary = gateway.route is not None and arm == gateway.route.canary
        if canary:
            gateway.learn(failed=failed)
        added = Tally(requests=1, failures=int(failed), rescued=int(failed and canary))
        self.tallies[arm.digest] = self.tallies.get(arm.digest, Tally()) + added
        self.in_step += arm == CANARY
        # A canary's failure is answered by the champion; only the champion's own is noticed.
        self.unanswered += failed and not canary
        self._copy(gateway)

    def _copy(self, gateway: Gateway) -> None:
        """Show the canary a copy of what the champion has just answered."""
        route = gateway.route
        if route is None or gateway.lapsed or gateway.tripped:
            return
        if route.canary is None or self.chance.random() * 100 >= route.shadow_percent:
            return
        failed = self.chance.random() < self.fails(route.canary)
        gateway.learn(failed=failed)
        added = Tally(requests=1, failures=int(failed))
        self.tallies[CANARY.digest] = self.tallies.get(CANARY.digest, Tally()) + added
        self.in_step += 1
        self.copied.append(self.now)

    def _tick(self) -> bool:
        before = (self.release.phase, self.release.step, self.release.since)
        moved = tick(self.release, self.desired, self._see(), self.now)
        self._commit(moved)
        return before != (self.release.phase, self.release.step, self.release.since)

    def _commit(self, moved: Tick) -> None:
        if moved.release.step != self.release.step or moved.release.phase != self.release.phase:
            self.in_step = 0
        same = replace(moved.desired, lease_until=0.0) == replace(self.desired, lease_until=0.0)
        rises = moved.bump or not same
        self.desired = replace(moved.desired, generation=self.desired.generation + rises)
        self.release = moved.release
        self.events += moved.events

    def _see(self) -> Seen:
        confirmed = all(
            gateway.route is not None and gateway.route.generation >= self.desired.generation
            for gateway in self.gateways
        )
        stable, canary = (self.tallies.get(arm.digest, Tally()) for arm in (STABLE, CANARY))
        share = self.release.policy.plan.next_share(self.release.step)
        live = judge_live(stable, canary, self.release.policy.live, next_share=share)
        watched = self.release.phase in {Phase.CANARY, Phase.BAKING}
        verdict = Verdict(subject="canary", findings=live if watched else ())
        return Seen(
            approvals=self.approvals,
            ready=self.ready,
            trouble="" if self.ready else "it does not start",
            confirmed=confirmed,
            lapsed=any(gateway.lapsed for gateway in self.gateways),
            tripped=next((one.tripped for one in self.gateways if one.tripped), ""),
            requests=self.in_step,
            live=verdict.decision if watched else Decision.INCONCLUSIVE,
            findings=verdict.findings,
        )

    def roll_back(self, who: str) -> None:
        self._commit(
            restore(
                self.release,
                self.desired,
                self.now,
                f"{who} rolled back",
                actor=who,
                phase=Phase.ROLLED_BACK,
            )
        )

    def share_of(self, arm: Variant, *, since: float, until: float = float("inf")) -> float:
        """Part of the requests between two moments that an arm had to answer."""
        met = [one for at, one in self.served if since <= at < until]
        return sum(one == arm for one in met) / len(met) if met else 0.0

    @property
    def told(self) -> list[str]:
        return [event.kind for event in self.events]
