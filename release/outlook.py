"""What a release would do and cost, told beforehand. Pure.

What is not known is absent, never 0; it is named among `unknown` instead.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from release.gates import Gate
from release.plan import Plan, Step
from release.policy import ApprovalRule, Policy
from release.releases import Event, Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """One variant that the policy wants."""

    recipe: str
    """Label of the recipe."""

    state: Literal["stored", "to build", "unknown"]
    """Unknown where an obstacle keeps it from being looked for."""

    seconds: float | None = None
    """How long building took the last time; None where nobody knows, or it need not be built."""

    like: str = ""
    """Whose building took so long, such as `docs-router@1`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The suite that would judge."""

    name: str
    digest: str
    test: int
    """Texts that are measured."""

    calibration: int
    """Texts for quantization."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOutlook:
    """One gate."""

    gate: str
    applies: bool
    """Whether it would be asked; a comparison needs a champion."""

    floor: bool
    """Whether it is the platform's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """Whose approval is wanted, and who could give it."""

    count: int
    roles: tuple[str, ...]
    valid_hours: float
    requester: str
    """Who would ask, and so may not approve; empty where nobody is proven."""

    people: tuple[str, ...]
    """Active people with such a role, without the requester."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one step waits for before the canary widens, where nothing goes wrong."""

    share: float
    """Percent of the traffic that it answers."""

    soak_seconds: float
    least_requests: int
    next_share: float
    """Percent that it would get next."""

    evidence: int | None
    """Canary requests since the rollout began; None where no traffic would be enough."""

    requests: int | None
    """Canary requests of this step, at least."""

    shadow: float = 0.0
    """Percent of the traffic that it gets copies of, instead of a share."""

    @property
    def step(self) -> Step:
        """The step itself."""
        return Step(
            share=self.share,
            shadow=self.shadow,
            soak_seconds=self.soak_seconds,
            least_requests=self.least_requests,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """All that can be told of a release before it is opened."""

    candidate: str
    at: float
    """When it was looked at, in seconds since the epoch."""

    policy: str
    """Digest."""

    champion: str | None
    """What would be measured beside it and replaced; None before a model's first release."""

    trial: Trial | None
    makings: tuple[Making, ...]
    gates: tuple[GateOutlook, ...]
    consent: Consent
    measuring_seconds: float | None
    needs: tuple[Need, ...]
    """One a step; none for a first release, which goes straight into production."""

    rate: float | None
    """Requests a second that the endpoint has of late; None where none are known of."""

    paces: tuple[float | None, ...]
    """Least seconds of each step, at that rate."""

    bake_seconds: float
    obstacles: tuple[str, ...]
    """Each refuses the release."""

    warnings: tuple[str, ...]
    """Each is likely to disappoint."""

    @property
    def least_seconds(self) -> float | None:
        """Shortest time from asking to the end, of what is known; None where nothing is."""
        parts = (*(one.seconds for one in self.makings), self.measuring_seconds, *self.paces)
        known = [part for part in parts if part is not None]
        return sum(known) + self.bake_seconds if known else None

    @property
    def unknown(self) -> tuple[str, ...]:
        """What takes time besides, nobody knows how much."""
        builds = [f"building {m.recipe}" for m in self.makings if _is_untimed(m)]
        measuring = ["measuring"] if self.measuring_seconds is None else []
        traffic = ["the traffic that the steps wait for"] if self.needs and not self.rate else []
        approval = ["the approval"] if self.consent.count else []
        return (*builds, *measuring, *approval, "loading the replica", *traffic)

    def as_json(self) -> dict[str, Any]:
        """Give plain JSON data."""
        derived = {"least_seconds": self.least_seconds, "unknown": list(self.unknown)}
        return asdict(self) | derived


def _is_untimed(making: Making) -> bool:
    return making.state != "stored" and making.seconds is None


def forecast(recipe: str, model: str, built: Iterable[Event]) -> tuple[float | None, str]:
    """Say how long a recipe took the last time: for this model if it is known, else for any.

    Args:
        recipe: label.
        model: whose building would be the best guide.
        built: events of the kind `built`, the oldest first.

    Returns:
        Seconds and whose they are; None and nothing where it was never timed.
    """
    timed = [one for one in built if _timed(one, recipe)]
    mine = [one for one in timed if one.model == model]
    if not timed:
        return None, ""
    last = (mine or timed)[-1]
    variant = last.data["variant"]
    return float(last.data["seconds"]), f"{variant['model']}@{variant['version']}"


def _timed(event: Event, recipe: str) -> bool:
    told = event.data
    seconds, variant = told.get("seconds"), told.get("variant") or {}
    return seconds is not None and not told.get("cached") and variant.get("recipe") == recipe


def measuring(release: Release, events: Sequence[Event], suite: str, subjects: int) -> float | None:
    """Say how long measuring would take, by what an earlier release needed on the same texts.

    Args:
        release: the earlier one.
        events: its events, the oldest first.
        suite: digest of the suite.
        subjects: how many variants are to be measured, the champion among them.
    """
    measured = [one for one in events if one.kind == "measured" and one.data.get("suite") == suite]
    built = [one.at for one in events if one.kind == "built"]
    if not measured or not built:
        return None
    spent = measured[0].at - max(built)
    return max(0.0, spent) * subjects / (len(measured) + (release.stable is not None))


def gates_asked(policy: Policy, *, champion: bool) -> tuple[GateOutlook, ...]:
    """List the gates, with whose they are and whether they would be asked."""

    def asked(gate: Gate, *, floor: bool) -> GateOutlook:
        applies = champion or gate.max_regression is None
        return GateOutlook(gate=gate.name, applies=applies, floor=floor)

    floor = policy.floor_gates
    own = policy.gates[: len(policy.gates) - len(floor)]
    return (
        *(asked(gate, floor=False) for gate in own),
        *(asked(gate, floor=True) for gate in floor),
    )


def consent(rule: ApprovalRule, people: Iterable[tuple[str, str]], requester: str) -> Consent:
    """Say who could approve.

    Args:
        rule: of the policy.
        people: names and roles of active identities that are no machines.
        requester: who would ask; empty where nobody is proven.
    """
    able = tuple(name for name, role in people if role in rule.roles and name != requester)
    return Consent(
        count=rule.count,
        roles=rule.roles,
        valid_hours=rule.valid_hours,
        requester=requester,
        people=able,
    )


def unapprovable(asked: Consent) -> str:
    """Say why nobody could approve; empty where somebody could."""
    if len(asked.people) >= asked.count:
        return ""
    able = ", ".join(asked.people) or "nobody"
    beside = f" besides {asked.requester}, who asks" if asked.requester else ""
    return (
        f"Nobody could approve it: {asked.count} of {' or '.join(asked.roles)} must, "
        f"and there is {able}{beside}. (slipway identity add NAME --role {asked.roles[0]})"
    )


def paced(needs: Iterable[Need], rate: float | None) -> tuple[float | None, ...]:
    """Say how long each step takes at least.

    Args:
        needs: of each step, in order.
        rate: requests a second of the endpoint; None counts the soaks alone.

    Returns:
        Seconds; None for a step that no traffic would carry on.
    """
    seconds: list[float | None] = []
    seen = 0.0
    for need in needs:
        if rate is None or need.evidence is None:
            seconds.append(need.soak_seconds if need.evidence is not None else None)
            continue
        canary = rate * need.step.seen / 100
        wanted = max(need.least_requests, need.evidence - seen)
        spent = max(need.soak_seconds, wanted / canary)
        seen += spent * canary
        seconds.append(spent)
    return tuple(seconds)


def doubts(outlook: Outlook, plan: Plan) -> tuple[str, ...]:
    """Name what is likely to disappoint although nothing refuses it."""
    return (*_impatient(outlook, plan), *_untraveled(outlook, plan), *_alone(outlook.consent))


def _impatient(outlook: Outlook, plan: Plan) -> Iterable[str]:
    limit = f"patience_seconds {plan.patience_seconds:g} puts it back before"
    for need, seconds in zip(outlook.needs, outlook.paces, strict=True):
        if seconds is None:
            yield f"No traffic would be evidence enough to leave {need.step.name}: {limit}."
        elif seconds > plan.patience_seconds:
            at = f" at {outlook.rate:.3g} requests/s" if outlook.rate else ""
            yield f"The step at {need.step.name} takes {seconds:.0f} s{at}: {limit}."


def _untraveled(outlook: Outlook, plan: Plan) -> Iterable[str]:
    if outlook.needs and outlook.rate is None:
        patience = f"after {plan.patience_seconds:g} s"
        yield f"No request was seen of late; a canary without traffic goes back {patience}."


def _alone(asked: Consent) -> Iterable[str]:
    if asked.count and not asked.requester and len(asked.people) == asked.count:
        yield f"It takes a yes of {', '.join(asked.people)}, so somebody else must ask."
