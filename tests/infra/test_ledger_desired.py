from dataclasses import replace

import pytest

from infra.ledger import Change, Ledger
from release.errors import Conflict, Fenced, Invalid, NotFound
from release.evidence import Cursor, Tally, Window
from release.releases import Desired, Phase
from tests.fakes.nouns import a_release, variant
from tests.infra.world import MODEL, an_event, canary, claimed, closed, opened, widened


def test_nothing_is_desired_of_a_model_that_was_only_claimed(ledger: Ledger) -> None:
    assert ledger.desired(MODEL) == Desired(model=MODEL)
    claimed(ledger)
    assert ledger.desired(MODEL) == Desired(model=MODEL)
    assert ledger.all_desired() == []


def test_a_change_of_arms_raises_the_generation_and_a_renewed_lease_does_not(
    ledger: Ledger,
) -> None:
    claim = claimed(ledger)
    first = ledger.commit(
        claim, Change(desired=canary(Desired(model=MODEL)), expected=0, step=0), 100.0
    )
    assert first == ledger.desired(MODEL) == replace(canary(Desired(model=MODEL)), generation=1)
    renewed = replace(first, lease_until=130.0)
    assert ledger.commit(claim, Change(desired=renewed, expected=1), 101.0) == renewed
    assert ledger.desired(MODEL) == renewed
    bumped = ledger.commit(claim, Change(desired=renewed, expected=1, bump=True), 102.0)
    assert bumped == replace(renewed, generation=2)
    for wanted in (
        replace(bumped, policy_text="[suite]"),
        replace(bumped, canary_percent=25.0, policy_text="[suite]"),
        replace(bumped, champion=variant(1), policy_text="[suite]"),
        replace(bumped, previous=variant(1), policy_text="[suite]"),
    ):
        at = ledger.desired(MODEL).generation
        assert ledger.commit(claim, Change(desired=wanted, expected=at), 103.0).generation == at + 1
    assert [one.model for one in ledger.all_desired()] == [MODEL]


def test_events_say_of_which_generation_they_are(ledger: Ledger) -> None:
    release, claim = opened(ledger), claimed(ledger)
    told = replace(an_event("step"), data={"share": 5})
    first = canary(Desired(model=MODEL))
    change = Change(release=release, desired=first, expected=0, events=(told,))
    assert ledger.commit(claim, change, 100.0).generation == 1
    ledger.commit(claim, Change(release=release, expected=1, events=(told,)), 101.0)
    found = [event.data for _, event in ledger.events(kinds=("step",))]
    assert found == [{"share": 5, "generation": 1}] * 2


def test_a_change_that_names_no_row_leaves_it(ledger: Ledger) -> None:
    release, claim = opened(ledger), claimed(ledger)
    before = widened(ledger, claim, release)
    change = Change(release=replace(release, step=1), expected=before.generation)
    assert ledger.commit(claim, change, 100.0) == before == ledger.desired(MODEL)
    assert ledger.release(release.id).step == 1


def test_a_claim_is_renewed_by_its_owner_and_refused_to_others(ledger: Ledger) -> None:
    first = ledger.claim(MODEL, "one", 10, 100.0)
    assert first.epoch == 1 and first.until == 110.0
    with pytest.raises(Conflict, match="by one, until 00:01:50"):
        ledger.claim(MODEL, "two", 10, 109.9)
    renewed = ledger.claim(MODEL, "one", 10, 105.0)
    assert (renewed.epoch, renewed.until) == (1, 115.0)
    with pytest.raises(Conflict):
        ledger.claim(MODEL, "two", 10, 112.0)
    assert ledger.claim(MODEL, "two", 10, 115.0).epoch == 2
    assert ledger.claim("another", "one", 10, 100.0).epoch == 1


def test_a_claim_given_back_is_free_at_once_and_worth_nothing(ledger: Ledger) -> None:
    release, first = opened(ledger), claimed(ledger, "one")
    ledger.yield_claim(first)
    with pytest.raises(Fenced):
        widened(ledger, first, release)
    second = claimed(ledger, "two")
    assert second.epoch == 2
    ledger.yield_claim(first)
    assert widened(ledger, second, release).generation == 1


@pytest.mark.parametrize("owner", ["two", "one"])
def test_whoever_was_taken_over_by_force_can_change_nothing(ledger: Ledger, owner: str) -> None:
    release, old = opened(ledger), claimed(ledger, "one")
    new = claimed(ledger, owner, force=True)
    before = (ledger.desired(MODEL), ledger.release(release.id), ledger.events())
    windows = (_window(1, 10),)
    change = Change(
        release=replace(release, phase=Phase.CANARY),
        desired=canary(ledger.desired(MODEL)),
        expected=0,
        events=(an_event("step", release=release.id),),
        windows=windows,
        cursors=(Cursor(gateway="a/1", window=1),),
    )
    with pytest.raises(Fenced, match=f"held by {owner} at epoch 2"):
        ledger.commit(old, change, 100.0)
    assert (ledger.desired(MODEL), ledger.release(release.id), ledger.events()) == before
    assert ledger.evidence(release.id) == {} and ledger.cursors(MODEL) == {}
    assert ledger.commit(new, change, 100.0).generation == 1
    assert ledger.evidence(release.id)["sha256:new"][0].requests == 10


