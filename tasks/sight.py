"""What the ledger alone tells of a release, at one moment: for whoever looks on. No Prefect.

The registry is asked only about a name that the ledger does not know.
"""

from dataclasses import dataclass, replace

from evaluation.live import judge_live
from evaluation.needs import fewest
from release.controller import valid_approvals
from release.errors import NotFound, SlipwayError
from release.evidence import Tally
from release.gates import Finding
from release.releases import (
    Approval,
    Desired,
    Event,
    GatewayStatus,
    Phase,
    Release,
    ReplicaStatus,
)
from release.variants import Variant
from tasks.wiring import House

LATE_SECONDS = 25.0
"""A release that is overdue by more has nobody who carries it, unless somebody holds its row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A release and all that the ledger says around it."""

    at: float
    """When it was read, in seconds since the epoch."""

    release: Release
    desired: Desired
    approvals: tuple[Approval, ...]
    canary: Tally
    """Counts of the released variant since the rollout began."""

    champion: Tally
    """Counts of the champion in the same time."""

    findings: tuple[Finding, ...]
    """What the guards say of them; empty where there is no live traffic to judge."""

    wanted: int | None
    """Canary requests with which it may widen, if all to come are good; None where none are waited
    for, or no number would do."""

    gateways: tuple[GatewayStatus, ...]
    replicas: tuple[ReplicaStatus, ...]
    events: tuple[Event, ...]
    """The release's own, the oldest first."""

    answered: bool
    """Whether people have said all that was asked of them: enough yes, or one no."""

    carried: bool
    """Whether somebody works on it, or need not yet."""


def find(house: House, name: str, *, newest: bool = False) -> Release:
    """Find a release by its id, or by its model where that has one open.

    Args:
        house: of this process.
        name: release id or model.
        newest: whether a model that has none open gives its newest.

    Raises:
        NotFound: there is none.
    """
    opened = house.ledger.releases(name, open_only=True)
    if opened:
        return opened[0]
    if earlier := house.ledger.releases(name):
        if newest:
            return earlier[-1]
        raise NotFound(f"{name} has no open release.", f"see slipway history {name}")
    try:
        return house.ledger.release(name)
    except NotFound as error:
        if _is_registered(house, name):
            said = f"{name} is registered, and has no release yet."
            raise NotFound(said, f"slipway release {name}") from error
        raise


def _is_registered(house: House, name: str) -> bool:
    """Whether a model has versions; where the registry does not say, none that we know of."""
    try:
        house.registry.candidate(name)
    except SlipwayError:
        return False
    return True


def see(house: House, release_id: str) -> Sight:
    """Read a release and what surrounds it.

    Raises:
        NotFound: there is no such release.
        Unavailable: the ledger does not answer.
    """
    ledger, now = house.ledger, house.clock()
    release = ledger.release(release_id)
    model = release.candidate.model
    evidence = ledger.evidence(release_id)

    def total(variant: Variant | None) -> Tally:
        return sum(evidence.get(variant.digest if variant else "", {}).values(), Tally())

    canary = total(release.chosen.variant if release.chosen else None)
    champion = total(release.stable)
    approvals = tuple(ledger.approvals(release_id))
    sight = Sight(
        at=now,
        release=release,
        desired=ledger.desired(model),
        approvals=approvals,
        canary=canary,
        champion=champion,
        findings=_findings(release, champion, canary),
        wanted=_wanted(release, champion, canary),
        gateways=tuple(ledger.gateways(model)),
        replicas=tuple(ledger.replicas(model)),
        events=tuple(event for _, event in ledger.events(release_id)),
        answered=is_answered(release, approvals, now),
        carried=True,
    )
    return replace(sight, carried=_is_carried(house, sight))


def _findings(release: Release, champion: Tally, canary: Tally) -> tuple[Finding, ...]:
    if release.stable is None or release.phase not in (Phase.CANARY, Phase.BAKING):
        return ()
    share = release.policy.plan.next_share(release.step)
    return judge_live(champion, canary, release.policy.live, next_share=share)


def _wanted(release: Release, champion: Tally, canary: Tally) -> int | None:
    if release.stable is None or release.phase is not Phase.CANARY:
        return None
    plan, live = release.policy.plan, release.policy.live
    step, widens_to = plan.steps[release.step], plan.next_share(release.step)
    return fewest(canary, champion, live, step=step, next_share=widens_to)


def is_answered(release: Release, approvals: tuple[Approval, ...], now: float) -> bool:
    """Whether people have said enough for a release to move on, or to end."""
    granted = len(valid_approvals(release, approvals, now))
    return granted >= release.policy.approval.count or not all(one.granted for one in approvals)


def _is_carried(house: House, sight: Sight) -> bool:
    release = sight.release
    asks = release.phase is Phase.AWAITING_APPROVAL
    if release.phase.closed or (asks and not sight.answered):
        return True
    # It could not move before the last answer, however long it had waited for that.
    due = max(release.not_before, *(one.at for one in sight.approvals), 0.0)
    late = sight.at - due > LATE_SECONDS
    return not late or bool(house.ledger.owner(release.candidate.model, sight.at))
