"""What a rollout needs is what its guards will ask for, no more and no less."""

from dataclasses import replace

import pytest

from evaluation.live import judge_live
from evaluation.needs import MOST, fewest, needs
from release.evidence import Tally
from release.gates import Decision
from release.plan import Plan, Step
from release.policy import Live

LIVE = Live(worse_by=0.05, harm_budget=0.06)
PLAN = Plan(
    steps=(
        Step(share=5, soak_seconds=2, least_requests=15),
        Step(share=25, soak_seconds=2, least_requests=40),
        Step(share=50),
        Step(share=100, least_requests=20),
    )
)

QUARTER = Step(share=25)


def decisions(canary: int, *, champion: int, next_share: float, live: Live = LIVE) -> set[Decision]:
    findings = judge_live(
        Tally(requests=champion), Tally(requests=canary), live, next_share=next_share
    )
    return {one.decision for one in findings}


@pytest.mark.parametrize("budget", [0.001, 0.01, 0.06, 0.2])
@pytest.mark.parametrize("share", [25, 100])
def test_one_request_less_would_not_be_enough(budget: float, share: float) -> None:
    live = replace(LIVE, harm_budget=budget)
    found = fewest(Tally(), Tally(), live, step=Step(share=10), next_share=share)
    assert found is not None
    assert found > 0
    enough = decisions(found, champion=9 * found, next_share=share, live=live)
    short = decisions(found - 1, champion=9 * found, next_share=share, live=live)
    assert (enough, short) == ({Decision.PASS}, {Decision.INCONCLUSIVE})


def test_more_than_enough_does_not_raise_what_is_needed() -> None:
    needed = fewest(Tally(), Tally(), LIVE, step=Step(share=50), next_share=100)
    seen, beside = Tally(requests=900), Tally(requests=900)
    assert fewest(seen, beside, LIVE, step=Step(share=50), next_share=100) == needed


def test_the_rule_of_thumb_holds() -> None:
    """The quickstart's: some `7 / harm_budget × share / 100` requests."""
    for budget in (0.01, 0.06):
        live = replace(LIVE, harm_budget=budget)
        found = fewest(Tally(), Tally(), live, step=Step(share=50), next_share=100)
        assert found == pytest.approx(7 / budget, rel=0.25)


def test_a_share_within_the_budget_needs_nothing() -> None:
    assert fewest(Tally(), Tally(), LIVE, step=Step(share=1), next_share=5) == 0


def test_what_no_traffic_can_prove_is_absent() -> None:
    live = replace(LIVE, harm_budget=1e-12)
    assert fewest(Tally(), Tally(), live, step=Step(share=50), next_share=100) is None
    assert MOST >= 10**9
    assert {one.requests for one in needs(PLAN, live)} == {None}


def test_evidence_adds_up_over_the_steps() -> None:
    found = needs(PLAN, LIVE)
    assert [one.share for one in found] == [5, 25, 50, 100]
    assert [one.next_share for one in found] == [25, 50, 100, 100]
    assert [one.evidence for one in found] == [24, 55, 119, 119]
    # 24 more than the first step's sample; the second's own sample is more than it lacks.
    assert [one.requests for one in found] == [24, 40, 55, 20]


def test_copies_are_evidence_that_costs_no_client_anything() -> None:
    shadow = Step(shadow=50, least_requests=30)
    found = needs(replace(PLAN, steps=(Step(shadow=10), shadow, *PLAN.steps)), LIVE)
    assert [one.step.name for one in found][:3] == [
        "10 % in the shadow",
        "50 % in the shadow",
        "5 %",
    ]
    # A wider shadow costs nothing; what comes after it does, and finds what the shadow has given.
    assert [one.evidence for one in found][:2] == [0, 0]
    assert found[2].evidence == 24
    assert (found[1].requests, found[2].requests) == (30, 15)
    # Beside each copy of few the champion answers many, and what it failed before weighs less.
    failing = Tally(requests=400, failures=40)
    few, all_ = (
        fewest(Tally(requests=40, failures=6), failing, LIVE, step=Step(shadow=one), next_share=50)
        for one in (1, 100)
    )
    assert few is not None and all_ is not None and few > all_
    half = fewest(Tally(requests=40, failures=6), failing, LIVE, step=Step(share=50), next_share=50)
    assert all_ == half, "one beside each, as where each answers half"


def test_failures_so_far_ask_for_more_requests_to_come() -> None:
    champion = Tally(requests=1_000, failures=2)
    clean = fewest(Tally(requests=40), champion, LIVE, step=QUARTER, next_share=50)
    ill = fewest(
        Tally(requests=40, failures=2, slow=1), champion, LIVE, step=QUARTER, next_share=50
    )
    assert clean is not None
    assert ill is not None
    assert 40 < clean < ill
    worse = fewest(Tally(requests=40, failures=4), champion, LIVE, step=QUARTER, next_share=50)
    assert worse is not None
    assert worse > ill
