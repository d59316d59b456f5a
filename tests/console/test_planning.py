"""The page of a plan, held to golden text; written anew with SLIPWAY_GOLDEN=write."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from console.planning import page
from console.showing import plain
from evaluation.needs import needs
from infra.settings import inherited
from release.outlook import Making, Outlook, Trial, consent, gates_asked, paced
from release.policy import Policy
from tests.fakes.nouns import POLICY, SHADOWED

GOLDEN = Path(__file__).parents[1] / "golden"
FLOOR = '[[gates]]\nmetric = "memory_mb"\nat_most = 900\n'
STEPS = Policy.parse(POLICY, floor=FLOOR)


def an_outlook() -> Outlook:
    steps = needs(STEPS.plan, STEPS.live)
    return Outlook(
        candidate="docs-router@2",
        at=1_000_000.0,
        policy=STEPS.digest,
        champion="docs-router@1/openvino-int8",
        trial=Trial(name="路由问题集", digest="sha256:0123456789abcdef", test=900, calibration=100),
        makings=(
            Making(recipe="torch-fp32", state="stored"),
            Making(recipe="openvino-int8", state="to build", seconds=41.0, like="docs-router@1"),
        ),
        gates=gates_asked(STEPS, champion=True),
        consent=consent(STEPS.approval, [("max", "release-manager")], "rita"),
        measuring_seconds=34.5,
        needs=steps,
        rate=12.5,
        paces=paced(steps, 12.5),
        bake_seconds=20.0,
        obstacles=(),
        warnings=(),
    )


def barred() -> Outlook:
    """A first release with everything against it."""
    return replace(
        an_outlook(),
        champion=None,
        trial=None,
        makings=(Making(recipe="openvino-int8", state="unknown"),),
        gates=gates_asked(STEPS, champion=False),
        consent=consent(STEPS.approval, [], ""),
        measuring_seconds=None,
        needs=(),
        paces=(),
        rate=None,
        bake_seconds=0.0,
        obstacles=(
            "optimizer.pkl is not of a kind that may be loaded (.json, .safetensors).",
            "模型的标签与测试集不符：模型答 甲、乙，测试集标 丙、丁，请使用对应的测试集再试一次。",
        ),
        warnings=("It takes a yes of max, so somebody else must ask.",),
    )


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize(("name", "outlook"), [("plan", an_outlook()), ("barred", barred())])
def test_a_plan_reads_as_it_did(name: str, outlook: Outlook, width: int) -> None:
    told = plain(page(outlook), width)
    assert max(map(cell_len, told.splitlines())) <= width
    golden = GOLDEN / f"{name}-{width}.txt"
    if inherited().get("SLIPWAY_GOLDEN") == "write":
        golden.write_text(told, encoding="utf-8")
    assert told == golden.read_text(encoding="utf-8")


def test_a_shadow_is_told_as_such() -> None:
    text = SHADOWED.replace("{shadow = 50,", "{shadow = 10},\n{shadow = 50,")
    steps = needs(Policy.parse(text).plan, STEPS.live)
    told = plain(page(replace(an_outlook(), needs=steps, paces=paced(steps, 12.5))), 120)
    first, second = (one.split() for one in told.splitlines() if "in the shadow" in one)
    # No client meets it at the next step either: that takes no evidence.
    assert " ".join(first) == "10 % in the shadow 0 s 0 none ≥ 0 s"
    # A hundred copies of half of 12.5 requests a second.
    assert " ".join(second).endswith("100 0 for 5 % ≥ 16 s"), second


def test_json_holds_all_of_it() -> None:
    plain_data = json.loads(json.dumps(an_outlook().as_json(), ensure_ascii=False))
    assert plain_data["needs"][0]["evidence"] == an_outlook().needs[0].evidence
    assert plain_data["consent"]["people"] == ["max"]
    assert plain_data["least_seconds"] == pytest.approx(41 + 34.5 + sum(plain_data["paces"]) + 20)
    assert "the approval" in plain_data["unknown"]
