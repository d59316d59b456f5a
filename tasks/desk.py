"""What people do at the ledger: open a release, say yes or no, call it back.

Everything here is one transaction on the ledger and needs neither Prefect nor MLflow, with one
exception: to open a release is to look at its candidate first, and that lies in the registry.
"""

from pathlib import Path
from uuid import uuid4

from infra.identity import Identity
from infra.ledger import Change
from release.errors import Conflict, Invalid, Refused
from release.moves import restore, rolled_back
from release.reading import LONGEST
from release.releases import Approval, Desired, Event, Phase, Release
from release.training import Lineage
from serving.variants.intake import parent_digest
from tasks.inspection import Inspected, Request, inspect
from tasks.trainings import Asked, lineage_of, record
from tasks.wiring import House

REQUESTERS = frozenset({"requester", "release-manager", "admin"})
MANAGERS = frozenset({"release-manager", "admin"})

START_SECONDS = 60.0
"""How long a flow run may take to begin; until then nobody else takes its release up."""

OWNER_SECONDS = 20.0
"""How long a claim on a model's row lasts; a controller that died is replaced after this."""


def open_release(house: House, request: Request, requester: Identity) -> Release:
    """Check everything that can be checked at once, then open a release.

    Raises:
        Refused: the identity may not ask for a release.
        NotFound: there is no such model, version, policy or suite.
        Invalid: the policy or suite breaks a rule, or does not fit the candidate.
        Unsafe: the candidate holds a file that may not be loaded.
        Conflict: the model has an open release, or this version is in production already.
    """
    _need(requester, REQUESTERS, "open a release")
    found = inspect(house, request)
    if found.obstacles:
        raise found.obstacles[0]
    candidate, desired = found.candidate, found.desired
    assert found.suite is not None  # noqa: S101 - what has no suite has an obstacle
    now = house.clock()
    release = Release(
        id=f"{candidate.model}-{candidate.version}-{uuid4().hex[:6]}",
        candidate=candidate,
        requester=requester.human,
        policy=found.policy,
        suite=str(found.where),
        opened_at=now,
        stable=desired.champion,
        stable_policy=desired.policy_text,
        waiting_for="evaluation",
        not_before=now + START_SECONDS,
        reason="just opened",
    )
    champion = desired.champion.ref if desired.champion else "nothing"
    lineage = _lineage(house, found)
    origin = f", trained by {lineage.training}" if lineage else ""
    event = Event(
        kind="opened",
        at=now,
        actor=requester.name,
        sentence=f"{requester.name} asks to release {candidate.ref}{origin}; "
        f"{champion} is in production",
        data={"policy": found.policy.digest, "suite": found.suite.digest}
        | ({"lineage": lineage.as_json()} if lineage else {}),
        release=release.id,
        model=candidate.model,
    )
    house.ledger.open_release(release, event)
    return release


def _lineage(house: House, found: Inspected) -> Lineage | None:
    """Give where a candidate comes from, if these are the very files that the training gave."""
    lineage = lineage_of(house, found.candidate)
    if lineage is None or found.source is None:
        return None
    return lineage if lineage.content == parent_digest(found.source) else None


def ask_training(
    house: House,
    model: str,
    who: Identity,
    file: Path | None,
    *,
    release: bool,
    training_id: str = "",
) -> Asked:
    """Check what can be checked at once, then write down that somebody asks for a training.

    Args:
        house: of this process.
        model: registered name; its first version may be yet to come.
        who: proven identity.
        file: of the training; None means the model's own under the home folder.
        release: whether the version is to be released at once, in the same name.
        training_id: of it; one that is known is found again.

    Raises:
        Refused: the identity may not ask.
        NotFound: a file, the data or the parent is not there.
        Invalid: the name or the training breaks a rule.
    """
    _need(who, REQUESTERS, "ask for a training")
    return record(house, model, who, file, release=release, training_id=training_id)


