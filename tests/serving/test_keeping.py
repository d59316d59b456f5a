"""What an agent keeps and what it lets go of, beat by beat in this process."""

import shutil
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from infra.calls.checkpoints import newest
from infra.calls.stores import opened
from infra.ledger import Change, Ledger
from infra.processes import Process, Records, alive, start, stop
from infra.settings import Settings, inherited
from release.errors import Conflict, Unavailable, Unsafe
from release.releases import Desired
from release.routes import Route, Routes, Serving
from release.variants import Variant
from serving.agent.gateways import FIRST_PAUSE, Gateways
from serving.agent.main import Agent
from serving.agent.places import Places
from serving.agent.ports import held
from serving.agent.replica import HUNG_SECONDS, LINGER_SECONDS, Care, Replica, family
from serving.agent.replicas import Replicas, Wanted
from serving.agent.silence import LONGEST_GAP, Silence
from serving.gateway.snapshot import Snapshot
from serving.journal import JournalWriter
from serving.replica.messages import Load, Status
from tests.fakes.wire_replica import variant
from tests.serving.tier import until

IDLE = "import time; time.sleep(60)"
Idle = Callable[..., Process]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Idle]:
    """Start a process that does nothing, under any command line."""
    begun = []

    def begin(name: str, *words: str) -> Process:
        command = [sys.executable, "-c", IDLE, *words]
        process = start(name, command, env=inherited(), log=tmp_path / "idle.log")
        begun.append(process)
        # For a moment after it has begun it has no command line, which it is to be found by.
        until(lambda: psutil.Process(process.pid).cmdline()[1:] == command[1:])
        return process

    yield begin
    stop(begun, grace=0)


@pytest.fixture
def agent(settings: Settings) -> Iterator[Agent]:
    """An agent of no gateways, so that its beats are quick."""
    made = Agent(replace_gateways(settings, 0))
    yield made
    made._gateways.stop()
    made._replicas.stop()


def replace_gateways(settings: Settings, count: int) -> Settings:
    return settings.model_copy(update={"gateways": count})


def a_status(memory_mb: int = 1) -> Status:
    load = Load(memory_bytes=memory_mb * 2**20)
    return Status(
        id=1,
        digest=variant(1).digest,
        ready=True,
        pid=1,
        task="t",
        labels=[],
        longest_input=1,
        load=load,
    )


def disk_full(run: Path) -> None:
    """Let nothing be written there, as root too: a folder cannot be replaced by a file."""
    (run / "routes.json").unlink(missing_ok=True)
    (run / "routes.json").mkdir()
    (run / "routes.json" / "x").touch()


def test_a_snapshot_that_could_not_be_written_is_written_in_the_next_beat(agent: Agent) -> None:
    run = agent._places.run
    one, two = ({"m": Route(endpoint="m", generation=number)} for number in (1, 2))
    agent._publish(one)
    disk_full(run)
    with pytest.raises(OSError, match="routes"):
        agent._publish(two)
    shutil.rmtree(run / "routes.json")
    agent._publish(two)
    found = Snapshot.load(run)
    assert found is not None and found.routes.routes["m"].generation == 2


def kept(settings: Settings, idle: Idle, first: float) -> tuple[Replicas, Process, str]:
    """Replicas with one of the first version, adopted from an agent before."""
    places = Places.under(settings.run)
    name = f"{family(variant(1).digest)}1"
    address = str(places.sockets / f"{name}.sock")
    process = idle(name, "serving.replica.worker", address)
    replicas = Replicas(settings, places)
    return replicas, process, address


def test_what_gateways_may_still_ask_is_not_let_go(settings: Settings, idle: Idle) -> None:
    replicas, process, address = kept(settings, idle, 0.0)
    replicas.keep({variant(1).digest: Wanted(variant=variant(1))}, 0.0)
    late = 3 * LINGER_SECONDS
    for now in (1.0, late):
        replicas.keep({}, now, asked=[address])
    assert alive(process)
    for now in (late, 2 * late):
        replicas.keep({}, now)
    until(lambda: not alive(process))


def test_a_stranger_that_gateways_may_still_ask_stays(settings: Settings, idle: Idle) -> None:
    replicas, process, address = kept(settings, idle, 0.0)
    replicas.keep({}, 0.0, asked=[address])
    time.sleep(0.2)
    assert alive(process)
    replicas.keep({}, 1.0)
    until(lambda: not alive(process))


