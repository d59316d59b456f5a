"""The command as people use it, in one home, from `up` to `down`; and the control plane killed."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.fakes.tiny_model import LABELS
from tests.serving.tier import body, until
from tests.system.home import ROOT, Home, records


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("journey"))
    made.register("tiny")
    made.people()
    made.slipway("up", "-d", SLIPWAY_CAPTURE="full")
    yield made
    made.slipway("down")
    assert made.processes() == []
    made.house.ledger.close()


def gateway(home: Home) -> str:
    return str(home.json("status")["parts"]["gateway"].split()[0])


def test_up_twice_is_refused(home: Home) -> None:
    assert "is up already" in home.slipway("up", "-d", code=2).stderr


@pytest.mark.parametrize("token", ["", "guessed"])
def test_nobody_acts_without_proof(home: Home, token: str) -> None:
    for command in (
        ["release", "tiny", "--policy", str(home.policy("p"))],
        ["approve", "tiny", "--why", "me"],
        ["rollback", "tiny", "--why", "me"],
        ["identity", "add", "eve"],
    ):
        home.slipway(*command, code=2, SLIPWAY_TOKEN=token)
    assert len(home.slipway("identity", "list").stdout.splitlines()) == 4


def test_a_taken_port_is_said(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path)
    port = gateway(home).rpartition(":")[2]
    said = other.slipway("up", "-d", code=2, SLIPWAY_PORT=port).stderr
    assert f"Port {port} on 127.0.0.1 is taken" in said
    assert other.processes() == []


def test_a_release_is_asked_for_approved_and_told(home: Home) -> None:
    policy = str(home.policy("approved", approvals=1))
    asked = home.slipway("release", "tiny", "--version", "1", "--policy", policy, who="rita")
    release = asked.stdout.split()[0]
    assert f'waits for a yes: slipway approve {release} --why "…"' in asked.stdout
    assert "Ctrl-C" not in asked.stdout
    (waiting,) = home.json("status")["open"]
    assert waiting["opened_at"] < waiting["since"]
    assert f"{release}  awaiting-approval for " in home.slipway("status").stdout
    again = home.slipway(
        "release", "tiny", "--version", "2", "--policy", policy, who="rita", code=2
    )
    assert "open release" in again.stderr
    assert "rita" in home.slipway("approve", release, "--why", "mine", who="rita", code=2).stderr
    home.slipway("approve", release, "--why", "it is good", who="max")
    until(lambda: home.house.ledger.release(release).phase.closed, 60)
    answer = httpx.post(f"{gateway(home)}/v2/models/tiny/infer", json=body("about beta"))
    assert answer.status_code == 200
    assert answer.headers["x-slipway-version"] == "1"
    told = home.json("history", "tiny")["releases"][0]
    assert told["outcome"] == "promoted"
    assert (told["requester"], told["approvers"]) == ("rita", ["max"])
    assert told["variant"]["digest"].startswith("sha256:")
    kinds = [event["kind"] for event in told["events"]]
    for kind in ("opened", "built", "measured", "judged", "approved", "warming", "promoted"):
        assert kinds.count(kind) == 1, kinds
    (built,) = [event["data"] for event in told["events"] if event["kind"] == "built"]
    assert built["seconds"] > 0
    assert "tiny@1" in home.slipway("status").stdout
    (endpoint,) = home.json("status")["endpoints"]
    (promoted,) = [event["at"] for event in told["events"] if event["kind"] == "promoted"]
    assert endpoint["champion_since"] == promoted
    until(lambda: home.house.registry.alias("tiny", "champion") == 1, 30)


def test_a_call_is_found_proven_and_accounted_for(home: Home) -> None:
    asked = {"texts": ["我的订单在哪里", "order-12345 has beta"]}
    answer = httpx.post(f"{gateway(home)}/predict/tiny", json=asked)
    request = answer.headers["x-request-id"]
    assert answer.status_code == 200
    for text in ("订单", "order-123"):
        assert request in home.slipway("calls", "search", text, who="ada").stdout
    shown = home.slipway("calls", "show", request, who="ada").stdout
    assert "asked: 我的订单在哪里" in shown and '"label"' in shown
    told = home.slipway("calls", "who", "--id", request, who="ada").stdout
    assert "tiny@1/" in told and "released by rita in tiny-1" in told
    assert "approved by max" in told
    proven = home.slipway("calls", "verify").stdout
    assert "proven up to call" in proven and "NOT PROVEN" not in proven
    refused = home.slipway("calls", "search", who="rita", code=2).stderr
    assert "rita is requester and may not read the call record" in refused


def test_with_the_control_plane_dead_the_champion_gets_all_traffic_back(home: Home) -> None:
    """Supervisor, Prefect, flow run and agent are killed; gateway and replicas live on."""
    policy = str(home.policy("long", soak=300, lease=4))
    release = home.slipway(
        "release", "tiny", "--version", "2", "--policy", policy, "--detach", who="rita"
    ).stdout.split()[0]
    url = gateway(home)
    with home.client(url, "tiny") as answers:
        until(lambda: any(one["version"] == 2 for one in records(answers)), 90)
        time.sleep(6)  # longer than the lease: it is being renewed
        assert 2 in [one["version"] for one in records(answers)[-40:]]
        for process in home.processes():
            if not _serves(process):
                os.kill(process.pid, signal.SIGKILL)
        killed = time.time()
        time.sleep(8)
    assert sorted({_kind(one) for one in home.processes()}) == ["gateway", "replica"]
    found = records(answers)
    assert {one["status"] for one in found} == {200}
    after = [one for one in found if one["sent"] > killed + 5]
    assert len(after) > 30
    assert {one["version"] for one in after} == {1}
    assert {one["version"] for one in found if one["sent"] < killed} == {1, 2}
    assert home.house.ledger.release(release).phase == "canary"


def test_a_rollback_needs_neither_prefect_nor_mlflow(home: Home) -> None:
    nowhere = "http://127.0.0.1:1"
    said = home.slipway(
        "rollback", "tiny", "--why", "all is dead", who="max", SLIPWAY_REGISTRY_URI=nowhere
    )
    assert "put back" in said.stdout
    desired = home.house.ledger.desired("tiny")
    assert desired.champion is not None
    assert (desired.champion.version, desired.canary) == (1, None)
    last = home.house.ledger.releases("tiny")[-1]
    assert last.phase == "rolled-back"
    assert "all is dead" in last.reason


def test_up_after_a_disaster_shows_the_same_state(home: Home) -> None:
    home.slipway("down")
    assert home.processes() == []
    home.slipway("up", "-d")
    url = gateway(home)
    until(lambda: httpx.get(f"{url}/v2/models/tiny/ready").status_code == 200, 30)
    answer = httpx.post(f"{url}/v2/models/tiny/infer", json=body(f"about {LABELS[0]}"))
    assert answer.headers["x-slipway-version"] == "1"


def test_a_canary_is_shown_copies_before_it_answers_anybody(home: Home) -> None:
    policy = home.policy("shadowed")
    step = "  {shadow = 100, soak_seconds = 4, least_requests = 30},\n"
    policy.write_text(policy.read_text().replace("steps = [\n", f"steps = [\n{step}"))
    with home.client(gateway(home), "tiny") as answers:
        until(lambda: len(records(answers)) > 5, 30)
        asked = home.slipway(
            "release", "tiny", "--version", "2", "--policy", str(policy), "--detach", who="rita"
        )
        release = asked.stdout.split()[0]
        until(lambda: home.house.ledger.desired("tiny").shadow_percent == 100, 60)
        assert "copies of 100 %" in home.slipway("status").stdout
        until(lambda: home.house.ledger.release(release).phase.closed, 60)
    closed = home.house.ledger.release(release)
    assert closed.phase == "promoted", closed.reason
    told = [event for _, event in home.house.ledger.events(release)]
    first, second, *_ = [one for one in told if one.kind == "step"]
    assert "gets copies of 100 % of the traffic" in first.sentence
    assert "good at 100 % in the shadow" in second.sentence
    found = records(answers)
    assert {one["status"] for one in found} == {200}
    assert {one["version"] for one in found if one["sent"] < second.at} == {1}
    assert {one["version"] for one in found if one["sent"] > second.at} == {1, 2}
    # Each copy is a call of its own, under the id of the request that it copies.
    newest = home.slipway("calls", "search", "--arm", "shadow", "--most", "1", who="ada").stdout
    request = newest.splitlines()[1].split()[2]
    both = home.slipway("calls", "show", request, who="ada").stdout
    assert "arm: shadow" in both and "arm: champion" in both and "shadow: True" in both
    assert "tiny@1/" in home.slipway("calls", "who", "--id", request, who="ada").stdout
    shown = ("calls", "who", "--id", request, "--arm", "shadow")
    told_of = home.slipway(*shown, who="ada").stdout
    assert told_of.startswith(f"a copy of call {request} to tiny at ")
    assert f"released by rita in {release}" in told_of


def test_a_version_is_trained_and_released_by_one_command(home: Home) -> None:
    policy = home.root / "policies" / "learnt.toml"
    policy.parent.mkdir(exist_ok=True)
    policy.write_text(home.policy("learnt").read_text())
    training = home.root / "training.toml"
    options = '[options]\nready = "made/2"\nhow = "leave"\n'
    plain = f'entrypoint = "{ROOT / "tests" / "fakes" / "entrypoint.py"}"\ndata = "suite"\n'
    training.write_text(plain + options)
    asking = ["retrain", "learnt", "--training", str(training)]
    home.slipway(*asking, code=2, SLIPWAY_TOKEN="guessed")  # noqa: S106 - proves nobody
    said = home.slipway(*asking, "--release", who="rita").stdout
    for words in ("100 % done", "gave learnt@1: data ", "asks to release learnt@1, trained by"):
        assert words in said, said
    assert home.house.ledger.releases("learnt")[0].phase == "promoted"
    training.write_text(plain + options.replace("leave", "fail"))
    failed = home.slipway(*asking, who="rita", code=2)
    assert "ended with code 3; its last words: " in failed.stderr
    assert failed.stderr.count("\n") == 1


def _serves(process: psutil.Process) -> bool:
    return _kind(process) in ("gateway", "replica") or "console.traffic" in process.cmdline()


def _kind(process: psutil.Process) -> str:
    command = process.cmdline()
    if "serving.gateway.main" in command:
        return "gateway"
    return "replica" if "serving.replica.worker" in command else " ".join(command)
