"""The agent over a real ledger: what dies is started again, and what is lost stops nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.settings import inherited
from release.releases import Desired
from release.routes import Serving
from serving.agent.replica import Replica
from serving.gateway.presence import anyone_present
from serving.replica.messages import Load, Status
from tests.fakes.wire_replica import variant
from tests.serving.conftest import Tiny
from tests.serving.host import Host, serving
from tests.serving.tier import until
from tests.system.home import Home

RECIPE = "onnx-int8"


@pytest.fixture
def host(tiny: Tiny, tmp_path: Path) -> Iterator[Host]:
    made = Host(Home(tmp_path), tiny, SLIPWAY_NAME="web2")
    made.serve(Desired(model="tiny", champion=tiny.variant(1)))
    until(made.serves, 60)
    yield made
    made.close()


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


def test_a_gateway_is_known_to_live_until_it_does_not(host: Host) -> None:
    assert anyone_present(host.settings.run)
    os.kill(host.agent.pid, signal.SIGKILL)
    (gateway,) = host.processes("gateway.main")
    assert anyone_present(host.settings.run)
    os.kill(gateway, signal.SIGKILL)
    until(lambda: not anyone_present(host.settings.run), 5)
    host.start()
    until(host.serves, 20)


def test_what_its_gateways_record_is_anchored_and_can_be_proven(host: Host) -> None:
    for _ in range(3):
        assert host.ask().status_code == 200
    (place,) = host.settings.journal.iterdir()
    assert place.name == "web2_g1"

    def verify() -> subprocess.CompletedProcess[str]:
        env = inherited(SLIPWAY_HOME=str(host.home.root))
        command = [sys.executable, "-c", "from console.main import run; run()", "calls", "verify"]
        return subprocess.run(command, env=env, text=True, capture_output=True, check=False)

    until(lambda: "; 0 since then" in verify().stdout, 20)
    said = verify()
    assert said.returncode == 0 and f"{place.name}: calls 1 to " in said.stdout
    path = place / "00000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"status":200', b'"status":500', 1))
    said = verify()
    assert said.returncode == 1
    assert "NOT PROVEN: segment 1, line " in said.stdout and " was changed" in said.stdout


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


def test_as_many_replicas_as_the_policy_asks_for(host: Host, tiny: Tiny) -> None:
    champion = tiny.variant(1)
    host.serve(Desired(model="tiny", champion=champion, policy_text=serving(replicas=3)))
    until(lambda: host.ready(champion.digest) == 3, 40)
    rows = until(lambda: (found := host.ledger.replicas("tiny")) and len(found) == 3 and found)
    assert [one.number for one in rows] == [1, 2, 3]
    assert len({one.pid for one in rows}) == 3
    before = host.of(champion.digest)
    os.kill(host.agent.pid, signal.SIGKILL)
    host.start()
    host.serve(Desired(model="tiny", champion=champion, policy_text=serving(replicas=2)))
    until(lambda: len(host.of(champion.digest)) == 2, 40)
    assert set(host.of(champion.digest)) < set(before)
    assert host.ask().status_code == 200


def test_threads_are_those_of_the_policy(host: Host, tiny: Tiny) -> None:
    champion = tiny.variant(2)
    policy = serving(threads=2, tune="throughput")
    host.serve(Desired(model="tiny", champion=champion, policy_text=policy))
    (pid,) = until(lambda: host.of(champion.digest), 20)
    command = psutil.Process(pid).cmdline()
    assert command[command.index("--threads") + 1] == "2"
    assert "--tune" not in command


@pytest.fixture
def wide(tiny: Tiny, tmp_path: Path) -> Iterator[Host]:
    """Two gateways on one port."""
    made = Host(Home(tmp_path), tiny, SLIPWAY_GATEWAYS="2")
    made.serve(Desired(model="tiny", champion=tiny.variant(1, RECIPE)))
    until(made.serves, 60)
    until(lambda: made.status("g1") and made.status("g2"), 30)
    yield made
    made.close()


def test_several_gateways_share_a_port_and_each_is_reported(wide: Host) -> None:
    seen = until(
        lambda: (
            (found := wide.ledger.gateways("tiny"))
            and all(one.generation == 1 for one in found)
            and len(found) == 2
            and found
        )
    )
    assert [one.gateway.rpartition("/")[2] for one in seen] == ["g1", "g2"]
    for name in ("g1", "g2"):
        assert list(wide.settings.journal.glob(f"*_{name}"))
    port = int((wide.settings.run / "grpc-port").read_text())
    commands = [psutil.Process(pid).cmdline() for pid in wide.processes("gateway.main")]
    assert {one[one.index("--grpc") + 1] for one in commands} == {f"127.0.0.1:{port}"}
    first = wide.status("g1")["pid"]
    os.kill(first, signal.SIGKILL)
    assert [wide.answers() for _ in range(10)] == [200] * 10
    until(lambda: wide.status("g1").get("pid") not in (None, first), 20)


def test_a_gateway_that_is_told_to_end_is_replaced_while_it_drains(wide: Host) -> None:
    first = wide.status("g1")["pid"]
    os.kill(first, signal.SIGTERM)
    assert [wide.answers() for _ in range(10)] == [200] * 10
    until(lambda: first not in wide.processes("gateway.main"), 20)
    until(lambda: len(wide.processes("gateway.main")) == 2, 20)


def test_a_limit_that_a_fresh_replica_does_not_keep_replaces_nobody() -> None:
    taken = Status(
        id=1,
        digest="d",
        ready=True,
        pid=1,
        task="t",
        labels=[],
        longest_input=1,
        load=Load(memory_bytes=300 * 2**20),
    )
    grown = {
        (limit, first): Replica(
            variant=variant(1),
            number=1,
            name="x",
            address="x",
            serving=Serving(memory_mb=limit),
            status=taken,
            first_bytes=first * 2**20,
        ).grown
        for limit, first in ((0, 100), (299, 100), (300, 100), (200, 300), (200, 290))
    }
    assert list(grown.values()) == [False, True, False, False, True]
