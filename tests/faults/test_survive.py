"""Replicas and gateways die, hang, grow and lie under load, and no client notices."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from infra.processes import kill_alone
from release.releases import Desired
from release.routes import Guard, Route
from tests.faults.watching import Load, load, p99, watching
from tests.serving.conftest import Tiny, tier, tiny
from tests.serving.host import Host, serving
from tests.serving.tier import Tier, until
from tests.system.home import Home

__all__ = ["tier", "tiny"]

pytestmark = pytest.mark.timeout(240)

FAST = "onnx-int8"
"""The variant whose replicas start soonest."""

EJECTED_SECONDS = 1.0
LEAST_MS = 25.0
"""Below it a 99th percentile tells of the machine's other work, not of ours."""


@contextmanager
def host_of(tiny: Tiny, folder: Path, desired: Desired, **environment: str) -> Iterator[Host]:
    host = Host(Home(folder), tiny, **environment)
    try:
        host.serve(desired)
        until(host.serves, 60)
        yield host
    finally:
        host.close()


def a_pair(tiny: Tiny, **more: object) -> Desired:
    """Desired: two replicas of the champion."""
    policy = serving(replicas=2, **more)
    return Desired(model="tiny", champion=tiny.variant(1, FAST), policy_text=policy)


def ended(host: Host, pids: list[int]) -> bool:
    return not set(pids) & set(host.processes("gateway.main"))


def sound(found: Load) -> None:
    """Hold a load to it that all was answered, and rightly."""
    assert found.failed() == []
    wrong = [one for one in found.records() if one["labels"] != [said(one)]]
    assert wrong == []


def said(record: dict[str, object]) -> str:
    """What the version that answered says of the word: the second one never learnt gamma."""
    word = str(record["word"])
    return "alpha" if record["version"] == 2 and word == "gamma" else word


def test_replicas_are_killed_twenty_times(tiny: Tiny, tmp_path: Path) -> None:
    desired = a_pair(tiny)
    assert desired.champion is not None
    digest = desired.champion.digest
    with host_of(tiny, tmp_path, desired) as host:
        until(lambda: host.ready(digest) == 2, 40)
        late: list[float] = []
        with (
            load(host.url, tmp_path, rate=50) as found,
            watching(lambda: host.ready(digest)) as watch,
        ):
            for turn in range(20):
                until(lambda: host.ready(digest) == 2, 40)
                time.sleep(1.0)
                pids = [one.pid for one in host.ledger.replicas("tiny")]
                killed_at = time.monotonic()
                os.kill(pids[turn % 2], signal.SIGKILL)
                late.append(until(partial(watch.fewer, 2, killed_at), 5))
            until(lambda: host.ready(digest) == 2, 40)
        sound(found)
        assert max(late) <= EJECTED_SECONDS
        assert len(late) == 20


def test_a_replica_hangs(tiny: Tiny, tmp_path: Path) -> None:
    desired = a_pair(tiny)
    assert desired.champion is not None
    digest = desired.champion.digest
    with host_of(tiny, tmp_path, desired) as host:
        until(lambda: host.ready(digest) == 2, 40)
        with (
            load(host.url, tmp_path, rate=50) as found,
            watching(lambda: host.ready(digest)) as watch,
        ):
            time.sleep(1)
            hung = host.of(digest)[0]
            hung_at = time.monotonic()
            os.kill(hung, signal.SIGSTOP)
            until(lambda: hung not in host.of(digest), 40)
            until(lambda: host.ready(digest) == 2, 40)
        sound(found)
        late = watch.fewer(2, hung_at)
        assert late is not None and late <= EJECTED_SECONDS


LEAK = """
import os, pathlib, threading, time

def leak():
    told = pathlib.Path(os.environ["LEAK_HERE"])
    kept = []
    while True:
        time.sleep(0.05)
        if told.exists() and told.read_text() == str(os.getpid()):
            kept.append(bytearray(b"x" * 4_000_000))

if "LEAK_HERE" in os.environ:
    threading.Thread(target=leak, daemon=True).start()
"""