def answer(house: House, release_id: str, who: Identity, *, granted: bool, why: str) -> Approval:
    """Record a proven person's yes or no, for exactly what is waiting.

    Raises:
        Refused: the identity may not answer: wrong role, a machine, or its own release.
        Conflict: the release waits for no approval, or this person has answered it.
    """
    release = house.ledger.release(release_id)
    _check_reason(why)
    rule = release.policy.approval
    _need(who, frozenset(rule.roles), "answer this release")
    if who.machine:
        raise Refused(f"{who.name} is a machine; only a person may approve.")
    if granted and who.human == release.requester:
        raise Refused(f"{who.name} asked for {release.id} and may not approve it.", "ask another")
    if release.phase is not Phase.AWAITING_APPROVAL or release.chosen is None:
        stands = f"{release.id} waits for no approval: it is {release.phase}."
        raise Conflict(stands, "see slipway status")
    now = house.clock()
    approval = Approval(
        release=release.id,
        who=who.human,
        role=who.role,
        granted=granted,
        why=why,
        at=now,
        until=now + 3600 * rule.valid_hours,
        variant=release.chosen.variant.digest,
        report=release.chosen.report,
        policy=release.policy.digest,
    )
    said = "approves" if granted else "rejects"
    event = Event(
        kind="approved" if granted else "rejection",
        at=now,
        actor=who.name,
        sentence=f"{who.name} {said} {release.chosen.variant.ref}: {why or 'no reason given'}",
        data={"variant": approval.variant, "report": approval.report, "policy": approval.policy},
        release=release.id,
        model=release.candidate.model,
    )
    house.ledger.approve(approval, event)
    return approval


def roll_back(house: House, model: str, who: Identity, why: str) -> str:
    """Lead a model back: out of its open release, else to its previous champion.

    Needs no analysis and one person. Whoever held the model's row is fenced off.

    Returns:
        A sentence on what has all the traffic now.

    Raises:
        Refused: the identity may not roll back.
        Conflict: there is nothing to go back to.
    """
    _need(who, MANAGERS, "roll back")
    _check_reason(why)
    now = house.clock()
    # The claim comes first: from here on the controller that held it can change nothing, so what
    # is read below stays true until it is written.
    claim = house.ledger.claim(model, house.owner, OWNER_SECONDS, now, force=True)
    try:
        desired = house.ledger.desired(model)
        opened = house.ledger.releases(model, open_only=True)
        if opened:
            change = _back_out(opened[0], desired, who, why, now)
        else:
            change = _back_over(desired, who, why, now)
        house.ledger.commit(claim, change, now)
    finally:
        house.ledger.yield_claim(claim)
    return change.events[-1].sentence


def _back_out(release: Release, desired: Desired, who: Identity, why: str, now: float) -> Change:
    because = f"{who.name} rolled back: {why or 'no reason given'}"
    tick = restore(release, desired, now, because, actor=who.name, phase=Phase.ROLLED_BACK)
    return Change(
        release=tick.release,
        desired=tick.desired,
        expected=desired.generation,
        events=tick.events,
    )


def _back_over(desired: Desired, who: Identity, why: str, now: float) -> Change:
    back = rolled_back(desired)
    left = desired.champion.ref if desired.champion else "nothing"
    to = back.champion.ref if back.champion else "nothing"
    event = Event(
        kind="rolled-back",
        at=now,
        actor=who.name,
        sentence=f"{who.name} rolled back {left} ({why or 'no reason given'}); "
        f"{to} has all the traffic",
        data={"left": desired.champion.digest if desired.champion else ""},
        model=desired.model,
    )
    return Change(desired=back, expected=desired.generation, events=(event,))


def _check_reason(why: str) -> None:
    """Refuse a reason that would not stay on its line, wherever it is shown."""
    if len(why) > LONGEST or not why.isprintable():
        raise Invalid(
            f"A reason must be one line of at most {LONGEST} characters, not {why!r:.80}.",
            "leave out line ends and control characters",
        )


def _need(who: Identity, roles: frozenset[str], what: str) -> None:
    if who.role not in roles:
        raise Refused(
            f"{who.name} is {who.role} and may not {what}.",
            f"it takes the role {' or '.join(sorted(roles))}",
        )
