"""A frame of watch, as text: complete and within its terminal at any width, in any language."""

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.screen import Screen

from console.frame import Frame, approve_command, stations
from console.showing import plain
from console.watching import draw
from evaluation.live import judge_live
from release.evidence import Tally
from release.releases import (
    Desired,
    Event,
    GatewayStatus,
    Phase,
    Release,
    ReplicaStatus,
)
from tasks.sight import Sight
from tests.fakes.nouns import SHADOWED, a_release, an_approval, judged, variant

NOW = 1_000.0
CHINESE = (
    "模型在测试集上的准确率比线上版本高，人工复核了一百条边界样例，同意按计划灰度发布到全部流量"
)
KINDS = ("opened", "built", "judged", "approved", "warming", "step")


def a_sight(release: Release, **more: Any) -> Sight:
    canary, champion = Tally(requests=24, failures=1, rescued=1), Tally(requests=450, slow=3)
    watched = release.phase in (Phase.CANARY, Phase.BAKING)
    live = release.policy.live
    plain_sight: dict[str, Any] = {
        "at": NOW,
        "release": release,
        "desired": Desired(
            model="docs-router",
            generation=7,
            champion=variant(1),
            canary=variant(2),
            canary_percent=25.0,
            lease_until=NOW + 10,
        ),
        "approvals": (an_approval(release),),
        "canary": canary,
        "champion": champion,
        "findings": judge_live(champion, canary, live, next_share=100) if watched else (),
        "wanted": 171 if watched else None,
        "gateways": (
            GatewayStatus(gateway="主机/g1", endpoint="docs-router", generation=7, at=NOW),
        ),
        "replicas": (
            replica(1, ready=True, at=NOW),
            replica(2, ready=False, at=NOW - 60, message="模型文件正在加载，请稍候" * 5),
        ),
        "events": tuple(
            Event(kind=kind, at=900.0 + n, actor="max", sentence=f"{kind} {CHINESE}")
            for n, kind in enumerate(KINDS)
        ),
        "answered": False,
        "carried": True,
    }
    return Sight(**(plain_sight | more))


def replica(version: int, *, ready: bool, at: float, message: str = "") -> ReplicaStatus:
    return ReplicaStatus(
        agent="h",
        endpoint="docs-router",
        digest=variant(version).digest,
        ready=ready,
        message=message,
        memory_bytes=136_000_000,
        at=at,
    )


def standing(phase: Phase, **more: Any) -> Release:
    release = judged(a_release(stable=variant(1)))
    return replace(release, phase=phase, opened_at=880.0, reason=CHINESE, **more)


CANARY = standing(Phase.CANARY, step=1, since=995.0, waiting_for="soak", not_before=NOW)


def drawn(sight: Sight, width: int, height: int = 40, **more: Any) -> str:
    return plain(Frame(sight=sight, now=NOW, **more), width, height)


@pytest.mark.parametrize("width", [60, 80, 160])
@pytest.mark.parametrize(
    "release",
    [
        CANARY,
        standing(Phase.PREPARING),
        standing(Phase.AWAITING_APPROVAL),
        standing(Phase.RESTORED, closed_at=990.0),
    ],
)
def test_a_frame_keeps_within_its_terminal(release: Release, width: int) -> None:
    told = drawn(a_sight(release), width)
    assert max(map(cell_len, told.splitlines())) <= width
    for said in ("docs-router@2", str(release.phase), release.id, "rita", "yes by max"):
        assert said in told
    for said in ("canary", "champion", "450", "at 7 of 7", "136 MB", "opened", "not ready"):
        assert said in told
    (trouble,) = [line for line in told.splitlines() if "not ready" in line]
    assert trouble.endswith("…") or width == 160, "a replica keeps to its line"
    folded = "".join(told.split())
    assert (CHINESE in folded) or release.phase is Phase.AWAITING_APPROVAL


@pytest.mark.parametrize(("height", "shown"), [(24, 3), (26, 5), (60, 6)])
def test_events_take_what_room_is_left(height: int, shown: int) -> None:
    frame = Frame(sight=a_sight(CANARY), now=NOW, height=height)
    lines = plain(frame, 80).splitlines()
    assert len(lines) == min(height - 1, 26)
    told = [line.split()[2] for line in lines[-shown:]]
    assert told == [*reversed(KINDS)][:shown], "the newest come first"
    assert all(line.endswith("…") for line in lines[-shown:]), "each keeps to its line"


def test_on_a_screen_nothing_is_cut_off() -> None:
    file = StringIO()
    console = Console(file=file, width=80, height=24, color_system=None)
    frame = Frame(sight=a_sight(CANARY), now=NOW, height=24)
    console.print(Screen(frame), end="")
    assert [one.rstrip() for one in file.getvalue().splitlines() if one.strip()] == [
        one for one in plain(frame, 80).splitlines() if one
    ]