def test_silence_counts_only_what_was_asked() -> None:
    silence = Silence()
    for now in (0.0, 12.0):
        silence.asked(now, answered=False)
    assert silence.seconds == LONGEST_GAP
    silence.asked(12.5, answered=False)
    assert silence.seconds == LONGEST_GAP + 0.5
    silence.asked(13.0, answered=True)
    silence.asked(40.0, answered=False)
    assert silence.seconds == 0.0


def a_replica(settings: Settings) -> tuple[Care, Replica]:
    places = Places.under(settings.run)
    care = Care(settings, places, Records(places.records))
    return care, care.make(variant(1), 1, 0.0)


def test_a_replica_is_not_killed_for_what_held_up_its_agent(settings: Settings, idle: Idle) -> None:
    care, replica = a_replica(settings)
    replica.process = process = idle("x")
    for now in (0.0, HUNG_SECONDS + 2):
        care.look_after(replica, now)
    assert alive(process)


def test_a_gateway_is_not_killed_for_what_held_up_its_agent(settings: Settings, idle: Idle) -> None:
    places = Places.under(settings.run)
    gateways = Gateways(settings, places, "host")
    try:
        (one,) = gateways._mine
        one.process = process = idle("gateway-g1")
        gateways.statuses([])
        asked = one.silence._asked
        assert asked is not None
        one.silence._asked = asked - 60
        gateways.statuses([])
        gateways.keep()
        assert alive(process)
        one.silence.seconds = 60
        gateways.keep()
        assert not alive(process)
    finally:
        gateways.stop()


def test_a_replica_that_is_wanted_again_is_not_called_ready_while_it_loads(
    settings: Settings, idle: Idle
) -> None:
    care, replica = a_replica(settings)
    replica.process, replica.status, replica.served = idle("x"), a_status(), True
    replica.worn, replica.first_bytes = True, 7
    replica.unwanted_since, replica.asked_to_end = 0.0, True
    care.want(replica)
    assert not replica.ready
    now = (replica.process is None, replica.served, replica.worn, replica.first_bytes)
    assert now == (
        True,
        False,
        False,
        0,
    )


def test_an_adopted_replica_keeps_to_the_limit_whatever_it_took_when_it_was_adopted() -> None:
    grown = Replica(
        variant=variant(1),
        number=1,
        name="x",
        address="x",
        serving=Serving(memory_mb=100),
        status=a_status(200),
        first_bytes=200 * 2**20,
        adopted=True,
    )
    assert grown.grown
    # Another must be ready first: it may be the limit that is wrong.
    assert not grown.overgrown


def committed(settings: Settings, *desired: Desired) -> None:
    ledger = Ledger.open(settings.ledger)
    for one in desired:
        claim = ledger.claim(one.model, "test", 60, 0.0)
        ledger.commit(claim, Change(desired=one, expected=0), 0.0)
    ledger.close()


def database(settings: Settings) -> sqlite3.Connection:
    return sqlite3.connect(settings.ledger.removeprefix("sqlite:///"))


def a_snapshot(settings: Settings, **champions: Variant) -> None:
    routes = {
        name: Route(endpoint=name, generation=1, stable=arm) for name, arm in champions.items()
    }
    Snapshot(routes=Routes(number=3, routes=routes)).save(settings.run)


