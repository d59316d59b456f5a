"""An agent tells running gateways who may call, and hears of keys that were used."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import psutil
import pytest

from console.calling import _until_known
from infra.callers import issuers as fetching
from infra.callers.house import house_key, keep_house_key
from infra.callers.issuers import KeySets, public_keys, read_issuers
from infra.callers.keys import Keys, NewKey, note_used
from infra.callers.namespaces import Namespaces
from infra.callers.pepper import pepper
from infra.callers.snapshot import NAME, CallersSnapshot, CallersWatch
from infra.identity import Identities
from infra.ledger import Ledger
from infra.settings import Settings, inherited
from release.callers import Capture, Recording, Said
from release.errors import Invalid, Unavailable
from release.releases import Desired, GatewayStatus
from serving.agent.callers import CallersKeeper
from tests.fakes.callers import ISSUER, Login
from tests.serving.conftest import ROOT, Tiny
from tests.serving.host import Host
from tests.serving.tier import until
from tests.system.home import Home

EVERYWHERE = "0.0.0.0"  # noqa: S104 - held against what refuses it
NEW = NewKey(name="app", scopes=("default/*:infer",))


@pytest.fixture
def host(tiny: Tiny, tmp_path: Path) -> Iterator[Host]:
    made = Host(Home(tmp_path), tiny, SLIPWAY_OPEN="false", SLIPWAY_GATEWAYS="2")
    made.serve(Desired(model="tiny", champion=tiny.variant(1)))
    yield made
    made.close()


def _within(seconds: float, host: Host, key: str, status: int) -> None:
    """Wait until both gateways, whichever is met, answer with a status; for so long at most."""
    started, row = time.monotonic(), 0
    while row < 12:
        row = row + 1 if host.ask(key=key).status_code == status else 0
        assert time.monotonic() - started < seconds, f"not {status} within {seconds} s"


def test_running_gateways_follow_keys_within_a_second_and_outlive_the_ledger(host: Host) -> None:
    people = Identities(host.ledger)
    ada = people.prove(people.add("ada", "admin", by=None))
    until((host.settings.run / "port").exists, 30)
    until(lambda: host.status("g1") and host.status("g2"), 30)
    keys = Keys(host.ledger, pepper(host.settings.pepper_file))
    assert host.ask().status_code == 401
    key = keys.create(NEW, by=ada)
    until(lambda: host.ask(key=key).status_code == 200, 60)
    _within(1.5, host, key, 200)
    other = keys.create(NEW, by=ada)
    _within(1.5, host, other, 200)
    for _ in range(5):
        fresh = keys.create(NEW, by=ada)
        _until_known(host.settings.run, fresh.split("_")[1])
        assert {host.ask(key=fresh).status_code for _ in range(6)} == {200}, "as a script asks"
    keys.revoke(other.split("_")[1], by=ada)
    # Twelve answers of either gateway in a row take their time as well.
    _within(1.5, host, other, 401)
    # The home's own key collects metrics, and nobody does without one.
    keep_house_key(host.settings)
    house = {"authorization": f"Bearer {house_key(host.settings)}"}
    until(lambda: httpx.get(f"{host.url}/metrics", headers=house).status_code == 200, 5)
    assert httpx.get(f"{host.url}/metrics").status_code == 401
    commands = [psutil.Process(pid).cmdline() for pid in host.processes("gateway.main")]
    places = [command[command.index("--place") + 1] for command in commands]
    assert sorted(places) == ["0", "1"]
    # A snapshot that somebody takes away is there again within seconds.
    (host.settings.run / "callers.json").unlink()
    until((host.settings.run / "callers.json").exists, 5)
    mode = (host.settings.run / "callers.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE(host.settings.pepper_file.stat().st_mode) == 0o600
    os.kill(host.agent.pid, signal.SIGKILL)
    host.ledger.close()
    for path in host.home.root.glob("ledger.db*"):
        path.unlink()
    host.start()
    gateways = host.processes("gateway.main")
    until(lambda: len(set(host.processes("gateway.main")) - set(gateways)) == 2, 30)
    until(lambda: len(host.processes("gateway.main")) == 2, 30)
    assert host.ask(key=key).status_code == 200
    assert host.ask(key=other).status_code == 401


def test_an_open_gateway_is_for_loopback_alone(tmp_path: Path) -> None:
    env = inherited(SLIPWAY_HOME=str(tmp_path), SLIPWAY_OPEN="true", SLIPWAY_HOST=EVERYWHERE)
    command = [sys.executable, "-m", "serving.agent.main"]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2 and "for loopback alone" in done.stderr


@pytest.mark.parametrize(("host", "grpc"), [(EVERYWHERE, ""), ("127.0.0.1", f"{EVERYWHERE}:0")])
def test_a_gateway_that_could_be_reached_from_outside_is_never_open(
    tmp_path: Path, host: str, grpc: str
) -> None:
    with socket.socket() as listening:
        # Bound and never listening: nobody can connect.
        listening.bind((host, 0))
        fd = listening.fileno()
        command = [
            *(sys.executable, "-m", "serving.gateway.main", "--fd", str(fd), "--name", "t/g1"),
            *("--folder", str(tmp_path), "--status", str(tmp_path / "s"), "--open"),
            *("--journal", str(tmp_path / "journal"), "--grpc", grpc),
        ]
        done = subprocess.run(
            command,
            cwd=ROOT,
            pass_fds=[fd],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2 and "on loopback alone" in done.stderr


@pytest.fixture
def home(tmp_path: Path) -> Iterator[tuple[Settings, Ledger]]:
    settings = Settings(home=tmp_path)
    ledger = Ledger.open(settings.ledger)
    yield settings, ledger
    ledger.close()


def test_a_snapshot_is_written_only_where_it_says_something_new(
    home: tuple[Settings, Ledger],
) -> None:
    settings, ledger = home
    keeper = CallersKeeper(settings)
    keeper.keep(ledger)
    keeper.keep(ledger)
    first = CallersSnapshot.load(settings.run)
    assert first is not None
    people = Identities(ledger)
    ada = people.prove(people.add("ada", "admin", by=None))
    Namespaces(ledger, Recording()).create("shop", Said(capture=Capture.FULL), by=ada)
    Namespaces(ledger, Recording()).give("docs", "shop", by=ada)
    keeper.keep(ledger)
    second = CallersSnapshot.load(settings.run)
    assert second is not None and second.number > first.number
    assert second.owners == {"docs": "shop"} and second.namespaces["shop"].capture == "full"
    # Without a ledger, and for another agent, it stays as it was.
    CallersKeeper(settings).keep(None)
    assert CallersSnapshot.load(settings.run) == second
    # What nobody said goes by this host's settings, and by new ones from the next agent on.
    assert second.namespaces["shop"].days == settings.record_days
    CallersKeeper(Settings(home=settings.home, record_days=9)).keep(ledger)
    third = CallersSnapshot.load(settings.run)
    assert third is not None and third.namespaces["shop"].days == 9


def test_hosts_of_one_ledger_share_quotas_without_a_gap(home: tuple[Settings, Ledger]) -> None:
    settings, ledger = home
    now, hosts = time.time(), {"anton": 2, "berta": 1, "carla": 3}
    for agent, many in hosts.items():
        said = [
            GatewayStatus(gateway=f"{agent}/g{n}", endpoint=endpoint, generation=1, at=now)
            for n in range(many)
            for endpoint in ("docs", "shop")
        ]
        ledger.observe(said, (), agent)
    gone = GatewayStatus(gateway="adam/g1", endpoint="docs", generation=1, at=now - 7_200)
    ledger.observe([gone], (), "adam")
    places: list[int] = []
    for agent, many in hosts.items():
        here = settings.model_copy(update={"home": settings.home / agent, "gateways": many})
        CallersKeeper(here, agent).keep(ledger)
        found = CallersSnapshot.load(here.run)
        assert found is not None and found.gateways == 6
        places += range(found.first, found.first + many)
        # Without the ledger it stays so.
        CallersKeeper(here, agent).keep(None)
        assert CallersSnapshot.load(here.run) == found
    assert sorted(places) == list(range(6))


def test_an_agent_says_that_keys_are_worthless_without_their_pepper(
    home: tuple[Settings, Ledger],
) -> None:
    settings, ledger = home
    keeper = CallersKeeper(settings)
    keeper.keep(ledger)
    Keys(ledger, settings.pepper_file).for_the_house(NEW)
    keeper.keep(ledger)
    settings.pepper_file.unlink()
    with pytest.raises(Unavailable, match="no pepper at"):
        keeper.keep(ledger)
    assert not settings.pepper_file.exists()


@pytest.mark.parametrize("how", ["lost", "cut", "old"])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_file_that_is_lost_or_older_than_the_ledger_is_written_again_at_once(
    home: tuple[Settings, Ledger], how: str, *, restarted: bool
) -> None:
    settings, ledger = home
    keeper, path = CallersKeeper(settings), settings.run / NAME
    keeper.keep(ledger)
    old = path.read_bytes()
    keys = Keys(ledger, settings.pepper_file)
    revoked = keys.for_the_house(NEW).split("_")[1]
    keeper.keep(ledger)
    # A gateway that runs: whatever it knows it follows no lower number.
    running = CallersWatch(settings.run)
    assert running.look() and running.current is not None and revoked in running.current.keys
    good = keys.for_the_house(NEW).split("_")[1]
    ada = Identities(ledger).prove(Identities(ledger).add("ada", "admin", by=None))
    keys.revoke(revoked, by=ada)
    if how == "lost":
        path.unlink()
    else:
        path.write_bytes(old if how == "old" else old[:20])
    if restarted:
        keeper = CallersKeeper(settings)
    keeper.keep(ledger)
    assert running.look() and running.current.keys.keys() == {good}
    # Nothing of it changes any more.
    number = running.current.number
    path.unlink()
    (CallersKeeper(settings) if restarted else keeper).keep(ledger)
    assert running.look() and running.current.number > number


def test_the_ledger_hears_which_keys_were_used(home: tuple[Settings, Ledger]) -> None:
    settings, ledger = home
    keys = Keys(ledger, b"p" * 32)
    id_ = keys.for_the_house(NEW).split("_")[1]
    note_used(ledger, {id_: 50.0, "gone": 50.0})
    note_used(ledger, {id_: 40.0})
    (found,) = keys.list()
    assert found.used_at == 50.0
    del settings


def issuers_file(settings: Settings, jwks: str, **more: object) -> None:
    plain = {"issuer": ISSUER, "audience": "slipway", "jwks": jwks, "algorithms": ["RS256"]}
    lines = [f"{name} = {json.dumps(value)}" for name, value in (plain | more).items()]
    settings.issuers_file.write_text("\n".join(["[[issuer]]", *lines, ""]))


class _Jwks(BaseHTTPRequestHandler):
    content = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def kept() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [one.name for one in threading.enumerate() if one.name == "jwks"] == []


def test_keys_of_an_issuer_are_fetched_beside_and_the_last_good_ones_stay(
    home: tuple[Settings, Ledger], capfd: pytest.CaptureFixture[str], kept: ExitStack
) -> None:
    settings, ledger = home
    login = Login("one")
    handler = type("Jwks", (_Jwks,), {"content": login.jwks()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        issuers_file(settings, f"http://127.0.0.1:{server.server_port}/keys", refresh=1.0)
        keeper = kept.enter_context(closing(CallersKeeper(settings)))

        def known() -> list[str]:
            keeper.keep(ledger)
            found = CallersSnapshot.load(settings.run)
            return [one["kid"] for each in found.issuers for one in each.keys] if found else []

        until(lambda: known() == ["one"], 10)
        handler.content = Login("two").jwks()  # type: ignore[attr-defined]
        until(lambda: known() == ["two"], 10)
        for bad in (b"<html>", b'{"keys": []}'):
            handler.content = bad  # type: ignore[attr-defined]
            until(lambda: "stay as they were" in capfd.readouterr().err, 15)
            assert known() == ["two"]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    until(lambda: "does not answer" in capfd.readouterr().err, 15)
    assert known() == ["two"]
    # An agent that starts while the issuer is away knows them as well.
    keeper = kept.enter_context(closing(CallersKeeper(settings)))
    assert known() == ["two"]


def test_issuers_that_share_an_address_each_have_its_keys(tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_bytes(Login("one").jwks())
    jwks = str(tmp_path / "jwks.json")
    both = [Login("one").entry(issuer=f"https://login.example/{n}", jwks=jwks) for n in "ab"]
    with closing(KeySets(tmp_path / "kept")) as sets:
        sets.watch(both)
        until(lambda: all(sets.of(one) for one in both), 10)


def test_an_agent_that_starts_beside_a_broken_file_of_issuers_believes_whom_it_did(
    home: tuple[Settings, Ledger], kept: ExitStack
) -> None:
    settings, ledger = home
    (settings.home / "jwks.json").write_bytes(Login("one").jwks())
    issuers_file(settings, str(settings.home / "jwks.json"))

    def believed(keeper: CallersKeeper) -> list[str]:
        with suppress(Invalid):
            keeper.keep(ledger)
        found = CallersSnapshot.load(settings.run)
        return [one.issuer for one in found.issuers if one.keys] if found else []

    first = kept.enter_context(closing(CallersKeeper(settings)))
    until(lambda: believed(first) == [ISSUER], 10)
    settings.issuers_file.write_text("[[issuer]]\n broken")
    again = kept.enter_context(closing(CallersKeeper(settings)))
    for _ in range(2):
        with pytest.raises(Invalid, match="cannot be read"):
            again.keep(ledger)
        assert believed(again) == [ISSUER]
    settings.issuers_file.unlink()
    assert believed(again) == []


def test_a_file_of_callers_that_is_no_text_changes_nobody(tmp_path: Path) -> None:
    CallersSnapshot(number=1, owners={"docs": "shop"}).save(tmp_path)
    watch = CallersWatch(tmp_path)
    assert watch.look()
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes().replace(b"shop", b"sh\xffp"))
    assert not watch.look() and watch.broken == 1
    assert watch.current is not None and watch.current.owners == {"docs": "shop"}


def test_keys_that_are_no_public_keys_are_left_out() -> None:
    login = Login("one")
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}
    whole = login.keys[0].as_dict(private=True)
    plain = {"keys": [secret, whole, {**login.public()[0], "use": "enc", "kid": "e"}]}
    found = public_keys(json.dumps(plain).encode())
    assert [one["kid"] for one in found] == ["one"]
    assert not {"d", "p", "q"} & found[0].keys()
    none = json.dumps({"keys": [secret]}).encode()
    for bad in (b"", b"[]", b'{"keys": 3}', b'{"keys": [1]}', none):
        with pytest.raises(Invalid):
            public_keys(bad)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"algorithms": ["HS256"]}, "lets .* sign by HS256"),
        ({"algorithms": ["none"]}, "sign by none"),
        ({"algorithms": []}, "sign by nothing"),
        ({"jwks": "http://login.example/keys"}, "plain http"),
        ({"audience": ""}, "without issuer, audience"),
        ({"leeway": 3600}, "leeway must be within"),
        ({"grants": ["everything"]}, "is no scope"),
        ({"extra": 1}, "unknown field"),
    ],
)
def test_an_issuers_file_that_would_believe_too_much_is_refused(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    settings = Settings(home=tmp_path)
    issuers_file(settings, str(change.pop("jwks", "https://login.example/keys")), **change)
    with pytest.raises(Invalid, match=said):
        read_issuers(settings.issuers_file)


def test_what_gives_too_much_is_no_set_of_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b" " * (fetching.MOST_BYTES + 1))
    with pytest.raises(Invalid, match="bytes"):
        fetching.fetched(str(tmp_path / "keys"))
    entry = Login().entry(jwks=str(tmp_path / "nowhere"), keys=[])
    sets = KeySets(tmp_path / "kept")
    assert not sets.refresh(entry)
    assert sets.of(entry) == []
