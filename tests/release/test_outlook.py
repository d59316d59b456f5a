from dataclasses import replace

import pytest

from release.outlook import (
    Consent,
    Making,
    Need,
    Outlook,
    consent,
    doubts,
    forecast,
    gates_asked,
    measuring,
    paced,
    unapprovable,
)
from release.plan import Plan, Step
from release.policy import ApprovalRule, Policy
from release.releases import Event
from tests.fakes.nouns import POLICY, a_release, variant

FLOOR = """
[approval]
count = 2
[[gates]]
metric = "memory_mb"
at_most = 900
"""
PEOPLE = [("ada", "admin"), ("max", "release-manager"), ("mia", "release-manager")]
RULE = ApprovalRule(count=2)


def built(model: str, version: int, recipe: str = "openvino-int8", **data: object) -> Event:
    plain = {"variant": {"model": model, "version": version, "recipe": recipe}, "cached": False}
    return Event(
        kind="built", at=version, actor="slipway", sentence="", data=plain | data, model=model
    )


def need(share: float, evidence: int | None, *, soak: float = 10, least: int = 5) -> Need:
    return Need(
        share=share,
        soak_seconds=soak,
        least_requests=least,
        next_share=100,
        evidence=evidence,
        requests=evidence,
    )


def test_the_newest_building_of_this_model_is_the_best_guide() -> None:
    known = [
        built("mine", 1, seconds=5.0),
        built("mine", 2, seconds=7.0),
        built("mine", 3, seconds=0.1, cached=True),
        built("mine", 4, "torch-fp32", seconds=99.0),
        built("other", 9, seconds=30.0),
        built("mine", 5),
    ]
    assert forecast("openvino-int8", "mine", known) == (7.0, "mine@2")
    assert forecast("openvino-int8", "new", known) == (30.0, "other@9")
    assert forecast("openvino-int8", "mine", known[-1:]) == (None, "")
    assert forecast("gguf-q4", "mine", known) == (None, "")


def test_measuring_takes_as_long_a_variant_as_it_took_before() -> None:
    release = a_release(stable=variant(1))
    told = [
        replace(built("m", 1), at=100.0),
        replace(built("m", 1), at=110.0),
        Event(kind="measured", at=125, actor="", sentence="", data={"suite": "s"}),
        Event(kind="measured", at=126, actor="", sentence="", data={"suite": "s"}),
    ]
    assert measuring(release, told, "s", 6) == pytest.approx(15 * 6 / 3)
    assert measuring(replace(release, stable=None), told, "s", 2) == pytest.approx(15)
    assert measuring(release, told, "another", 6) is None
    assert measuring(release, told[2:], "s", 6) is None


def test_gates_say_whose_they_are_and_whether_they_are_asked() -> None:
    policy = Policy.parse(POLICY, floor=FLOOR)
    asked = gates_asked(policy, champion=False)
    assert [(one.floor, one.applies) for one in asked] == [
        (False, True),
        (False, False),
        (True, True),
    ]
    assert asked[2].gate == "memory_mb at most 900"
    assert all(one.applies for one in gates_asked(policy, champion=True))
    assert not any(one.floor for one in gates_asked(Policy.parse(POLICY), champion=True))


def test_whoever_asks_cannot_be_counted() -> None:
    free = consent(RULE, PEOPLE, "")
    assert free.people == ("max", "mia")
    assert unapprovable(free) == ""
    hers = consent(RULE, PEOPLE, "mia")
    assert hers.people == ("max",)
    said = unapprovable(hers)
    assert "2 of release-manager must, and there is max besides mia, who asks" in said
    assert "there is nobody." in unapprovable(consent(RULE, PEOPLE[:1], ""))
    assert unapprovable(consent(ApprovalRule(count=0), [], "")) == ""


def test_a_step_takes_as_long_as_its_traffic_takes() -> None:
    steps = [need(10, 40), need(50, 100), need(100, 100, least=20)]
    assert paced(steps, None) == (10, 10, 10)
    # At 10 a second the first has 1 a second, the second 5: (100 - 40) / 5.
    assert paced(steps, 10) == pytest.approx((40, 12, 10))
    # A long soak brings more than it needs, which counts for the next.
    assert paced([need(10, 40, soak=70), need(50, 100)], 10) == pytest.approx((70, 10))
    assert paced([need(10, None)], 10) == (None,)
    assert paced([need(10, None)], None) == (None,)


def an_outlook(**more: object) -> Outlook:
    steps = (need(10, 40), need(100, 100))
    plain: dict[str, object] = {
        "candidate": "m@2",
        "at": 0.0,
        "policy": "sha256:p",
        "champion": "m@1/torch-fp32",
        "trial": None,
        "makings": (Making(recipe="a", state="to build", seconds=7.0, like="m@1"),),
        "gates": (),
        "consent": consent(RULE, PEOPLE, "rita"),
        "measuring_seconds": 3.0,
        "needs": steps,
        "rate": None,
        "paces": paced(steps, None),
        "bake_seconds": 5.0,
        "obstacles": (),
        "warnings": (),
    }
    return Outlook(**(plain | more))  # type: ignore[arg-type]


def test_time_is_what_is_known_and_the_rest_is_named() -> None:
    known = an_outlook()
    assert known.least_seconds == 7 + 3 + 20 + 5
    assert known.unknown == (
        "the approval",
        "loading the replica",
        "the traffic that the steps wait for",
    )
    nothing = an_outlook(
        makings=(
            Making(recipe="a", state="to build"),
            Making(recipe="b", state="unknown"),
            Making(recipe="c", state="stored"),
        ),
        consent=consent(ApprovalRule(count=0), [], ""),
        measuring_seconds=None,
        needs=(),
        paces=(),
        bake_seconds=0.0,
    )
    assert nothing.least_seconds is None
    assert nothing.unknown == ("building a", "building b", "measuring", "loading the replica")
    assert nothing.as_json()["least_seconds"] is None
    assert nothing.as_json()["makings"][0]["seconds"] is None


def test_what_will_disappoint_is_said() -> None:
    plan = Plan(steps=(Step(share=10), Step(share=100)), patience_seconds=30)
    (quiet,) = doubts(an_outlook(), plan)
    assert "without traffic goes back after 30 s" in quiet
    slow = an_outlook(rate=10.0, paces=paced((need(10, 40), need(100, 100)), 10))
    assert doubts(slow, plan) == (
        "The step at 10 % takes 40 s at 10 requests/s: patience_seconds 30 puts it back before.",
    )
    assert doubts(slow, replace(plan, patience_seconds=41)) == ()
    (never, _) = doubts(an_outlook(needs=(need(10, None),), paces=(None,)), plan)
    assert never.startswith("No traffic would be evidence enough to leave 10 %")
    unasked: Consent = consent(RULE, PEOPLE, "")
    assert (
        "yes of max, mia, so somebody else must ask"
        in doubts(an_outlook(consent=unasked, rate=1e3), plan)[-1]
    )
