"""What a release does in the world, on virtual time."""

from dataclasses import replace

import pytest

from release.releases import Desired, Phase
from tests.fakes.nouns import POLICY, SHADOWED, a_release, an_approval, judged
from tests.scenarios.world import BEAT, CANARY, STABLE, Gateway, World


def approved(**changes: object) -> World:
    world = World(**changes)  # type: ignore[arg-type]
    world.approvals = (an_approval(world.release),)
    return world


def in_canary(**changes: object) -> World:
    """A world whose canary has had its first share for a second."""
    world = approved(**changes).pass_time(1)
    assert world.release.phase is Phase.CANARY
    return world


def test_a_good_canary_widens_step_by_step_and_is_promoted() -> None:
    world = approved().pass_time(120)
    assert world.release.phase is Phase.PROMOTED
    assert world.told == [
        "approval-wanted",
        "warming",
        "step",
        "step",
        "step",
        "promoted",
        "done",
    ]
    assert (world.desired.champion, world.desired.previous) == (CANARY, STABLE)
    steps = {event.data["share"]: event.at for event in world.events if event.kind == "step"}
    for share, start in steps.items():
        # Half a second for the gateways to take it.
        found = world.share_of(CANARY, since=start + 0.5, until=start + 10)
        assert found == pytest.approx(share / 100, abs=0.06)
    assert world.unanswered == 0