def test_a_replica_grows_to_its_limit(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "leak").mkdir()
    (tmp_path / "leak" / "sitecustomize.py").write_text(LEAK)
    told = tmp_path / "leaks"
    more = {"PYTHONPATH": str(tmp_path / "leak"), "LEAK_HERE": str(told)}
    (tmp_path / "home").mkdir()
    desired = a_pair(tiny)
    assert desired.champion is not None
    digest = desired.champion.digest
    with host_of(tiny, tmp_path / "home", desired, **more) as host:
        rows = until(lambda: (all_ready(host)) and host.ledger.replicas("tiny"), 40)
        limit = max(one.memory_bytes for one in rows) // 2**20 + 60
        policy = serving(replicas=2, memory_mb=limit)
        host.serve(replace(desired, policy_text=policy))
        with load(host.url, tmp_path, rate=50) as found:
            pid = rows[0].pid
            told.write_text(str(pid))
            until(lambda: pid not in host.of(digest), 60)
            until(lambda: host.ready(digest) == 2, 40)
            until(lambda: len(host.of(digest)) == 2, 40)
        sound(found)
        now = until(lambda: all_ready(host) and host.ledger.replicas("tiny"), 20)
        assert pid not in [one.pid for one in now]
        assert [one.restarts for one in now] == [0, 0]


def all_ready(host: Host) -> bool:
    rows = host.ledger.replicas("tiny")
    return len(rows) == 2 and all(one.ready and one.memory_bytes for one in rows)


@pytest.mark.sample
def test_a_replica_answers_garbage(tier: Tier, tiny: Tiny) -> None:
    stable = tiny.variant(1, FAST)
    tier.replica(stable)
    words = ("alpha", "beta")
    tier.beside(stable, "-m", "tests.fakes.bad_replica", "{address}", stable.digest, *words)
    tier.serve(Route(endpoint="tiny", generation=1, stable=stable))
    tier.warm(stable)

    def lies() -> str:
        return str(tier.status()["replicas"][stable.digest][1]["trouble"])

    assert tier.listening is not None
    url = f"http://127.0.0.1:{tier.listening.getsockname()[1]}"
    with load(url, tier.folder, rate=100) as found:
        until(lies)
        time.sleep(10)
    sound(found)
    assert lies()


