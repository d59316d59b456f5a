"""Move a release as far as it can go now: read the ledger, look outside, decide, record.

No part of this keeps anything in memory between two ticks. Each tick is one transaction, fenced by
the claim on the model's row and by the row's generation; killed anywhere and run again, the result
is the same.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from evaluation.live import judge_live
from infra.failpoints import failpoint
from infra.ledger import Change, Claim
from release.controller import tick
from release.errors import Conflict
from release.evidence import Cursor, Tally, Window
from release.gates import Decision, Verdict
from release.moves import Seen, Tick
from release.releases import WATCHED, Desired, Event, GatewayStatus, Phase, Release
from release.variants import Variant
from serving.failures import usual_failure
from serving.windows import read_windows
from tasks.desk import OWNER_SECONDS
from tasks.wiring import House

T = TypeVar("T")

FRESH_SECONDS = 10.0
"""A status older than this says nothing about now."""

_Evidence = Mapping[str, Mapping[int, Tally]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What was seen, and the part of the journal that it rests on."""

    seen: Seen
    windows: tuple[Window, ...]
    cursors: tuple[Cursor, ...]


def advance(house: House, release_id: str) -> Release:
    """Tick until something must be waited for.

    Returns:
        The release as it stands: closed, or with `waiting_for` and `not_before`.

    Raises:
        Conflict: another controller holds the model's row.
        Fenced: another controller took it meanwhile; look again later.
    """
    release = house.ledger.release(release_id)
    if release.phase.closed:
        return release
    model = release.candidate.model
    claim = house.ledger.claim(model, house.owner, OWNER_SECONDS, house.clock())
    try:
        while _tick(house, claim, release_id):
            pass
    finally:
        house.ledger.yield_claim(claim)
    return house.ledger.release(release_id)


def _tick(house: House, claim: Claim, release_id: str) -> bool:
    """Make one move, if there is one; say whether there may be another."""
    now = house.clock()
    release = house.ledger.release(release_id)
    desired = house.ledger.desired(claim.model)
    look = _look(house, release, desired, now)
    moved = tick(release, desired, look.seen, now)
    house.ledger.commit(claim, _change(moved, desired, look, release), now)
    failpoint(f"held-{moved.release.phase}")
    if moved.release.phase.closed:
        return False
    stood = (release.phase, release.step, release.since)
    return stood != (moved.release.phase, moved.release.step, moved.release.since)


def _change(moved: Tick, before: Desired, look: _Look, release: Release) -> Change:
    watched = release.phase in WATCHED
    return Change(
        release=moved.release,
        desired=moved.desired,
        expected=before.generation,
        events=moved.events,
        # What the journal says of the time before the canary is read past, not counted.
        windows=look.windows if watched else (),
        cursors=look.cursors,
        step=release.step if release.phase is Phase.CANARY else len(release.policy.plan.steps),
        bump=moved.bump,
    )


def _look(house: House, release: Release, desired: Desired, now: float) -> _Look:
    model = release.candidate.model
    windows, cursors = _read(house, release)
    evidence = house.ledger.evidence(release.id) if release.phase in WATCHED else {}
    live = _judge(release, desired, evidence, windows) if release.phase in WATCHED else None
    gateways = house.ledger.gateways(model)
    present = [one for one in gateways if one.generation == desired.generation]
    ready, trouble = _readiness(house, release, now)
    tripped = next((one.tripped for one in present if one.tripped), "")
    plainly_bad = tripped or (live is not None and live.decision is Decision.FAIL)
    seen = Seen(
        approvals=tuple(house.ledger.approvals(release.id)),
        ready=ready,
        trouble=trouble,
        confirmed=_confirmed(gateways, desired, release.policy.live.lease_seconds, now),
        lapsed=any(one.lapsed for one in present),
        tripped=tripped,
        requests=_requests(release, evidence, windows),
        live=live.decision if live else Decision.INCONCLUSIVE,
        findings=live.findings if live else (),
        failing=_failing(house, release) if plainly_bad else "",
    )
    return _Look(seen=seen, windows=tuple(windows), cursors=tuple(cursors))


def _failing(house: House, release: Release) -> str:
    if release.chosen is None:
        return ""
    return usual_failure(house.settings.journal, release.chosen.variant.digest)