def test_the_canary_is_told_with_its_evidence_and_its_clock() -> None:
    told = drawn(a_sight(CANARY), 160)
    assert "waits for soak; in 5 s, at 00:16:45Z, the soak is over" in told
    assert "evidence: 24 of 171 canary requests with which it may get 100 %" in told
    assert "canary's failure rate is 4.2% (1 of 24)" in told
    assert "25 % of the traffic" in told
    assert "✓ 5 %  ● 25 %  ○ 100 %  ○ bake" in told.replace("\N{NO-BREAK SPACE}", " ")


def test_a_lapsed_share_is_no_share() -> None:
    sight = a_sight(CANARY)
    lapsed = replace(sight, desired=replace(sight.desired, lease_until=NOW - 1))
    assert "0 % of the traffic" in drawn(lapsed, 80)
    mine = replace(sight.desired, champion=variant(2), canary=None, canary_percent=0.0)
    assert "100 % of the traffic" in drawn(replace(sight, desired=mine), 80)


def test_what_is_shown_in_the_shadow_is_told_as_copies() -> None:
    release = judged(a_release(stable=variant(1), text=SHADOWED))
    shown = replace(release, phase=Phase.CANARY, since=995.0, opened_at=880.0)
    sight = a_sight(shown)
    copies = replace(sight.desired, canary_percent=0.0, shadow_percent=50.0)
    told = drawn(replace(sight, desired=copies), 160)
    assert "copies of 50 % of the traffic" in told and "█" not in told
    assert "● 50 % in the shadow  ○ 5 %" in told.replace("\N{NO-BREAK SPACE}", " ")
    lapsed = replace(copies, lease_until=NOW - 1)
    assert "0 % of the traffic" in drawn(replace(sight, desired=lapsed), 80)


def test_where_it_waits_for_a_person_the_command_stands_whole() -> None:
    release = standing(Phase.AWAITING_APPROVAL)
    for width in (60, 80):
        lines = drawn(a_sight(release, approvals=()), width).splitlines()
        assert approve_command(release) in lines
        assert any("0 of 1 yes by release-manager, not rita" in line for line in lines)


def test_once_it_is_answered_nobody_is_asked_any_more() -> None:
    release = standing(Phase.AWAITING_APPROVAL)
    told = drawn(a_sight(release, answered=True), 80)
    assert "answered: it moves on" in told
    assert "slipway approve" not in told


def test_what_is_unknown_is_not_nought() -> None:
    told = drawn(a_sight(CANARY, canary=Tally(), gateways=(), replicas=()), 80)
    assert "nothing is heard of gateways and replicas" in told
    row = next(line.split() for line in told.splitlines() if line.startswith("canary "))
    assert row[2:] == ["none", "–", "–", "–"]


def test_what_is_wrong_is_said() -> None:
    tripped = GatewayStatus(
        gateway="h/g1", endpoint="docs-router", generation=6, tripped="25 in a row", at=NOW - 40
    )
    told = drawn(a_sight(CANARY, gateways=(tripped,), carried=False), 160)
    assert "at 6 of 7; cut the canary off: 25 in a row; 40 s ago" in told
    assert "nobody carries it on" in told
    assert "nobody carries it on" not in drawn(a_sight(CANARY), 160)


def test_what_others_wrote_cannot_draw_in_it() -> None:
    evil = "[/x] a\x1b[2J\nb"
    tripped = GatewayStatus(
        gateway="h/g1", endpoint="docs-router", generation=6, tripped=evil, at=NOW - 40
    )
    told = Event(kind="opened", at=900.0, actor="max", sentence=evil)
    broken = replica(2, ready=False, at=NOW, message=evil)
    sight = a_sight(CANARY, gateways=(tripped,), replicas=(broken,), events=(told,))
    page = drawn(sight, 160, trouble=evil)
    assert "\x1b" not in page and page.count(r"[/x] a\x1b[2J\nb") == 4


def test_an_old_sight_says_how_old_it_is() -> None:
    old = a_sight(CANARY, at=NOW - 75)
    told = drawn(old, 160, trouble="The ledger does not answer.")
    assert "What follows is 1 min old, and it is tried again: The ledger does not" in told


@pytest.mark.parametrize(
    ("release", "marks"),
    [
        (standing(Phase.PREPARING), "●○○○○○○"),
        (CANARY, "✓✓✓✓●○○"),
        (standing(Phase.BAKING), "✓✓✓✓✓✓●"),
        (standing(Phase.PROMOTED, closed_at=1.0), "✓✓✓✓✓✓✓"),
        (standing(Phase.REJECTED, closed_at=1.0), "○○○○○○○"),
        (replace(standing(Phase.WARMING), stable=None), "✓✓●○"),
    ],
)
def test_the_way_shows_where_it_is(release: Release, marks: str) -> None:
    assert "".join(one for one in stations(release).plain if one in "✓●○") == marks


def test_a_picture_loads_nothing() -> None:
    picture = draw(Frame(sight=a_sight(CANARY), now=NOW))
    assert picture.startswith("<svg")
    assert "docs-router@2" in picture
    assert "url(" not in picture.replace("url(#", "")
