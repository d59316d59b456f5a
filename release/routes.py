"""Who answers a request: endpoints, arms and the lease on what a canary gets. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Self

from release.errors import Invalid
from release.variants import Variant

BUCKETS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """When a gateway takes the canary's share away by itself, and how long an answer may take."""

    trip_after: int = 25
    """Consecutive canary failures, on one gateway."""

    deadline_ms: int = 10_000
    """Longest time for one answer, the champion's retry included, unless the request asks less."""

    canary_ms: int = 2_000
    """Longest time that a canary may take before the champion is asked instead."""

    slow_ms: float = 1_000
    """An answer that took longer counts as slow."""

    def __post_init__(self) -> None:
        for name in ("trip_after", "deadline_ms", "canary_ms", "slow_ms"):
            value = getattr(self, name)
            if not 1 <= value <= 3_600_000:
                raise Invalid(f"{name} must be within 1..3600000, not {value!r}.", "see [live]")
        if 2 * self.canary_ms > self.deadline_ms:
            raise Invalid(
                f"canary_ms {self.canary_ms} leaves the champion too little of deadline_ms "
                f"{self.deadline_ms}.",
                "at most half of it",
            )


TUNES = ("throughput", "latency")
"""What a replica may be set up for."""

MOST_REPLICAS = 64
"""Of one variant, on one host."""

_MOST_MEMORY_MB = 2**24
_MOST_THREADS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How many processes serve each variant of an endpoint on one host, and with what."""

    replicas: int = 1
    """Processes of each variant."""

    tune: str = "throughput"
    """What a replica chooses its runners and threads for: `throughput` or `latency`."""

    threads: int = 0
    """Compute threads of a replica; 0 takes the host's `SLIPWAY_THREADS`."""

    memory_mb: int = 0
    """A replica that has grown beyond it is replaced; 0 sets no limit."""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("replicas", 1, MOST_REPLICAS),
            ("threads", 0, _MOST_THREADS),
            ("memory_mb", 0, _MOST_MEMORY_MB),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise Invalid(f"[serving] {name} must be within {least}..{most}, not {value!r}.")
        if self.tune not in TUNES:
            raise Invalid(
                f"[serving] tune cannot be {self.tune!r:.40}.", f"it is {' or '.join(TUNES)}"
            )


class Rule(StrEnum):
    """By which rule a request met the arm that it met."""

    PINNED = "pinned"
    """The client named a version."""

    SOLE = "sole"
    """No canary has a share."""

    SPLIT = "split"
    """The canary's share divided them; a line adds by what: `split:user`, `:call`, `:header`."""

    HURRIED = "hurried"
    """The client leaves too little time to try a canary first."""

    LAPSED = "lapsed"
    """The lease on the canary's share has run out."""

    TRIPPED = "tripped"
    """The gateway has cut the canary off."""

    SHADOW = "shadow"
    """It is a copy of a request that the champion has answered, and no client's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How one endpoint's requests are divided between a stable and a canary variant."""

    endpoint: str
    generation: int
    """Rises with each change; the answer to `what do you serve` is this number."""

    stable: Variant | None = None
    canary: Variant | None = None
    canary_percent: float = 0.0
    """Share of the requests while the lease holds, 0..100."""

    shadow_percent: float = 0.0
    """Share of the requests that the canary gets copies of while the lease holds, 0..100."""

    lease_until: float = 0.0
    """Seconds since the epoch at which what the canary gets ends unless it is renewed."""

    warm: tuple[Variant, ...] = ()
    """Variants that must be ready without traffic: a canary before its first step, the previous
    champion."""

    guard: Guard = field(default_factory=Guard)
    serving: Serving = field(default_factory=Serving)

    def __post_init__(self) -> None:
        for name, percent in (("share", self.canary_percent), ("shadow", self.shadow_percent)):
            if not 0 <= percent <= 100:
                said = f"Canary {name} must be within 0..100, not {percent!r}."
                raise Invalid(said, "see [plan] in the policy")
            if percent and self.canary is None:
                raise Invalid(f"{self.endpoint} gives {percent} % to no canary.")

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Every variant that needs a replica, each once, the stable one first."""
        arms = [arm for arm in (self.stable, self.canary, *self.warm) if arm is not None]
        return tuple({arm.digest: arm for arm in arms}.values())

    def share(self, now: float) -> float:
        """Percent of the requests that the canary gets at `now` (seconds since the epoch)."""
        return self.canary_percent if now < self.lease_until else 0.0

    def choose(self, key: str, now: float) -> Variant | None:
        """Choose the arm for a request.

        The same key meets the same arm as long as the share does not fall. Keys are salted with
        the canary, so that it is not always the same callers who meet a canary first.

        Args:
            key: the caller's key, else the request id.
            now: seconds since the epoch.
        """
        return self.divide(key) if self.share(now) else self.stable

    def divide(self, key: str) -> Variant | None:
        """Choose the arm for a key by the canary's share alone, whatever became of its lease."""
        canary, percent = self.canary, self.canary_percent
        if canary is None:
            return self.stable
        salted = f"{self.endpoint}\0{canary.digest}\0{key}".encode(errors="surrogatepass")
        bucket = int.from_bytes(blake2b(salted, digest_size=8).digest()) % BUCKETS
        return canary if bucket < percent * BUCKETS / 100 else self.stable

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `Routes.as_json` gave for one endpoint."""
        plain = dict(data)
        for arm in ("stable", "canary"):
            plain[arm] = Variant.from_json(plain[arm]) if plain[arm] else None
        plain["warm"] = tuple(Variant.from_json(arm) for arm in plain["warm"])
        plain["guard"] = Guard(**plain["guard"])
        # What was written before there was such a table has none.
        plain["serving"] = Serving(**plain.get("serving", {}))
        return cls(**plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """A numbered snapshot of every endpoint of one host."""

    number: int
    """Rises with each snapshot that an agent hands out."""

    routes: Mapping[str, Route]

    def as_json(self) -> dict[str, Any]:
        """Give plain JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_json` gave."""
        routes = {name: Route.from_json(route) for name, route in data["routes"].items()}
        return cls(number=data["number"], routes=routes)
