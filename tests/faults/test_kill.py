"""Killed at every point that hurts and taken up again, by whom it may be, it ends as if spared."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from release.releases import Phase, Release
from tests.serving.tier import until
from tests.system.home import Home, records
from tests.system.killing import (
    ask_for,
    command,
    drive,
    flows,
    gateway,
    overdue,
    standing,
    unattended,
)

pytestmark = pytest.mark.timeout(900)

LONGER = " is a word" * 8
"""With it a text is longer than version 3 of a tiny model takes, and no longer than the others."""

Standing = dict[str, Any]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with unattended(tmp_path_factory.mktemp("faults"), "spared") as made:
        yield made


@pytest.fixture(scope="module")
def promoted(home: Home) -> Standing:
    """How a release stands that nobody killed."""
    return standing(home, spared(home, "spared", 2, Phase.PROMOTED))


@pytest.fixture(scope="module")
def restored(home: Home) -> Standing:
    """How a release stands that was put back, and that nobody killed."""
    return standing(home, spared(home, "spared-and-restored", 3, Phase.RESTORED))


def spared(home: Home, model: str, version: int, end: Phase) -> Release:
    release = prepared(home, model, version)
    with home.client(gateway(home), model, longer=LONGER):
        drive(home, release).ended()
    assert phase(home, release) is end
    return release


def registered(home: Home, model: str) -> None:
    if model != "spared":
        for version in ("1", "2", "3"):
            home.house.registry.register(model, home.root / "made" / version)


def prepared(home: Home, model: str, version: int = 2) -> Release:
    """Give a new model its first champion, and open a release of another version."""
    registered(home, model)
    drive(home, ask_for(home, model, 1)).ended()
    return ask_for(home, model, version)


def phase(home: Home, release: Release) -> Phase:
    return home.house.ledger.release(release.id).phase


def told(home: Home, release: Release) -> list[str]:
    return [event.kind for _, event in home.house.ledger.events(release.id)]


def by_itself(home: Home, release: Release) -> None:
    """Run the same flow again from the top."""
    drive(home, release).ended()


def by_the_reconciler(home: Home, release: Release) -> None:
    """Let the reconciler find it, once the claim of whoever died has run out."""
    here = home.house
    until(lambda: not here.ledger.owner(release.candidate.model, here.clock()), 60)
    if not phase(home, release).closed:
        overdue(home, release)
    flows(home, ("reconcile", {})).ended()


@pytest.mark.parametrize(
    ("point", "stands", "again"),
    [
        ("evaluated", Phase.PREPARING, by_the_reconciler),
        ("warming-0", Phase.WARMING, by_itself),
        ("held-canary", Phase.CANARY, by_itself),
        ("canary-1", Phase.CANARY, by_the_reconciler),
        ("held-baking", Phase.BAKING, by_itself),
        ("baking-0", Phase.BAKING, by_the_reconciler),
        ("held-promoted", Phase.PROMOTED, by_itself),
        ("pointed", Phase.PROMOTED, by_the_reconciler),
        ("shown", Phase.PROMOTED, by_itself),
    ],
)
def test_a_flow_killed_here_ends_as_if_spared(
    home: Home,
    promoted: Standing,
    point: str,
    stands: Phase,
    again: Callable[[Home, Release], None],
) -> None:
    release = prepared(home, f"killed-at-{point}")
    with home.client(gateway(home), release.candidate.model, longer=LONGER) as answers:
        drive(home, release, failpoint=point).ended()
        assert phase(home, release) is stands
        again(home, release)
    assert standing(home, release) == promoted
    assert [one for one in records(answers) if one["status"] != 200] == []


def test_what_was_put_back_is_shown_though_its_flow_died_at_once(
    home: Home, restored: Standing
) -> None:
    """The ledger has the restore; claim, aliases, tags and page were left as they stood."""
    release = prepared(home, "killed-restoring", 3)
    with home.client(gateway(home), release.candidate.model, longer=LONGER) as answers:
        drive(home, release, failpoint="held-restored").ended()
        assert phase(home, release) is Phase.RESTORED
        by_the_reconciler(home, release)
    found = standing(home, release)
    # Which piece found it out first, gateway or controller, is a matter of moments.
    assert "Phase.RESTORED" in found.pop("release")
    assert found == {name: value for name, value in restored.items() if name != "release"}
    assert [one for one in records(answers) if one["status"] != 200] == []


def test_an_approval_whose_command_died_is_carried_on(home: Home, promoted: Standing) -> None:
    registered(home, "approved")
    drive(home, ask_for(home, "approved", 1)).ended()
    policy = home.policy("careful", approvals=1, lease=90)
    release = ask_for(home, "approved", 2, policy)
    with home.client(gateway(home), "approved") as answers:
        drive(home, release).ended()
        assert phase(home, release) is Phase.AWAITING_APPROVAL
        command(home, "approve", release.id, who="max", failpoint="answered").ended()
        assert phase(home, release) is Phase.AWAITING_APPROVAL
        by_the_reconciler(home, release)
    found, wanted = standing(home, release), dict(promoted)
    for name in ("release", "events", "approvals"):
        del found[name], wanted[name]
    assert found == wanted
    kinds = told(home, release)
    assert [kinds.count(kind) for kind in ("approval-wanted", "approved")] == [1, 1]
    asked = [kind for kind in kinds if kind not in ("approval-wanted", "approved", "recorded")]
    assert str([*asked, "recorded"]) == promoted["events"]
    assert [one for one in records(answers) if one["status"] != 200] == []


def test_a_rollback_whose_command_died_is_shown_and_holds(home: Home) -> None:
    release = prepared(home, "called-back")
    with home.client(gateway(home), "called-back") as answers:
        drive(home, release, failpoint="canary-0").ended()
        words = ("rollback", "called-back", "--why", "a doubt")
        command(home, *words, who="max", failpoint="rolled-back").ended()
        by_the_reconciler(home, release)
        drive(home, release).ended()
    assert phase(home, release) is Phase.ROLLED_BACK
    assert told(home, release).count("rolled-back") == told(home, release).count("recorded") == 1
    registry = home.house.registry
    named = [registry.alias("called-back", one) for one in ("champion", "challenger", "previous")]
    assert named == [1, None, None]
    assert [one for one in records(answers) if one["status"] != 200] == []


def test_a_reconciler_killed_between_two_releases_carries_the_other_next_time(
    home: Home, promoted: Standing
) -> None:
    two = [prepared(home, model) for model in ("first-of-two", "second-of-two")]
    with home.client(gateway(home), "first-of-two", "second-of-two", longer=LONGER) as answers:
        for release in two:
            overdue(home, release)
        flows(home, ("reconcile", {}), failpoint="shown").ended()
        assert [phase(home, one) for one in two] == [Phase.PROMOTED, Phase.PREPARING]
        flows(home, ("reconcile", {})).ended()
    assert [standing(home, release) for release in two] == [promoted, promoted]
    assert [one for one in records(answers) if one["status"] != 200] == []


@pytest.mark.sample
def test_a_release_that_was_opened_and_never_begun_is_taken_up(home: Home) -> None:
    """The command dies between ledger and Prefect: no flow run was ever asked for."""
    registered(home, "never-begun")
    policy = str(home.policy("policy", lease=90))
    words = ("release", "never-begun", "--version", "1", "--policy", policy)
    command(home, *words, who="rita", failpoint="opened").ended()
    (release,) = home.house.ledger.releases("never-begun")
    assert told(home, release) == ["opened"]
    overdue(home, release)
    flows(home, ("reconcile", {}), failpoint="shown").ended()
    flows(home, ("reconcile", {})).ended()
    kinds = told(home, release)
    assert sorted(kinds) == sorted(set(kinds))
    assert {"built", "measured", "judged", "promoted", "done", "recorded"} < set(kinds)
    assert phase(home, release) is Phase.PROMOTED
    assert home.house.registry.alias("never-begun", "champion") == 1
