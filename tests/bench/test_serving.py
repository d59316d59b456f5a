import ast
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.bench import __main__ as bench
from tests.bench import against, peer, serving
from tests.bench.against import Contest, Race, race
from tests.bench.alone import checked, over
from tests.bench.artefacts import NULL, Artefacts
from tests.bench.asking import Run, Target
from tests.bench.figures import Figure
from tests.bench.load import closed
from tests.bench.offline import batches
from tests.bench.ours import ours
from tests.bench.peer import PEERS, Setting, http_post, standing
from tests.bench.trace import TEXTS, trace

HERE = Path(__file__).parent
NOBODY = Target(port=9, requests=[b""])
BARE = Artefacts(
    store=HERE, chosen=NULL, neighbour=NULL, exact=NULL, padded=HERE, source=HERE
)  # for rows whose model computes nothing

SERVER = """
import argparse, json, subprocess, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
given, _ = parser.parse_known_args()
leaves = "setsid sleep 60 >/dev/null 2>&1 & echo $!"
left = subprocess.run(["sh", "-c", leaves], capture_output=True, text=True).stdout


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        if self.path == "/1":
            time.sleep(0.02)
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps({"label": asked["text"], "score": int(left)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", given.port), Handler).serve_forever()
"""


@pytest.fixture
def tiny_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> peer.Peer:
    """A server of the standard library, run as a peer is."""
    made = replace(PEERS[0], name="tiny")
    (tmp_path / "scripts" / "tiny").mkdir(parents=True)
    (tmp_path / "scripts" / "tiny" / "serve.py").write_text(SERVER)
    python = tmp_path / "environments" / "tiny" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    monkeypatch.setattr(peer, "HERE", tmp_path / "scripts")
    monkeypatch.setattr(peer, "ENVIRONMENTS", tmp_path / "environments")
    return made


def a_contest(**more: Any) -> Contest:
    plain: dict[str, Any] = {
        "name": "test",
        "engine": "null",
        "folder": None,
        "probe": lambda target, answers, rounds: {"rate": 30.0 if target is NOBODY else 10.0},
        "answers": 10,
        "peer_answers": 5,
        "connections": 2,
        "defaults": True,
    }
    return Contest(**(plain | more))


def test_a_peer_is_asked_and_leaves_nothing(tiny_peer: peer.Peer) -> None:
    with standing(tiny_peer, "null", None) as served:
        found = served.ask("hello")
        assert found["label"] == "hello"
        assert psutil.pid_exists(found["score"])
        run = closed(served.target(["a", "b"]), 2, 20)
        assert (len(run.latencies), run.refused) == (20, [])
    with pytest.raises(OSError, match="refused"):
        served.ask("hello")
    # What its children left to themselves is gone as well.
    left = psutil.pid_exists(found["score"]) and psutil.Process(found["score"]).status()
    assert left in (False, psutil.STATUS_ZOMBIE)


def test_a_peer_that_does_not_come_up_is_told_with_its_last_words(tiny_peer: peer.Peer) -> None:
    (peer.HERE / "tiny" / "serve.py").write_text("raise SystemExit('no such engine')")
    with (
        pytest.raises(RuntimeError, match="tiny ended: no such engine"),
        standing(tiny_peer, "null", None),
    ):
        pass


def test_ours_is_put_over_the_best_peer(tiny_peer: peer.Peer) -> None:
    found = race(a_contest(), NOBODY, [tiny_peer])
    assert found.ours == [{"rate": 30.0}] * 2, "before and after"
    figure = found.figure("serving.test", "rate", "rate", 3.0)
    assert (figure.value, figure.met) == (3.0, True)
    assert "tiny, as it ships (ours 30; tiny 10)" in figure.what


def test_a_peer_without_an_environment_is_told_and_no_obstacle(tiny_peer: peer.Peer) -> None:
    absent = replace(tiny_peer, name="absent")
    found = race(a_contest(), NOBODY, [absent, tiny_peer])
    (told,) = found.failures("test")
    assert (told.id, told.value) == ("serving.test.absent", None)
    assert "make bench-peers makes it" in told.what
    assert found.figure("serving.test", "rate", "rate", 3.0).value == 3.0


def test_the_best_peer_is_the_one_with_the_most() -> None:
    found = Race(
        ours=[{"rate": 30.0}, {"rate": 40.0}, {"rate": 20.0}],
        peers={"a": {"rate": 10.0}, "b": {"rate": 15.0}, "c": {"rate": 0.0}},
        settings={"b": Setting(batch=8)},
    )
    figure = found.figure("serving.test", "rate", "rate", 3.0)
    assert (figure.value, figure.met) == (2.0, False)
    assert "b, batches of 8 (ours 30; a 10, b 15)" in figure.what


