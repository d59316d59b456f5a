from dataclasses import replace

import pytest

from release.releases import Event, Phase, Release
from release.waits import champion_since, phase_since, wait_of
from tests.fakes.nouns import a_release, judged, variant


def moved(kind: str, at: float, release: str = "", **data: object) -> Event:
    return Event(kind=kind, at=at, actor="slipway", sentence="", data=data, release=release)


def standing(phase: Phase, since: float | None, step: int = 0) -> Release:
    release = judged(a_release(stable=variant(1)))
    return replace(release, phase=phase, since=since, step=step)


@pytest.mark.parametrize(
    ("phase", "now", "until", "then"),
    [
        (Phase.WARMING, 110, 160, "it is called off if not ready"),
        (Phase.CANARY, 105, 110, "the soak is over"),
        (Phase.CANARY, 111, 400, "it is put back if not proven good"),
        (Phase.BAKING, 111, 120, "it has held"),
    ],
)
def test_a_wait_has_its_end(phase: Phase, now: float, until: float, then: str) -> None:
    found = wait_of(standing(phase, 100), now)
    assert found is not None
    assert (found.until, found.then) == (until, then)


@pytest.mark.parametrize("phase", list(Phase))
def test_no_clock_runs_before_the_gateways_confirmed(phase: Phase) -> None:
    assert wait_of(standing(phase, None), 100) is None


def test_no_clock_ends_the_wait_for_a_person_nor_a_first_release() -> None:
    assert wait_of(standing(Phase.AWAITING_APPROVAL, 100), 105) is None
    assert wait_of(replace(standing(Phase.BAKING, 100), stable=None), 105) is None


def test_a_phase_is_as_old_as_its_first_event() -> None:
    told = [moved("step", 10, phase="canary"), moved("step", 20, phase="canary")]
    assert phase_since(standing(Phase.CANARY, 21), told) == 10
    assert phase_since(replace(standing(Phase.PREPARING, None), opened_at=3), told) == 3
    assert phase_since(replace(standing(Phase.REJECTED, None), closed_at=30), told) == 30


def test_a_champion_serves_since_it_was_promoted_or_put_back() -> None:
    assert champion_since([]) is None
    first = [moved("promoted", 10, "r1")]
    assert champion_since(first) == 10
    unharmed = [*first, moved("restored", 20, "r2"), moved("rolled-back", 25, "r3")]
    assert champion_since(unharmed) == 10, "a canary that was put back moved no champion"
    assert champion_since([*unharmed, moved("promoted", 30, "r4")]) == 30
    baked = [*unharmed, moved("promoted", 30, "r4"), moved("restored", 40, "r4")]
    assert champion_since(baked) == 40
    assert champion_since([*unharmed, moved("rolled-back", 50)]) == 50
