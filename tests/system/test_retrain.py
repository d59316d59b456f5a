"""A training killed anywhere and run again gives one version, and goes on to its release."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.processes import marked
from release.releases import Phase
from tasks.desk import ask_training, open_release, roll_back
from tasks.inspection import Request
from tasks.train import MARK
from tasks.trainings import (
    ASKED,
    BEGAN,
    ENDED,
    FAILED,
    HELD_BACK,
    NOT_RELEASED,
    TRAINED,
    Asked,
    lineage_of,
    tell,
    told,
)
from tasks.workshop import alone, workplace
from tests.fakes.tiny_registry import POLICY
from tests.serving.tier import until
from tests.system.home import ROOT, Home, ended
from tests.system.killing import flows, unattended

ENTRYPOINT = ROOT / "tests" / "fakes" / "entrypoint.py"
KINDS = (ASKED, BEGAN, ENDED, TRAINED, FAILED, HELD_BACK, NOT_RELEASED)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with unattended(tmp_path_factory.mktemp("retrain"), "held") as made:
        (made.root / "policies").mkdir()
        yield made
        for _, event in made.house.ledger.events(kinds=(ASKED,)):
            assert marked(MARK, event.data["training"]) == []


def write(home: Home, model: str, how: str) -> Path:
    """Write a model's training, and a policy, where they are looked for."""
    policy = POLICY.format(suite=home.root / "suite", approvals=0, soak=0.5, lease=15)
    (home.root / "policies" / f"{model}.toml").write_text(policy)
    path = home.root / "trainings" / f"{model}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"""
