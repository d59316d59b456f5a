"""The command as people use it, in one home, from `up` to `down`; and the control plane killed."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.fakes.tiny_model import LABELS
from tests.serving.tier import body, until
from tests.system.home import Home, records


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("journey"))
    made.register("tiny", "bad")
    made.people()
    made.slipway("up", "-d")
    yield made
    made.slipway("down")
    assert made.processes() == []
    made.house.ledger.close()


def gateway(home: Home) -> str:
    return str(home.json("status")["parts"]["gateway"].split()[0])


def test_up_twice_is_refused(home: Home) -> None:
    assert "is up already" in home.slipway("up", "-d", code=2).stderr


def _no_model(home: Home) -> list[str]:
    return ["release", "nothing", "--policy", str(home.policy("p"))]


def _no_version(home: Home) -> list[str]:
    return ["release", "tiny", "--version", "9", "--policy", str(home.policy("p"))]


def _bad_name(home: Home) -> list[str]:
    return ["release", "../etc", "--policy", str(home.policy("p"))]


def _no_policy(home: Home) -> list[str]:
    return ["release", "tiny", "--policy", str(home.root / "missing.toml")]


def _changed(change: Callable[[str], str]) -> Callable[[Home], list[str]]:
    def spoilt(home: Home) -> list[str]:
        path = home.policy("spoilt")
        path.write_text(change(path.read_text()))
        return ["release", "tiny", "--version", "1", "--policy", str(path)]

    return spoilt


def _pickle(home: Home) -> list[str]:
    files = home.root / "mlflow" / "artifacts"
    for weights in files.rglob("model.safetensors"):
        if "bad" in _model_of(home, weights):
            (weights.parent / "optimizer.pkl").write_bytes(b"\x80\x04.")
    return ["release", "bad", "--version", "1", "--policy", str(home.policy("p"))]


def _model_of(home: Home, weights: Path) -> str:
    registry = home.house.registry
    found = (
        model
        for model in ("tiny", "bad")
        for version in (1, 2, 3)
        if weights.parts[-4] in registry.facts(registry.candidate(model, version))["source"]
    )
    return next(found, "")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (_no_model, "No model is registered as 'nothing'"),
        (_no_version, "tiny has no version 9. (it has 1, 2, 3)"),
        (_bad_name, "A model name must be 1 to 63"),
        (_no_policy, "missing.toml"),
        (_changed(lambda text: text + "]["), "is not TOML"),
        (_changed(lambda text: text.replace("at_least = 0.5", "at_least = 7")), "demands 7"),
        (_changed(lambda text: text.replace('"accuracy"', '"bleu"')), "'bleu'"),
        (_changed(lambda text: text.replace("share = 50", "share = 140")), "140"),
        (_changed(lambda text: text.replace("openvino-int8", "gguf-q4")), "gguf-q4"),
        (_changed(lambda text: text.replace("[suite]\n", "[suite]\nextra = 1\n")), "extra"),
        (_changed(lambda text: text.replace("/suite", "/elsewhere")), "No suite can be read at"),
        (_pickle, "optimizer.pkl is not of a kind that may be loaded"),
    ],
)
def test_what_cannot_be_released_is_refused_and_nothing_is_left(
    home: Home, command: Callable[[Home], list[str]], said: str
) -> None:
    arguments = command(home)
    refused = home.slipway(*arguments, who="rita", code=2)
    assert said in refused.stderr
    assert refused.stderr.count("\n") <= 2
    assert home.house.ledger.releases("tiny") == []
    assert home.house.ledger.releases("bad") == []


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
    assert "waits for a yes" in asked.stdout
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
    assert "tiny@1" in home.slipway("status").stdout
    until(lambda: home.house.registry.alias("tiny", "champion") == 1, 30)


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


def _serves(process: psutil.Process) -> bool:
    return _kind(process) in ("gateway", "replica") or "console.traffic" in process.cmdline()


def _kind(process: psutil.Process) -> str:
    command = process.cmdline()
    if "serving.gateway.main" in command:
        return "gateway"
    return "replica" if "serving.replica.worker" in command else " ".join(command)
