"""What this gateway serves of each endpoint right now: routes, and what it decides by itself.

Two decisions are a gateway's own, both against the canary and both until a new generation comes:
a lease that ran out stays out, and a canary that fails many times in a row is cut off.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from release.routes import Route, Rule
from release.variants import Variant

SHORTEST_FAIR_MS = 100.0
FAIR_TIMES = 5.0
"""Who leaves sooner than these, in milliseconds and times the usual, was merely in a hurry."""


@dataclass(slots=True)
class Endpoint:
    """One endpoint."""

    route: Route
    lapsed: bool = False
    tripped: str = ""
    in_flight: int = 0
    failures_in_a_row: int = 0
    usual_ms: float = 0.0
    """How long the champion's answers took of late; 0 before the first."""

    ejections: int = 0
    """Canaries that were cut off here since this endpoint is known."""

    copies: dict[str, int] = field(default_factory=dict)
    """Copies shown to canaries since this endpoint is known, by outcome."""

    lease_ends: float = 0.0
    """On the monotonic clock: a clock of the day that is set back prolongs no canary."""

    def __post_init__(self) -> None:
        self._renew(self.route)

    def _renew(self, route: Route) -> None:
        self.lease_ends = time.monotonic() + route.lease_until - time.time()

    def take(self, route: Route) -> None:
        """Follow a new route; a new generation starts with a clean slate."""
        if route.lease_until != self.route.lease_until:
            self._renew(route)
        if route.generation > self.route.generation:
            self.lapsed, self.tripped, self.failures_in_a_row = False, "", 0
        if route.generation >= self.route.generation:
            self.route = route

    def share(self) -> float:
        """Percent of the requests that the canary gets now."""
        return self.route.canary_percent if self._holds() else 0.0

    def shadow(self) -> float:
        """Percent of the requests that the canary gets copies of now."""
        return self.route.shadow_percent if self._holds() else 0.0

    def _holds(self) -> bool:
        """Whether a canary may be asked: its lease holds, and it was not cut off here."""
        given = self.route.canary_percent or self.route.shadow_percent
        if given and time.monotonic() >= self.lease_ends:
            self.lapsed = True
        return not (self.lapsed or self.tripped)

    def choose(self, key: str) -> Variant | None:
        """Choose the arm for a key; None where nothing serves."""
        return self.route.divide(key) if self.share() else self.route.stable

    def rule(self) -> Rule:
        """Say by which rule `choose` chooses now."""
        if not self.route.canary_percent:
            return Rule.SOLE
        if self.share():
            return Rule.SPLIT
        return Rule.TRIPPED if self.tripped else Rule.LAPSED

    def version(self, version: int) -> Variant | None:
        """Give the arm of a version that a client has pinned, if it is served."""
        return next((arm for arm in self.route.variants if arm.version == version), None)

    def learn(self, generation: int, *, failed: bool) -> None:
        """Note how a generation's canary did; cut it off where it plainly fails."""
        if generation != self.route.generation:
            return
        self.failures_in_a_row = self.failures_in_a_row + 1 if failed else 0
        limit = self.route.guard.trip_after
        if self.failures_in_a_row >= limit and not self.tripped:
            self.ejections += 1
            self.tripped = f"{self.failures_in_a_row} failures in a row, of {limit} at most"

    def copied(self, outcome: str) -> None:
        """Count a copy that was shown to the canary, or left out."""
        self.copies[outcome] = self.copies.get(outcome, 0) + 1

    def answered(self, ms: float) -> None:
        """Note how long an answer of the champion took, in milliseconds."""
        self.usual_ms = ms if not self.usual_ms else 0.95 * self.usual_ms + 0.05 * ms

    @property
    def fair_ms(self) -> float:
        """How long an arm may take before a client that leaves says something of it."""
        guard = self.route.guard
        usual = max(SHORTEST_FAIR_MS, FAIR_TIMES * self.usual_ms) if self.usual_ms else math.inf
        return min(guard.slow_ms, guard.canary_ms, usual)

    def as_json(self) -> dict[str, object]:
        """Say what is served, as plain data."""
        route = self.route
        return {
            "endpoint": route.endpoint,
            "generation": route.generation,
            "stable": route.stable.ref if route.stable else None,
            "canary": route.canary.ref if route.canary else None,
            "share": self.share(),
            "shadow": self.shadow(),
            "lapsed": self.lapsed,
            "tripped": self.tripped,
            "in_flight": self.in_flight,
        }


@dataclass(slots=True)
class Table:
    """Every endpoint of a gateway."""

    endpoints: dict[str, Endpoint] = field(default_factory=dict)

    def take(self, routes: Mapping[str, Route]) -> None:
        """Follow a snapshot; endpoints that it does not name are gone."""
        for name, route in routes.items():
            if known := self.endpoints.get(name):
                known.take(route)
            else:
                self.endpoints[name] = Endpoint(route)
        for name in self.endpoints.keys() - routes.keys():
            del self.endpoints[name]