entrypoint = "{ENTRYPOINT}"
data = "../suite"
options = {{how = "{how}", ready = "../made/2", told = "{model}.told"}}
""")
    return path


def ask(home: Home, model: str, how: str, *, release: bool = False, ago: float = 0) -> Asked:
    write(home, model, how)
    house = replace(home.house, clock=lambda: time.time() - ago)
    rita = house.identities.prove(home.tokens["rita"])
    return ask_training(house, model, rita, None, release=release)


def train(home: Home, asked: Asked, failpoint: str = "") -> subprocess.Popen[str]:
    parameters = {"model": asked.model, "training_id": asked.id}
    return flows(home, ("retrain", parameters), failpoint=failpoint).process


def kinds(home: Home, asked: Asked) -> list[str]:
    return [event.kind for event in told(home.house, asked, *KINDS)]


def calls(home: Home, model: str) -> list[int]:
    """Pids of the entrypoint, each time that it was run."""
    lines = (home.root / "trainings" / f"{model}.told").read_text().splitlines()
    return [int(json.loads(line)["pid"]) for line in lines]


@pytest.mark.parametrize(
    ("point", "how", "times"),
    [
        ("training-began", "pause+leave", 2),
        ("training-over", "leave", 2),
        ("trained", "leave", 1),
        ("trained", "register", 1),
    ],
)
def test_killed_anywhere_and_run_again_it_gives_one_version(
    home: Home, point: str, how: str, times: int
) -> None:
    model = f"{point}-{how}".replace("+", "-")
    asked = ask(home, model, how)
    code, said = ended(train(home, asked, point))
    assert code == -signal.SIGKILL and f"failpoint {point}" in said
    assert kinds(home, asked) == [ASKED, BEGAN, *[ENDED] * (times == 1)]
    # The entrypoint does not live on and register something later.
    until(lambda: marked(MARK, asked.id) == [], 10)
    for _ in range(2):
        code, said = ended(train(home, asked))
        assert code == 0, said
        assert f"{model}@1 was trained by {asked.id}" in said
    assert kinds(home, asked) == [ASKED, *[BEGAN] * times, ENDED, TRAINED]
    assert len(calls(home, model)) == times
    made = home.house.registry.candidate(model)
    assert made.version == 1
    assert lineage_of(home.house, made) is not None


def test_what_failed_is_not_trained_because_its_flow_was_killed(home: Home) -> None:
    """It registered a version and ended with code 3, and nobody saw that."""
    asked = ask(home, "unseen", "register+fail")
    code, said = ended(train(home, asked, "training-over"))
    assert code == -signal.SIGKILL, said
    assert home.house.registry.candidate("unseen").version == 1
    code, said = ended(train(home, asked))
    assert code == 1 and "ended with code 3" in said
    assert kinds(home, asked) == [ASKED, BEGAN, BEGAN, FAILED]


def test_what_a_killed_run_left_undone_is_done_by_the_reconciler(home: Home) -> None:
    asked = ask(home, "undone", "leave")
    registry = home.house.registry
    code, said = ended(train(home, asked, "training-told"))
    assert code == -signal.SIGKILL, said
    assert kinds(home, asked) == [ASKED, BEGAN, ENDED, TRAINED]
    assert registry.tags("undone") == {1: {}} and workplace(home.house, asked).exists()
    (event,) = told(home.house, asked, TRAINED)
    told_of = {name: event.data[name] for name in ("version", "lineage")}
    # A model that was trained, but taken out of the registry since, keeps no other waiting.
    tell(home.house, ask(home, "gone", "leave"), TRAINED, "it gave gone@1", told_of)
    code, said = ended(flows(home, ("reconcile", {})).process)
    assert code == 0, said
    made = lineage_of(home.house, registry.candidate("undone"))
    assert made is not None and registry.tags("undone") == {1: made.tags()}
    assert not workplace(home.house, asked).exists()


def test_an_entrypoint_that_is_killed_has_failed(home: Home) -> None:
    asked = ask(home, "shot", "sleep")
    run = train(home, asked)
    until((home.root / "trainings" / "shot.told").exists, 60)
    until(lambda: calls(home, "shot"))
    os.kill(calls(home, "shot")[0], signal.SIGKILL)
    code, said = ended(run)
    assert code == 1 and "signal 9 ended its entrypoint" in said
    assert kinds(home, asked) == [ASKED, BEGAN, FAILED]


def test_two_processes_never_train_at_once(home: Home) -> None:
    asked = ask(home, "twice", "pause+leave")
    said = [ended(run) for run in [train(home, asked) for _ in range(2)]]
    assert 0 in [code for code, _ in said], said
    # The other was refused, or came so late that it found all done.
    assert all(code == 0 or "at work on training" in words for code, words in said), said
    assert kinds(home, asked) == [ASKED, BEGAN, ENDED, TRAINED]
    assert len(calls(home, "twice")) == 1


def test_what_was_dropped_is_taken_up_and_released(home: Home) -> None:
    """Killed before its release was opened; the reconciler goes on from there, once."""
    asked = ask(home, "dropped", "leave", release=True, ago=100)
    fresh, failed = ask(home, "fresh", "leave", ago=-3600), ask(home, "failed", "fail", ago=100)
    busy = ask(home, "busy", "leave", ago=100)
    code, said = ended(train(home, asked, "trained"))
    assert code == -signal.SIGKILL, said
    with alone(home.house, busy):
        for _ in range(2):
            code, said = ended(flows(home, ("reconcile", {})).process)
            assert code == 0, said
    (release,) = home.house.ledger.releases("dropped")
    assert (release.phase, release.requester) == (Phase.PROMOTED, "rita")
    opened = home.house.ledger.events(release.id)[0][1]
    assert f"rita asks to release dropped@1, trained by {asked.id}" in opened.sentence
    assert opened.data["lineage"]["training"] == asked.id
    assert kinds(home, asked) == [ASKED, BEGAN, ENDED, TRAINED]
    assert kinds(home, failed) == [ASKED, BEGAN, FAILED]
    assert kinds(home, fresh) == kinds(home, busy) == [ASKED]


def test_a_release_waits_while_another_is_open(home: Home) -> None:
    house = home.house
    asked = ask(home, "held", "leave", release=True, ago=100)
    policy = home.policy("asks", approvals=1)
    rita, manager = (house.identities.prove(home.tokens[name]) for name in ("rita", "max"))
    first = open_release(house, Request(model="held", version=1, policy=policy), rita)
    code, said = ended(train(home, asked))
    assert code == 0, said
    (waits,) = told(house, asked, HELD_BACK)
    assert f"held@4 waits for its release: held has an open release, {first.id}" in waits.sentence
    roll_back(house, "held", manager, "another comes")
    (home.root / "policies" / "held.toml").unlink()
    for _ in range(2):
        code, said = ended(flows(home, ("reconcile", {})).process)
        assert code == 0, said
    assert kinds(home, asked) == [ASKED, BEGAN, ENDED, TRAINED, HELD_BACK, NOT_RELEASED]
    assert "No policy of held can be read" in told(house, asked, NOT_RELEASED)[0].sentence


def test_a_schedule_trains_in_a_machine_s_name_alone(home: Home) -> None:
    write(home, "nightly", "leave")
    said = home.slipway("identity", "add", "cron", "--owner", "rita", who="ada")
    home.tokens["cron"] = said.stdout.strip()
    nightly = ("retrain", {"model": "nightly"})
    code, words = ended(flows(home, nightly, who="rita").process)
    assert code == 1 and "rita is a person" in words
    code, words = ended(flows(home, nightly, who="cron").process)
    assert code == 0, words
    events = [event for _, event in home.house.ledger.events(model="nightly")]
    assert [event.kind for event in events] == [ASKED, BEGAN, ENDED, TRAINED]
    assert events[0].actor == "cron"