def _read(house: House, release: Release) -> tuple[list[Window], list[Cursor]]:
    """Read on in the journal; what lies before the canary is passed over to its end, unseen."""
    journal, cursors = house.settings.journal, dict(house.ledger.cursors(release.candidate.model))
    windows, moved = read_windows(journal, cursors)
    if release.phase in WATCHED:
        return windows, moved
    passed: list[Cursor] = moved
    while moved:
        cursors |= {one.gateway: one for one in moved}
        _, moved = read_windows(journal, cursors)
        passed = [*passed, *moved]
    return [], list({one.gateway: one for one in passed}.values())


def _judge(
    release: Release, desired: Desired, evidence: _Evidence, windows: list[Window]
) -> Verdict | None:
    """Put all evidence since the rollout began before the guards."""
    if release.chosen is None:
        return None
    canary = _total(release.chosen.variant, evidence, windows, desired.model)
    stable = _total(release.stable, evidence, windows, desired.model)
    share = release.policy.plan.next_share(release.step)
    findings = judge_live(stable, canary, release.policy.live, next_share=share)
    return Verdict(subject=release.chosen.variant.ref, findings=findings)


def _total(
    variant: Variant | None, evidence: _Evidence, windows: list[Window], model: str
) -> Tally:
    if variant is None:
        return Tally()
    total = sum(evidence.get(variant.digest, {}).values(), Tally())
    return sum((_of(window, model, variant.digest) for window in windows), total)


def _of(window: Window, model: str, digest: str) -> Tally:
    return window.tallies.get(model, {}).get(digest, Tally())


def _requests(release: Release, evidence: _Evidence, windows: list[Window]) -> int:
    if release.chosen is None:
        return 0
    digest = release.chosen.variant.digest
    folded = evidence.get(digest, {}).get(release.step, Tally())
    fresh = (_of(window, release.candidate.model, digest) for window in windows)
    return sum(fresh, folded).requests


def _confirmed(
    gateways: list[GatewayStatus], desired: Desired, lease_seconds: float, now: float
) -> bool:
    """Whether every gateway serves the present generation.

    One that cannot be heard is counted out only once the longest lease it can know has run out:
    until then it may still be giving traffic to the canary.
    """
    heard = [one for one in gateways if now - one.at <= max(FRESH_SECONDS, lease_seconds)]
    return bool(heard) and all(one.generation >= desired.generation for one in heard)


def _readiness(house: House, release: Release, now: float) -> tuple[bool, str]:
    """Whether every replica of the chosen variant is ready, and what one that is not says."""
    if release.chosen is None:
        return False, ""
    digest = release.chosen.variant.digest
    mine = [
        one
        for one in house.ledger.replicas(release.candidate.model)
        if one.digest == digest and now - one.at <= FRESH_SECONDS
    ]
    trouble = next((one.message for one in mine if not one.ready and one.message), "")
    return bool(mine) and all(one.ready for one in mine), trouble


def outwait(house: House, work: Callable[[], T]) -> T:
    """Do what needs the model's row, and outwait a process that died while it held it.

    Raises:
        Conflict: whoever holds it is alive.
    """
    deadline = house.clock() + OWNER_SECONDS + 5
    while True:
        try:
            return work()
        except Conflict:
            if house.clock() > deadline:
                raise
            time.sleep(0.5)


def settle(house: House, release: Release, reason: str) -> Release:
    """Close a release that cannot be prepared, with the sentence why.

    Raises:
        Fenced: another controller moved it meanwhile.
    """
    return conclude(house, replace(release, verdict=str(Decision.FAIL), reason=reason))


def conclude(house: House, judged: Release, *events: Event) -> Release:
    """Write an offline verdict down, and let the controller draw its first conclusion at once.

    Args:
        house: of this process.
        judged: the release with its verdict, reason and choice.
        events: to be told with it.

    Returns:
        The release as it stands; untouched where its preparation had ended before.

    Raises:
        Fenced: another controller moved it meanwhile.
    """
    model, now = judged.candidate.model, house.clock()
    claim = house.ledger.claim(model, house.owner, OWNER_SECONDS, now)
    try:
        # Read under the claim: whoever slept before it may hold a release of long ago.
        standing = house.ledger.release(judged.id)
        if standing.phase is not Phase.PREPARING:
            return standing
        verdict, reason, chosen = judged.verdict, judged.reason, judged.chosen
        said = replace(standing, verdict=verdict, reason=reason, chosen=chosen)
        desired = house.ledger.desired(model)
        moved = tick(said, desired, Seen(), now)
        change = Change(
            release=moved.release,
            desired=moved.desired,
            expected=desired.generation,
            events=(*events, *moved.events),
        )
        house.ledger.commit(claim, change, now)
    finally:
        house.ledger.yield_claim(claim)
    return house.ledger.release(judged.id)