def test_without_any_peer_there_is_no_value() -> None:
    figure = Race(ours=[{"rate": 1.0}]).figure("serving.test", "rate", "rate", 3.0)
    assert figure.value is None
    assert "no peer" in figure.what


def test_a_peer_gets_the_setting_that_answers_most(
    tiny_peer: peer.Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(against, "CALIBRATED", 20)
    for polls in (True, False):
        assert against.calibrate(a_contest(), replace(tiny_peer, polls=polls)) == Setting(batch=8)


def test_a_rate_with_refusals_says_nothing() -> None:
    with pytest.raises(RuntimeError, match="1 of 2 were not answered with 200"):
        checked(Run(seconds=1.0, asked=2, latencies=[0.1], refused=[0.1]), "a loop")


def test_ratios_are_of_medians() -> None:
    assert over([4.0, 8.0, 100.0], [2.0, 2.0, 2.0]) == (4.0, "2 to 50 in 3 rounds")


def test_offline_batches_are_sorted_and_within_the_budget() -> None:
    assert batches([30, 5, 12, 60, 16], step=16, budget=64) == [[1, 2, 4], [0], [3]]


def test_the_trace_is_the_same_each_time() -> None:
    assert trace() == trace()
    words = [len(text.split()) for text in trace()]
    assert (len(words), max(words)) == (TEXTS, 200)
    assert sum(words) / len(words) == pytest.approx(32, abs=1)


def test_a_request_is_whole() -> None:
    made = http_post("/predict/x", {"text": "ä"}, ["x-a: b"])
    head, _, body = made.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /predict/x HTTP/1.1\r\n")
    assert b"\r\nx-a: b" in head
    assert f"content-length: {len(body)}".encode() in head


def test_the_null_model_answers_through_the_real_gateway() -> None:
    with ours(BARE, NULL) as tier:
        run = closed(tier.target(NULL, ["one", "two"]), 4, 200)
        answer = tier.client.post("/predict/null", json={"text": "x"}) if tier.client else None
        assert tier.gateway_bytes() > 2**20
    assert (len(run.latencies), run.refused) == (200, [])
    assert answer is not None
    assert answer.json() == {"label": "alpha", "score": 0.75}


def test_a_row_that_breaks_off_is_told_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: object) -> list[Figure]:
        raise OSError("no more")

    good = Figure(id="serving.good", what="", value=1.0, better="higher")
    rows: dict[str, Callable[[object], object]] = {"bad": broken, "good": lambda _: [good]}
    monkeypatch.setattr(serving, "ROWS", rows)
    monkeypatch.setattr(serving, "artefacts", lambda: BARE)
    bad, same = serving.figures(["bad", "good"])
    assert (bad.id, bad.value, same) == ("serving.bad", None, good)
    assert "no more" in bad.what


def test_rows_of_one_race_are_measured_together() -> None:
    assert [*serving._wanted(["open", "memory"])] == ["open", "memory"]
    assert [*serving._wanted(serving.ROWS)] == [row for row in serving.ROWS if row != "open"]


def test_a_row_wants_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--row", "closed"])
    assert "--only serving" in capsys.readouterr().err


PEER_PACKAGES = ("litserve", "mlserver", "bentoml", "ray", "infinity_emb")


def imports(path: Path) -> set[str]:
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    found = set[str]()
    for node in tree:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_peers_are_imported_by_their_scripts_only() -> None:
    scripts = {one.name: HERE / "peers" / one.name / "serve.py" for one in PEERS}
    astray = {
        path.name: names
        for path in HERE.rglob("*.py")
        if path not in scripts.values() and (names := imports(path) & {*PEER_PACKAGES})
    }
    assert astray == {}
    house = {"release", "infra", "serving", "evaluation", "tasks", "flows", "console", "tests"}
    handed = [*scripts.values(), HERE / "peers" / "handler.py"]
    assert [path for path in handed if imports(path) & house] == []


@pytest.mark.parametrize("name", [one.name for one in PEERS])
def test_a_peers_environment_is_pinned_and_none_of_ours(name: str) -> None:
    lines = (HERE / "peers" / name / "requirements.txt").read_text().splitlines()
    assert all("==" in line and "@" not in line and "+" not in line for line in lines)
    ours = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["project"]
    package = {"rayserve": "ray", "infinity": "infinity_emb"}.get(name, name)
    assert any(line.startswith(f"{package}==") for line in lines)
    assert not any(one.startswith(package) for one in ours["dependencies"])