def test_a_change_decided_on_an_older_generation_is_refused(ledger: Ledger) -> None:
    release, claim = opened(ledger), claimed(ledger)
    widened(ledger, claim, release)
    late = Change(desired=Desired(model=MODEL), expected=0, events=(an_event("late"),))
    with pytest.raises(Fenced, match="generation 1, and the change was decided at 0"):
        ledger.commit(claim, late, 100.0)
    assert all(event.kind != "late" for _, event in ledger.events())


def test_a_closed_release_stays_as_it_is_and_takes_the_rest_of_the_change_with_it(
    ledger: Ledger,
) -> None:
    release = opened(ledger)
    done, claim = closed(ledger, release), claimed(ledger)
    for again in (release, replace(done, reason="another")):
        change = Change(release=again, desired=canary(ledger.desired(MODEL)), expected=0)
        with pytest.raises(Fenced, match="closed"):
            ledger.commit(claim, change, 100.0)
    assert ledger.release(release.id) == done
    assert ledger.desired(MODEL).generation == 0


def test_a_change_stays_within_its_claim(ledger: Ledger) -> None:
    claim = claimed(ledger)
    with pytest.raises(Invalid, match="another"):
        ledger.commit(claim, Change(desired=Desired(model="another"), expected=0), 100.0)
    with pytest.raises(NotFound):
        ledger.commit(claim, Change(release=a_release(2), expected=0), 100.0)
    with pytest.raises(Invalid, match="owner"):
        ledger.claim(MODEL, "", 10, 100.0)


def _window(number: int, requests: int, gateway: str = "a/1") -> Window:
    tally = Tally(requests=requests, failures=1, slow=2, rescued=1)
    other = {"another": {"sha256:new": Tally(requests=1000)}}
    tallies = {MODEL: {"sha256:new": tally, "sha256:old": Tally(requests=1)}, **other}
    return Window(gateway=gateway, number=number, opened=0.0, closed=1.0, tallies=tallies)


def _fold(ledger: Ledger, *windows: Window, cursors: tuple[Cursor, ...] = (), step: int = 0) -> int:
    """Fold windows; give the requests counted so far."""
    [release] = ledger.releases()
    change = Change(release=release, expected=0, windows=windows, cursors=cursors, step=step)
    ledger.commit(claimed(ledger), change, 100.0)
    steps = ledger.evidence(release.id).get("sha256:new", {})
    return sum(tally.requests for tally in steps.values())


def test_each_window_is_counted_once_however_often_it_is_handed_in(ledger: Ledger) -> None:
    release = opened(ledger)
    assert _fold(ledger, _window(1, 10), _window(2, 20)) == 30
    assert _fold(ledger, _window(1, 10), _window(2, 20)) == 30
    assert _fold(ledger, _window(3, 5), _window(3, 5), _window(2, 20), step=1) == 35
    assert _fold(ledger, _window(1, 7, "a/2"), step=1) == 42
    steps = ledger.evidence(release.id)["sha256:new"]
    assert steps[0] == Tally(requests=30, failures=2, slow=4, rescued=2)
    assert steps[1] == Tally(requests=12, failures=2, slow=4, rescued=2)
    assert ledger.evidence(release.id)["sha256:old"][0] == Tally(requests=2)
    assert {name: one.window for name, one in ledger.cursors(MODEL).items()} == {"a/1": 3, "a/2": 1}


def test_cursors_read_past_windows_without_counting_and_never_go_back(ledger: Ledger) -> None:
    opened(ledger)
    ahead = Cursor(gateway="a/1", window=4, segment=2, offset=70)
    assert _fold(ledger, cursors=(ahead,)) == 0
    assert ledger.cursors(MODEL) == {"a/1": ahead}
    assert _fold(ledger, _window(4, 10), cursors=(Cursor(gateway="a/1", window=3),)) == 0
    assert ledger.cursors(MODEL) == {"a/1": ahead}
    further = replace(ahead, window=5, offset=90)
    assert _fold(ledger, _window(5, 10), cursors=(further,)) == 10
    assert _fold(ledger, cursors=(replace(further, segment=3, offset=0),)) == 10
    assert ledger.cursors(MODEL)["a/1"].segment == 3
    assert ledger.cursors("another") == {}
