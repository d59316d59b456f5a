"""The agent over a real ledger: what dies is started again, and what is lost stops nothing."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.ledger import Change, Ledger
from infra.processes import start, stop
from infra.settings import Settings, inherited
from release.releases import Desired
from tests.serving.conftest import ROOT, Tiny
from tests.serving.tier import body, until
from tests.system.home import Home


class Host:
    """A home with an agent, whose ledger the test writes itself."""

    def __init__(self, home: Home, tiny: Tiny) -> None:
        self.home = home
        self.settings = Settings(home=home.root)
        shutil.copytree(tiny.root / "store", self.settings.store)
        self.ledger = Ledger.open(self.settings.ledger)
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "serving.agent.main"]
        env = inherited(SLIPWAY_HOME=str(self.home.root))
        self.agent = start("agent", command, env=env, log=self.home.root / "agent.log", cwd=ROOT)

    def serve(self, desired: Desired) -> None:
        claim = self.ledger.claim(desired.model, "test", 60, 0.0)
        before = self.ledger.desired(desired.model).generation
        self.ledger.commit(claim, Change(desired=desired, expected=before), 0.0)

    def ask(self, word: str = "beta") -> httpx.Response:
        port = (self.settings.run / "port").read_text()
        url = f"http://127.0.0.1:{port}/v2/models/tiny/infer"
        return httpx.post(url, json=body(f"the word {word}"), timeout=20)

    def serves(self) -> bool:
        try:
            return self.ask().status_code == httpx.codes.OK
        except (httpx.TransportError, OSError):
            return False

    def processes(self, kind: str) -> list[int]:
        module = f"serving.{kind}"
        return [one.pid for one in self.home.processes() if module in one.cmdline()]


@pytest.fixture
def host(tiny: Tiny, tmp_path: Path) -> Iterator[Host]:
    made = Host(Home(tmp_path), tiny)
    made.serve(Desired(model="tiny", champion=tiny.variant(1)))
    until(made.serves, 60)
    yield made
    made.ledger.close()
    stop([made.agent], grace=20)
    assert made.home.processes() == []


def test_a_champion_whose_replica_is_killed_is_waited_for(host: Host) -> None:
    for _ in range(2):
        (replica,) = host.processes("replica.worker")
        os.kill(replica, signal.SIGKILL)
        assert [host.ask().status_code for _ in range(5)] == [200] * 5
    assert host.processes("replica.worker") != [replica]


def test_a_replica_that_hangs_is_replaced(host: Host) -> None:
    (replica,) = host.processes("replica.worker")
    os.kill(replica, signal.SIGSTOP)
    until(lambda: host.processes("replica.worker") not in ([replica], []), 40)
    until(host.serves, 20)


def test_a_gateway_that_is_killed_comes_back_on_its_port(host: Host) -> None:
    port = (host.settings.run / "port").read_text()
    (gateway,) = host.processes("gateway.main")
    os.kill(gateway, signal.SIGKILL)
    until(host.serves, 20)
    assert (host.settings.run / "port").read_text() == port
    assert host.processes("gateway.main") != [gateway]


def test_a_lost_ledger_takes_nothing_out_of_production(host: Host) -> None:
    os.kill(host.agent.pid, signal.SIGKILL)
    host.ledger.close()
    for path in host.home.root.glob("ledger.db*"):
        path.unlink()
    before = host.processes("replica.worker")
    host.start()
    gateways = host.processes("gateway.main")
    until(lambda: host.processes("gateway.main") not in ([], gateways), 30)
    until(lambda: len(host.processes("gateway.main")) == 1, 30)
    assert host.ask().status_code == 200
    assert host.processes("replica.worker") == before


def test_what_nobody_wants_any_more_is_ended(host: Host, tiny: Tiny) -> None:
    desired = host.ledger.desired("tiny")
    host.serve(Desired(model="tiny", champion=desired.champion, previous=tiny.variant(2)))
    until(lambda: len(host.processes("replica.worker")) == 2, 20)
    os.kill(host.agent.pid, signal.SIGKILL)
    host.serve(Desired(model="tiny", champion=desired.champion))
    host.start()
    until(lambda: len(host.processes("replica.worker")) == 1, 30)
    assert host.ask().status_code == 200
