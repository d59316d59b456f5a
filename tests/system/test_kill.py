"""A release that is killed anywhere and run again ends as if it had never been killed."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.processes import Process, alive, start, stop
from release.releases import Phase
from tests.serving.tier import until
from tests.system.home import ROOT, Home, records
from tests.system.killing import ask_for, drive, flows, gateway, standing, unattended

POINTS = {
    "spared": "",
    "killed-building": "built",
    "killed-judged": "judged",
    "killed-in-canary": "canary-0",
}
"""Model to the failpoint at which its release is killed."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with unattended(tmp_path_factory.mktemp("kill"), *POINTS) as made:
        yield made


def test_killed_anywhere_and_run_again_it_ends_the_same(home: Home) -> None:
    drive(home, *(ask_for(home, model, 1) for model in POINTS)).ended()
    with home.client(gateway(home), *POINTS, rate=12) as answers:
        second = {model: ask_for(home, model, 2) for model in POINTS}
        runs = [drive(home, second[model], failpoint=point) for model, point in POINTS.items()]
        for run in runs:
            run.ended()
        for model, point in POINTS.items():
            phase = home.house.ledger.release(second[model].id).phase
            assert phase.closed is not bool(point)
        again = [drive(home, second[model]) for model, point in POINTS.items() if point]
        for run in again:
            run.ended()
    wanted = standing(home, second["spared"])
    assert "Phase.PROMOTED" in wanted["release"]
    for model in POINTS:
        assert standing(home, second[model]) == wanted, model
    failed = [one for one in records(answers) if one["status"] != 200]
    assert not failed


def test_a_reconciler_killed_between_two_models_repairs_the_other_next_time(home: Home) -> None:
    """One is not shown yet, for its flow died at the end; the other was pointed elsewhere."""
    registry, models = home.house.registry, ("killed-building", "spared")
    release = ask_for(home, models[0], 3)
    with home.client(gateway(home), models[0]):
        drive(home, release, failpoint="promoted-0").ended()
    registry.point(models[1], "champion", 1)
    assert [registry.alias(model, "champion") for model in models] == [2, 1]
    flows(home, ("reconcile", {}), failpoint="shown").ended()
    assert [registry.alias(model, "champion") for model in models] == [3, 1]
    flows(home, ("reconcile", {})).ended()
    assert [registry.alias(model, "champion") for model in models] == [3, 2]
    told = [event.kind for _, event in home.house.ledger.events(release.id)]
    assert told.count("promoted") == told.count("done") == told.count("recorded") == 1


def test_two_processes_never_prepare_one_release(home: Home) -> None:
    release = ask_for(home, "spared", 3)
    with home.client(gateway(home), "spared"):
        runs = [drive(home, release) for _ in range(2)]
        said = [run.process.communicate(timeout=240)[0] for run in runs]
    events = [event.kind for _, event in home.house.ledger.events(release.id)]
    assert events.count("built") == events.count("measured") == events.count("judged") == 1
    assert 0 in [run.process.returncode for run in runs], said
    assert home.house.ledger.release(release.id).phase is Phase.PROMOTED


def test_what_is_left_by_a_killed_agent_serves_on_and_is_taken_over(home: Home) -> None:
    url = gateway(home)
    before = {one.pid for one in home.processes() if "replica" in " ".join(one.cmdline())}
    (agent,) = [one for one in home.processes() if "serving.agent.main" in one.cmdline()]
    with home.client(url, "killed-in-canary") as answers:
        time.sleep(1)
        agent.kill()
        agent.wait(10)
        time.sleep(1)
        command = [sys.executable, "-m", "serving.agent.main"]
        log = home.root / "agent-2.log"
        process = start("agent", command, env=home.environment(), log=log, cwd=ROOT)
        try:
            until(lambda: _gateways_of(home, process), 30)
            time.sleep(1)
        finally:
            seen = {one.pid for one in home.processes() if "replica" in " ".join(one.cmdline())}
            url_after = gateway(home)
    assert url_after == url
    assert before == seen, "replicas were started anew"
    found = records(answers)
    assert len(found) > 50
    assert {one["status"] for one in found} == {200}
    stop([process], grace=20)
    until(lambda: not alive(process))
    left = [" ".join(one.cmdline()) for one in home.processes()]
    assert not [one for one in left if "serving" in one]


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []  # it died as we looked


def _gateways_of(home: Home, agent: Process) -> bool:
    mine = [one for one in home.processes() if "serving.gateway.main" in _command(one)]
    return [one.ppid() for one in mine] == [agent.pid]


def test_a_closed_release_stays_closed(home: Home) -> None:
    closed = home.house.ledger.releases("killed-judged")[-1]
    drive(home, closed).ended()
    after = home.house.ledger.release(closed.id)
    assert after == closed
    assert after.phase is Phase.PROMOTED


def test_paths_are_of_this_home_only(home: Home) -> None:
    assert all(Path(one.cwd()) == ROOT for one in home.processes())