@pytest.mark.parametrize("gateways", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_gateways_end(tiny: Tiny, tmp_path: Path, gateways: int, how: signal.Signals) -> None:
    desired = Desired(model="tiny", champion=tiny.variant(1, FAST))
    with host_of(tiny, tmp_path, desired, SLIPWAY_GATEWAYS=str(gateways)) as host:
        until(lambda: len(host.processes("gateway.main")) == gateways, 20)
        with load(host.url, tmp_path, rate=50, retries=3) as found:
            for _ in range(4):
                time.sleep(2)
                pids = until(lambda: host.processes("gateway.main"))
                os.kill(pids[0], how)
                until(partial(ended, host, pids[:1]), 20)
                until(lambda: len(host.processes("gateway.main")) == gateways, 20)
        sound(found)


def test_a_canary_crash_loops(tiny: Tiny, tmp_path: Path) -> None:
    stable, canary = tiny.variant(1, FAST), tiny.variant(2)
    before = Desired(model="tiny", champion=stable)
    with host_of(tiny, tmp_path, before) as host:
        with load(host.url, tmp_path, rate=40) as found:
            time.sleep(14)
        quiet = p99(found.records()[40:])
        sound(found)
        loops = threading.Event()
        with load(host.url, tmp_path, rate=40) as found:
            lease = time.time() + 300
            host.serve(replace(before, canary=canary, canary_percent=50, lease_until=lease))
            killer = threading.Thread(target=kill_all, args=(host, canary.digest, loops))
            killer.start()
            time.sleep(14)
            loops.set()
            killer.join()
        sound(found)
        deaths = [
            one.restarts for one in host.ledger.replicas("tiny") if one.digest != stable.digest
        ]
        assert max(deaths) >= 3
        champions = [one for one in found.records()[40:] if not one["rescued"]]
        loud = p99([one for one in champions if one["version"] == 1])
        sys.stderr.write(f"champion's p99: {quiet:.1f} ms before, {loud:.1f} ms beside\n")
        assert loud <= 1.5 * max(quiet, LEAST_MS)


def kill_all(host: Host, digest: str, over: threading.Event) -> None:
    """Kill whatever serves a variant, once it has started to load."""
    while not over.wait(0.2):
        for pid in host.of(digest):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def a_tier(tier: Tier, tiny: Tiny, *more: Route) -> str:
    stable = tiny.variant(1)
    tier.replica(stable)
    tier.serve(*(more or [Route(endpoint="tiny", generation=1, stable=stable)]))
    tier.warm(stable)
    assert tier.listening is not None
    return f"http://127.0.0.1:{tier.listening.getsockname()[1]}"


def test_cancelled_requests_cost_their_neighbours_nothing(tier: Tier, tiny: Tiny) -> None:
    """Clients leave at any moment between a queue and an answer."""
    url = a_tier(tier, tiny)
    left = 0
    with load(url, tier.folder, rate=30) as patient:
        for number, seconds in enumerate((0.002, 0.005, 0.01, 0.02, 0.05)):
            with load(url, tier.folder, rate=60, texts=1 + 12 * number, timeout=seconds) as hasty:
                time.sleep(4)
            left += sum("Timeout" in one.get("error", "") for one in hasty.records())
        assert left > 100
    sound(patient)
    assert tier.ask("the word beta").status_code == 200


def test_a_flood_of_clients_that_give_up_leaves_nothing_behind(tier: Tier, tiny: Tiny) -> None:
    url = a_tier(tier, tiny)
    with load(url, tier.folder, rate=40) as before:
        time.sleep(8)
    with load(url, tier.folder, rate=500, texts=16, deadline_ms=20, timeout=0.1) as flood:
        time.sleep(6)
    assert any(one["status"] != 200 for one in flood.records())
    with load(url, tier.folder, rate=40) as after:
        time.sleep(8)
    sound(before)
    sound(after)
    was, now = p99(before.records()), p99(after.records())
    sys.stderr.write(f"p99: {was:.1f} ms before the flood, {now:.1f} ms after it\n")
    assert now <= 1.5 * max(was, LEAST_MS)
    assert tier.status()["replicas"][tiny.variant(1).digest][0]["outstanding"] == 0


@pytest.mark.parametrize("changes", [pytest.param(60, marks=pytest.mark.sample), 1000])
def test_routes_change_under_load(tier: Tier, tiny: Tiny, changes: int) -> None:
    one, two = tiny.variant(1), tiny.variant(2)
    guard = Guard(trip_after=10_000)
    tier.replica(two)
    route = Route(endpoint="tiny", generation=1, stable=one, warm=(two,), guard=guard)
    url = a_tier(tier, tiny, route)
    tier.warm(two)
    acknowledged: list[tuple[float, int]] = []
    shares = (0.0, 5.0, 50.0, 100.0)
    with load(url, tier.folder, rate=60) as found:
        for number in range(changes):
            stable, canary = (one, two) if number % 3 else (two, one)
            tier.serve(
                replace(
                    route,
                    generation=number + 2,
                    stable=stable,
                    canary=canary,
                    canary_percent=shares[number % 4],
                    lease_until=time.time() + 60,
                    warm=(),
                )
            )
            acknowledged.append((time.monotonic(), number + 2))
    sound(found)
    for record in found.records():
        least = max((n for at, n in acknowledged if at < record["sent"]), default=1)
        assert record["generation"] >= least
    assert {record["version"] for record in found.records()} == {1, 2}
    assert not any(record["rescued"] for record in found.records())


def test_a_killed_agent_changes_nothing(tiny: Tiny, tmp_path: Path) -> None:
    with host_of(tiny, tmp_path, a_pair(tiny), SLIPWAY_GATEWAYS="2") as host:
        with load(host.url, tmp_path, rate=50, retries=3) as found:
            for _ in range(2):
                time.sleep(2)
                kill_alone(host.agent)
                old = host.processes("gateway.main")
                host.start()
                until(partial(ended, host, old), 30)
        sound(found)
