"""A release: one attempt to carry a candidate to production, and what was said of it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from release.policy import Policy
from release.routes import Guard, Route, Serving
from release.variants import Candidate, Variant


class Phase(StrEnum):
    """Where a release stands. The last four are closed."""

    PREPARING = "preparing"
    """Variants are built, evaluated and judged."""

    AWAITING_APPROVAL = "awaiting-approval"
    WARMING = "warming"
    CANARY = "canary"
    BAKING = "baking"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    RESTORED = "restored"
    ROLLED_BACK = "rolled-back"

    @property
    def closed(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self in CLOSED


CLOSED = frozenset({Phase.PROMOTED, Phase.REJECTED, Phase.RESTORED, Phase.ROLLED_BACK})

WATCHED = frozenset({Phase.CANARY, Phase.BAKING})
"""Phases in which live traffic is evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the verdict fell on: the variant to roll out, and the evidence it rests on."""

    variant: Variant
    report: str
    """Digest of the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What the ledger holds of one release."""

    id: str
    candidate: Candidate
    requester: str
    """Proven identity."""

    policy: Policy
    suite: str
    """Folder of the evaluation suite, as it was found when the release opened."""

    opened_at: float
    """Seconds since the epoch, as every time here."""

    stable: Variant | None = None
    """Champion when the release opened, which is put back; never read off live traffic."""

    stable_policy: str = ""
    """Text of the policy that guarded the champion when the release opened."""

    phase: Phase = Phase.PREPARING
    verdict: str = ""
    """Decision of the offline gates once they were judged: pass, inconclusive or fail."""

    chosen: Chosen | None = None
    step: int = 0
    since: float | None = None
    """When the present phase or step began to count; None until every gateway confirmed it."""

    waiting_for: str = ""
    """What must happen next, for people: `approval`, `soak`, …; empty once closed."""

    not_before: float = 0.0
    """Earliest moment at which looking again makes sense."""

    reason: str = ""
    """Sentence on how it stands or ended."""

    closed_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a release's history. Append-only."""

    kind: str
    """Such as `opened`, `built`, `judged`, `approved`, `step`, `promoted`, `restored`."""

    at: float
    actor: str
    """Proven identity, or `slipway` where nobody asked."""

    sentence: str
    data: Mapping[str, Any] = field(default_factory=dict)
    release: str = ""
    """Release id; empty for events of a model that belong to none."""

    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A proven person's answer, for exactly this variant, report and policy."""

    release: str
    who: str
    role: str
    granted: bool
    why: str
    at: float
    until: float
    variant: str
    """Content digest."""

    report: str
    """Digest of the report."""

    policy: str
    """Digest of the policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What one model's endpoint is meant to serve: one row, moved by compare-and-swap."""

    model: str
    generation: int = 0
    """Rises by one with each change of arms or share."""

    champion: Variant | None = None
    canary: Variant | None = None
    canary_percent: float = 0.0
    shadow_percent: float = 0.0
    lease_until: float = 0.0
    previous: Variant | None = None
    """Former champion, kept warm for a rollback."""

    policy_text: str = ""
    """Policy of the release that moved it last; gives gateways their guard, agents `[serving]`."""

    def at_rest(self) -> Self:
        """Give the row with neither a share nor a shadow for whatever is canary."""
        return replace(self, canary_percent=0.0, shadow_percent=0.0, lease_until=0.0)

    def gives(self, now: float) -> str:
        """Say for people what the canary gets at `now` (seconds since the epoch)."""
        held = now < self.lease_until
        if held and self.shadow_percent:
            return f"copies of {self.shadow_percent:g} %"
        return f"{self.canary_percent if held else 0.0:g} %"

    def route(self) -> Route:
        """Give the image that gateways hold of this row."""
        policy = Policy.frozen(self.policy_text) if self.policy_text else None
        return Route(
            endpoint=self.model,
            generation=self.generation,
            stable=self.champion,
            canary=self.canary,
            canary_percent=self.canary_percent,
            shadow_percent=self.shadow_percent,
            lease_until=self.lease_until,
            warm=() if self.previous is None else (self.previous,),
            guard=policy.live.guard if policy else Guard(),
            serving=policy.serving if policy else Serving(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStatus:
    """What one gateway really serves of one endpoint."""

    gateway: str
    endpoint: str
    generation: int
    lapsed: bool = False
    """The canary's lease ran out at this generation: the champion has all the traffic."""

    tripped: str = ""
    """Why this gateway took the canary's share away by itself, if it did."""

    at: float = 0.0
    """When it was last heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStatus:
    """What one replica says of itself."""

    agent: str
    endpoint: str
    digest: str
    """Content digest of the variant it serves."""

    ready: bool
    message: str = ""
    """Why it is not ready, or that it died and how often."""

    pid: int = 0
    memory_bytes: int = 0
    restarts: int = 0
    at: float = 0.0
    number: int = 1
    """Which of the replicas of its variant on this host."""