def test_a_ledger_of_another_version_stops_nothing(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    Ledger.open(settings.ledger).close()
    with database(settings) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    a_snapshot(settings, m=variant(1))
    agent = Agent(replace_gateways(settings, 0))
    try:
        for _ in range(3):
            assert agent._desired()["m"].stable == variant(1)
    finally:
        agent._gateways.stop()
    assert capsys.readouterr().err.count("schema 9999") == 1


@pytest.mark.parametrize(
    ("column", "value"), [("policy_text", "[suite"), ("champion", '{"of": "another version"}')]
)
def test_a_row_that_cannot_be_read_leaves_its_endpoint_as_it_was(
    settings: Settings, column: str, value: str
) -> None:
    committed(
        settings,
        Desired(model="bad", champion=variant(2)),
        Desired(model="good", champion=variant(2)),
    )
    with database(settings) as connection:
        connection.execute(f"UPDATE desired SET {column} = ? WHERE model = 'bad'", [value])  # noqa: S608, a column of ours
    connection.close()
    a_snapshot(settings, bad=variant(1), good=variant(1))
    agent = Agent(replace_gateways(settings, 0))
    try:
        found = agent._desired()
    finally:
        agent._gateways.stop()
    assert found["bad"].stable == variant(1)
    assert found["good"].stable == (variant(2) if column == "policy_text" else variant(1))


def test_a_gateway_that_was_never_recorded_is_found(settings: Settings, idle: Idle) -> None:
    places = Places.under(settings.run)
    left = idle("x", "serving.gateway.main", str(places.sockets / "gateway-g1.sock"))
    recorded = idle("gateway-g2", "serving.gateway.main", str(places.sockets / "gateway-g2.sock"))
    Records(places.records).save(recorded)
    gateways = Gateways(settings, places, "host")
    try:
        assert {one.pid for one in gateways._old} == {left.pid, recorded.pid}
        assert [one.name for one in gateways._mine] == ["g3"]
    finally:
        gateways.stop()
    assert not alive(left)


def test_journals_of_others_are_left_alone(settings: Settings) -> None:
    theirs = settings.journal / "web_gpu_g1"
    ours = settings.journal / "web_g7"
    for folder in (theirs, ours):
        folder.mkdir(parents=True)
    (ours / "x.jsonl").write_text("{}\n")
    gateways = Gateways(settings, Places.under(settings.run), "web")
    gateways.stop()
    assert list(theirs.iterdir()) == []
    assert (ours / "00000001.jsonl").exists()


def test_a_signing_key_that_was_lost_stops_no_agent_and_is_not_made_anew(
    settings: Settings,
) -> None:
    ours = settings.journal / "web_g7"
    places = Places.under(settings.run)
    JournalWriter(settings.journal, "web/g7").close()
    Gateways(settings, places, "web").stop()
    signed = newest(ours)
    assert signed is not None, "what a killed gateway left is signed"
    (settings.calls_secrets / "signing").unlink()
    Gateways(settings, places, "web").stop()
    assert not (settings.calls_secrets / "signing").exists()
    assert newest(ours) == signed


def _ended(process: Process) -> bool:
    return not alive(process)


def test_a_gateway_that_ends_before_it_says_anything_is_started_later_each_time(
    settings: Settings,
) -> None:
    """One whose signing key is lost ends at once; one that had served is started at once."""
    places = Places.under(settings.run)
    JournalWriter(settings.journal, "web/g7").close()
    Gateways(settings, places, "web").stop()
    (settings.calls_secrets / "signing").unlink()
    gateways, pauses = Gateways(settings, places, "web"), []
    (one,) = gateways._mine
    try:
        for _ in range(2):
            gateways.keep()
            ended = one.process
            assert ended is not None
            until(partial(_ended, ended), 30)
            gateways.keep()
            assert one.process is None
            pauses.append(one.start_at - time.monotonic())
            one.start_at = 0.0
        assert pauses == pytest.approx([FIRST_PAUSE, 2 * FIRST_PAUSE], abs=0.2)
        gateways.keep()
        one.spoke, served = True, one.process
        assert served is not None
        until(lambda: not alive(served), 30)
        gateways.keep()
        assert one.process is not None and one.process.pid != served.pid
    finally:
        gateways.stop()


def test_the_shared_call_store_makes_no_lost_key_anew(settings: Settings) -> None:
    Gateways(settings, Places.under(settings.run), "web").stop()
    (settings.journal / "web_g7").mkdir(parents=True)
    (settings.journal / "web_g7" / "checkpoints").touch()
    (settings.calls_secrets / "signing").unlink()
    shared = Settings(home=settings.home, calls_url=SecretStr("postgresql://127.0.0.1:1/calls"))
    with pytest.raises(Unavailable, match="signing is gone"):
        opened(shared)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder that is not too deep for sockets."""
    with tempfile.TemporaryDirectory(prefix="slipway-") as made:
        yield Path(made)


def test_sockets_do_not_lie_where_a_link_leads(short: Path) -> None:
    elsewhere = short / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    run = short / "run"
    run.mkdir()
    (run / "sockets").symlink_to(elsewhere)
    with pytest.raises(Unsafe, match="sockets"):
        Places.under(run)
    elsewhere.rmdir()
    with pytest.raises(Unsafe, match="sockets"):
        Places.under(run)


def test_a_port_that_somebody_else_took_is_said_or_passed_over(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Conflict, match=f"{port}.*SLIPWAY_PORT"):
            held("127.0.0.1", port, tmp_path / "port", "SLIPWAY_PORT", shared=True)
        (tmp_path / "port").write_text(str(port))
        with held("127.0.0.1", 0, tmp_path / "port", "SLIPWAY_PORT", shared=True) as found:
            assert found.getsockname()[1] != port
    with pytest.raises(Conflict, match=r"192\.0\.2\.1"):
        held("192.0.2.1", 0, tmp_path / "other", "SLIPWAY_PORT", shared=False)
