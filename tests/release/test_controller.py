"""The controller against its invariants, whatever it sees."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release.controller import tick
from release.gates import Decision, Finding
from release.moves import Seen, restore
from release.releases import Desired, Phase, Release
from tests.fakes.nouns import CLOSED, POLICY, SHADOWED, a_release, an_approval, judged, variant

STABLE = variant(1)
OPEN = [phase for phase in Phase if not phase.closed]


def desired_in(release: Release) -> Desired:
    """The row as it is while a release is in its phase."""
    row = Desired(model="docs-router", generation=5, champion=release.stable)
    if release.phase in {Phase.WARMING, Phase.CANARY}:
        row = replace(row, canary=variant(2), lease_until=1e9)
        if release.phase is Phase.WARMING:
            return row
        step = release.policy.plan.steps[release.step]
        return replace(row, canary_percent=step.share, shadow_percent=step.shadow)
    if release.phase is Phase.BAKING:
        return replace(row, champion=variant(2), previous=release.stable)
    return row


@st.composite
def releases(draw: st.DrawFn) -> Release:
    phase = draw(st.sampled_from(OPEN))
    text = draw(st.sampled_from([POLICY, SHADOWED]))
    release = a_release(stable=draw(st.sampled_from([STABLE, None])), text=text)
    if phase is not Phase.PREPARING or draw(st.booleans()):
        release = judged(release)
    since = draw(st.none() | st.floats(0, 1e4))
    step = draw(st.integers(0, len(release.policy.plan.steps) - 1)) if phase is Phase.CANARY else 0
    if phase is Phase.CANARY:
        release = replace(release, stable=STABLE)
    return replace(release, phase=phase, step=step, since=since)


@st.composite
def sights(draw: st.DrawFn) -> Seen:
    live = draw(st.sampled_from(list(Decision)))
    return Seen(
        ready=draw(st.booleans()),
        confirmed=draw(st.booleans()),
        lapsed=draw(st.booleans()),
        tripped=draw(st.sampled_from(["", "25 failures in a row"])),
        requests=draw(st.integers(0, 1000)),
        live=live,
        findings=(Finding(gate="failure rate", decision=live, reason="as drawn"),),
        approvals=draw(st.sampled_from([(), (an_approval(judged(a_release())),)])),
    )


times = st.floats(0, 2e4)


@given(releases(), sights(), times)
def test_traffic_only_ever_goes_to_the_champion_or_the_approved_variant(
    release: Release, seen: Seen, now: float
) -> None:
    moved = tick(release, desired_in(release), seen, now)
    allowed = {one.digest for one in (release.stable, variant(2)) if one}
    arms = (moved.desired.champion, moved.desired.canary, moved.desired.previous)
    assert {arm.digest for arm in arms if arm} <= allowed


@given(releases(), sights(), times)
def test_bad_evidence_never_leaves_a_canary_with_traffic(
    release: Release, seen: Seen, now: float
) -> None:
    bad = replace(seen, live=Decision.FAIL)
    moved = tick(release, desired_in(release), bad, now)
    if release.phase is Phase.CANARY:
        assert moved.desired.canary is None
        assert moved.desired.champion == release.stable
        assert moved.release.phase is Phase.RESTORED


@given(releases(), sights(), times)
def test_a_share_never_widens_without_good_evidence(
    release: Release, seen: Seen, now: float
) -> None:
    before = desired_in(release)
    moved = tick(release, before, seen, now)
    widened = moved.desired.canary_percent > before.canary_percent
    if release.phase is Phase.CANARY and widened:
        assert seen.live is Decision.PASS
        assert release.since is not None


@given(releases(), sights(), times)
def test_what_is_in_the_shadow_answers_nobody(release: Release, seen: Seen, now: float) -> None:
    moved = tick(release, desired_in(release), seen, now)
    shadow, share = moved.desired.shadow_percent, moved.desired.canary_percent
    assert not (shadow and share)
    assert not shadow or moved.release.phase is Phase.CANARY
    step = moved.release.policy.plan.steps[moved.release.step]
    if moved.release.phase is Phase.CANARY:
        assert (shadow, share) == (step.shadow, step.share)


@given(releases(), sights(), times)
def test_the_same_tick_gives_the_same_answer(release: Release, seen: Seen, now: float) -> None:
    once = tick(release, desired_in(release), seen, now)
    assert once == tick(release, desired_in(release), seen, now)


@given(releases(), sights(), times)
def test_what_moved_is_told_and_what_stayed_is_not(
    release: Release, seen: Seen, now: float
) -> None:
    moved = tick(release, desired_in(release), seen, now)
    if moved.release.phase is not release.phase or moved.release.step != release.step:
        assert len(moved.events) == 1
        assert moved.events[0].sentence == moved.release.reason
    if moved.release.phase.closed:
        assert moved.release.closed_at == now
        assert moved.desired.canary is None


@given(releases(), times)
def test_from_every_point_restore_leads_back(release: Release, now: float) -> None:
    back = restore(release, desired_in(release), now, "somebody said so", actor="max")
    assert back.desired.champion == release.stable
    assert (back.desired.canary, back.desired.canary_percent) == (None, 0.0)
    assert back.desired.shadow_percent == 0
    assert back.events[0].actor == "max"


@pytest.mark.parametrize("phase", CLOSED)
def test_a_closed_release_stays_as_it_is(phase: Phase) -> None:
    release = replace(judged(a_release()), phase=phase)
    row = Desired(model="docs-router", generation=3, champion=STABLE)
    moved = tick(release, row, Seen(ready=True, confirmed=True, live=Decision.FAIL), 1e6)
    assert (moved.release, moved.desired, moved.events) == (release, row, ())