def test_without_an_approval_nothing_moves() -> None:
    world = World().pass_time(600)
    assert world.release.phase is Phase.AWAITING_APPROVAL
    assert world.release.waiting_for == "approval"
    assert world.share_of(CANARY, since=0) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"who": "rita"},
        {"role": "viewer"},
        {"until": 0.1},
        {"variant": "sha256:other"},
        {"report": "sha256:other"},
        {"policy": "sha256:other"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_approval_counts_only_for_exactly_what_is_served(change: dict[str, object]) -> None:
    world = World()
    given = replace(an_approval(world.release), **change)  # type: ignore[arg-type]
    world.approvals = (given,)
    assert world.pass_time(60).release.phase is Phase.AWAITING_APPROVAL


def test_one_persons_two_answers_are_one_approval() -> None:
    text = POLICY.replace("count = 1", "count = 2")
    world = World(release=judged(a_release(stable=STABLE, text=text)))
    one = an_approval(world.release)
    world.approvals = (one, replace(one, at=1.0))
    assert world.pass_time(10).release.phase is Phase.AWAITING_APPROVAL
    world.approvals = (one, an_approval(world.release, who="ada"))
    assert world.pass_time(2).release.phase is Phase.CANARY


def test_a_no_closes_the_release() -> None:
    world = World()
    world.approvals = (an_approval(world.release, granted=False),)
    assert world.pass_time(1).release.phase is Phase.REJECTED
    assert world.release.reason == "max said no: looks right"
    assert world.desired.canary is None


def test_a_bad_canary_is_put_back_and_the_clients_do_not_notice() -> None:
    world = in_canary(fails=lambda arm: 0.5 if arm == CANARY else 0.0).pass_time(30)
    assert world.release.phase is Phase.RESTORED
    assert "failure rate" in world.release.reason
    assert (world.desired.champion, world.desired.canary) == (STABLE, None)
    closed = world.release.closed_at
    assert closed is not None
    assert closed < 30
    assert world.share_of(CANARY, since=closed + 0.5) == 0
    assert world.unanswered == 0


def in_shadow(**changes: object) -> World:
    """A world whose canary has been shown copies for a second, and answers nobody."""
    release = judged(a_release(stable=STABLE, text=SHADOWED))
    world = approved(release=release, **changes).pass_time(1)
    assert world.desired.shadow_percent == 50
    return world


def test_a_good_canary_is_seen_in_the_shadow_first_and_needs_less_time_then() -> None:
    world = in_shadow().pass_time(120)
    assert world.release.phase is Phase.PROMOTED
    first, second, *_ = [event for event in world.events if event.kind == "step"]
    assert (first.data["share"], first.data["shadow"]) == (0.0, 50.0)
    assert (second.data["share"], second.data["shadow"]) == (5.0, 0.0)
    assert "copies of 50 % of the traffic" in first.sentence
    assert "good at 50 % in the shadow" in second.sentence
    # Nobody met it before its first share, though it had seen half of what came.
    assert world.share_of(CANARY, since=0, until=second.at) == 0
    assert len(world.copied) == pytest.approx(40 * 0.5 * (second.at - first.at), rel=0.15)
    assert max(world.copied) <= second.at + BEAT
    assert world.unanswered == 0


def test_no_client_ever_meets_a_canary_that_is_bad_in_the_shadow() -> None:
    world = in_shadow()
    world.fails = lambda arm: 0.5 if arm == CANARY else 0.0
    world.pass_time(30)
    assert world.release.phase is Phase.RESTORED
    assert "failure rate" in world.release.reason
    assert (world.desired.champion, world.desired.canary) == (STABLE, None)
    assert world.share_of(CANARY, since=0) == 0 and world.unanswered == 0


def test_a_gateway_stops_showing_copies_to_what_fails_each_time() -> None:
    world = in_shadow(rate=400.0)
    world.controller_alive = False
    world.fails = lambda arm: float(arm == CANARY)
    world.pass_time(8)
    seen = len(world.copied)
    assert all(gateway.tripped for gateway in world.gateways)
    assert len(world.pass_time(3).copied) == seen
    world.controller_alive = True
    assert world.pass_time(1).release.phase is Phase.RESTORED


def test_copies_end_with_the_lease_as_a_share_does() -> None:
    world = in_shadow()
    world.controller_alive = False
    died = world.now
    world.pass_time(60)
    lease = world.release.policy.live.lease_seconds
    assert died + lease - 2 * BEAT <= max(world.copied) <= died + lease + 2 * BEAT
    world.controller_alive = True
    assert "lease-lapsed" in world.pass_time(2).told
    assert max(world.copied) > world.now - 1


def test_a_canary_that_fails_every_time_is_cut_off_by_the_gateway_itself() -> None:
    world = in_canary(rate=400.0)
    world.controller_alive = False
    world.fails = lambda arm: float(arm == CANARY)
    world.pass_time(8)
    cut = world.now
    assert all(gateway.tripped for gateway in world.gateways)
    world.pass_time(3)
    assert world.share_of(CANARY, since=cut) == 0
    world.controller_alive = True
    world.pass_time(1)
    assert world.release.phase is Phase.RESTORED
    assert "a gateway cut it off: 25 failures in a row" in world.release.reason


def test_when_the_controller_dies_the_lease_gives_everything_back() -> None:
    world = in_canary()
    world.controller_alive = False
    died = world.now
    world.pass_time(60)
    assert world.share_of(CANARY, since=died, until=died + 10) > 0
    assert world.share_of(CANARY, since=died + 15.5) == 0


def test_a_controller_that_comes_back_starts_the_step_again() -> None:
    world = in_canary()
    world.controller_alive = False
    world.pass_time(60)
    world.controller_alive = True
    world.pass_time(1)
    assert "lease-lapsed" in world.told
    assert world.release.phase is Phase.CANARY
    assert world.release.step == 0
    assert world.pass_time(120).release.phase is Phase.PROMOTED


def test_a_gateway_that_sleeps_through_a_restart_never_goes_back_to_the_canary() -> None:
    world = in_canary()
    asleep = world.gateways[1]
    asleep.reachable = False
    world.fails = lambda arm: 0.9 if arm == CANARY else 0.0
    world.pass_time(40)
    assert world.release.phase is Phase.RESTORED
    assert asleep.lapsed
    assert asleep.choose("anybody", world.now) == STABLE


def test_a_share_counts_only_once_every_gateway_serves_it() -> None:
    world = approved()
    world.gateways[1].take(world.desired.route())
    world.gateways[1].reachable = False
    world.pass_time(100)
    assert world.release.phase is Phase.CANARY
    assert (world.release.step, world.release.since) == (0, None)
    assert world.release.waiting_for == "gateways"


def test_no_traffic_holds_and_then_goes_back_but_never_passes() -> None:
    world = in_canary(rate=0.0)
    world.pass_time(200)
    assert (world.release.phase, world.release.step) == (Phase.CANARY, 0)
    assert "0 of 20 requests" in world.release.reason
    world.pass_time(200)
    assert world.release.phase is Phase.RESTORED
    assert "not proven good within 300 s" in world.release.reason


def test_a_variant_that_does_not_become_ready_is_given_up() -> None:
    world = approved(ready=False).pass_time(59)
    assert world.release.phase is Phase.WARMING
    assert world.pass_time(5).release.phase is Phase.RESTORED
    assert "it does not start" in world.release.reason
    assert world.share_of(STABLE, since=0.5) == 1


def test_a_promoted_variant_that_turns_bad_while_baking_is_put_back() -> None:
    world = approved()
    while world.release.phase is not Phase.BAKING:
        world.pass_time(0.25)
    world.fails = lambda arm: 0.6 if arm == CANARY else 0.0
    world.pass_time(30)
    ended = world.release
    assert ended.phase is Phase.RESTORED
    assert ended.reason.count("while baking") == 1
    assert world.desired.champion == STABLE


def test_a_first_release_needs_no_comparison() -> None:
    world = World(
        release=judged(a_release(stable=None)),
        desired=Desired(model="docs-router"),
        gateways=[Gateway()],
    )
    world.approvals = (an_approval(world.release),)
    world.pass_time(5)
    assert world.release.phase is Phase.PROMOTED
    assert (world.desired.champion, world.desired.previous) == (CANARY, None)


@pytest.mark.parametrize("seconds", [0.25, 1, 12, 30, 40])
def test_a_person_leads_back_from_any_point(seconds: float) -> None:
    world = approved().pass_time(seconds)
    assert not world.release.phase.closed
    world.roll_back("max")
    at = world.now
    world.pass_time(20)
    assert world.release.phase is Phase.ROLLED_BACK
    assert world.desired.champion == STABLE
    assert world.share_of(STABLE, since=at + 0.5) == 1
    assert world.events[-1].actor == "max"


def test_a_policy_of_a_failed_release_does_not_stay_with_the_champion() -> None:
    strict = POLICY + "deadline_ms = 2\ncanary_ms = 1\n"
    release = replace(judged(a_release(stable=STABLE, text=strict)), stable_policy=POLICY)
    world = World(release=release)
    world.approvals = (an_approval(world.release),)
    world.fails = lambda arm: 0.9 if arm == CANARY else 0.0
    world.pass_time(30)
    assert world.release.phase is Phase.RESTORED
    assert world.desired.route().guard.deadline_ms == 10_000
