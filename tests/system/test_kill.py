"""A release that is killed anywhere and run again ends as if it had never been killed."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from flows.control import Prefect, environment, server_command
from infra.processes import Process, alive, free_port, start, stop
from infra.settings import Settings
from release.releases import Phase, Release
from tasks.desk import Request, open_release
from tests.serving.tier import until
from tests.system.home import ROOT, Home, records

POINTS = {
    "spared": "",
    "killed-building": "built",
    "killed-judged": "judged",
    "killed-in-canary": "canary-0",
}
"""Model to the failpoint at which its release is killed."""

TIMES = {"id", "opened_at", "closed_at", "since", "not_before", "requester"}
MEASURED = re.compile(r"\d+(\.\d+)?")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with an agent and a Prefect server, but no worker: the test itself runs the flows."""
    made = Home(tmp_path_factory.mktemp("kill"))
    settings = Settings(home=made.root)
    port = free_port(settings.host)
    made.prefect = environment(settings, f"http://{settings.host}:{port}/api")
    commands = {
        "agent": [sys.executable, "-m", "serving.agent.main"],
        "prefect": server_command(settings, port),
    }
    env = made.environment()
    parts = [
        start(name, command, env=env, log=made.root / f"{name}.log", cwd=ROOT)
        for name, command in commands.items()
    ]
    try:
        made.register(*POINTS)
        made.people()
        until(Prefect(f"http://{settings.host}:{port}/api").healthy, 120)
        yield made
    finally:
        stop(parts, grace=20)
        made.house.ledger.close()


def ask_for(home: Home, model: str, version: int) -> Release:
    requester = home.house.identities.prove(home.tokens["rita"])
    policy = home.policy("policy", lease=90)
    return open_release(home.house, Request(model=model, version=version, policy=policy), requester)


def drive(home: Home, *releases: Release, failpoint: str = "") -> subprocess.Popen[str]:
    named = [f"{one.candidate.model}={one.id}" for one in releases]
    env = home.environment(SLIPWAY_FAILPOINT=failpoint)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.system.drive", *named],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=200)
    return process.returncode, said


def gateway(home: Home) -> str:
    return f"http://127.0.0.1:{(home.root / 'run' / 'port').read_text()}"


def standing(home: Home, release: Release) -> dict[str, Any]:
    """All that is left of a release, without names, moments and measured figures."""
    house, model = home.house, release.candidate.model
    closed, desired = house.ledger.release(release.id), house.ledger.desired(model)
    refs = {
        one.digest: one.ref
        for one in (desired.champion, desired.previous, release.stable)
        if one is not None
    }
    release_fields = {name: value for name, value in asdict(closed).items() if name not in TIMES}
    release_fields["chosen"] = refs[release_fields["chosen"]["variant"]["digest"]]
    release_fields["stable"] = refs[release_fields["stable"]["digest"]]
    kept = {
        "release": release_fields,
        "desired": [
            refs.get(one.digest) if one else None
            for one in (desired.champion, desired.canary, desired.previous)
        ],
        "share": desired.canary_percent,
        "alias": [house.registry.alias(model, name) for name in ("champion", "previous")],
        "events": [event.kind for _, event in house.ledger.events(release.id)],
        "reports": len(house.ledger.reports(release.id)),
    }
    return {
        name: MEASURED.sub("#", str(value).replace(model, "MODEL")) for name, value in kept.items()
    }


def test_killed_anywhere_and_run_again_it_ends_the_same(home: Home) -> None:
    first = [ask_for(home, model, 1) for model in POINTS]
    code, said = ended(drive(home, *first))
    assert code == 0, said
    with home.client(gateway(home), *POINTS) as answers:
        second = {model: ask_for(home, model, 2) for model in POINTS}
        runs = {
            model: drive(home, second[model], failpoint=point) for model, point in POINTS.items()
        }
        for model, point in POINTS.items():
            code, said = ended(runs[model])
            assert (code == 0) is not bool(point), said
            assert not point or f"failpoint {point}" in said
        for model, point in POINTS.items():
            phase = home.house.ledger.release(second[model].id).phase
            assert phase.closed is not bool(point)
        again = [drive(home, second[model]) for model, point in POINTS.items() if point]
        for run in again:
            code, said = ended(run)
            assert code == 0, said
    wanted = standing(home, second["spared"])
    assert "Phase.PROMOTED" in wanted["release"]
    for model in POINTS:
        assert standing(home, second[model]) == wanted, model
    failed = [one for one in records(answers) if one["status"] != 200]
    assert not failed


def test_two_processes_never_prepare_one_release(home: Home) -> None:
    release = ask_for(home, "spared", 3)
    with home.client(gateway(home), "spared"):
        runs = [drive(home, release) for _ in range(2)]
        said = [ended(run) for run in runs]
    events = [event.kind for _, event in home.house.ledger.events(release.id)]
    assert events.count("built") == events.count("measured") == events.count("judged") == 1
    assert 0 in [code for code, _ in said], said
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


def _gateways_of(home: Home, agent: Process) -> bool:
    mine = [one for one in home.processes() if "serving.gateway.main" in one.cmdline()]
    return [one.ppid() for one in mine] == [agent.pid]


def test_a_closed_release_stays_closed(home: Home) -> None:
    closed = home.house.ledger.releases("killed-judged")[-1]
    code, said = ended(drive(home, closed))
    assert code == 0, said
    after = home.house.ledger.release(closed.id)
    assert after == closed
    assert after.phase is Phase.PROMOTED


def test_paths_are_of_this_home_only(home: Home) -> None:
    assert all(Path(one.cwd()) == ROOT for one in home.processes())
