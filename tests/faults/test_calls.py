"""The call record under fire: all that record are killed under load, disks fill up and empty."""

import contextlib
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import httpx
import pytest

from infra.calls.checkpoints import Signer, newest
from infra.calls.indexing import Indexer
from infra.calls.lines import CallLine
from infra.calls.proofs import Known, Proof
from infra.calls.query import Query
from infra.calls.sqlite import CallStore
from infra.calls.vault import Vault
from infra.calls.verify import beside, prove, segments_in
from infra.ledger import Ledger
from infra.processes import Process, alive, kill_alone, start, stop
from infra.settings import Settings
from release.releases import Desired
from release.routes import Route
from serving.windows import read_windows
from tasks import wiring as tasks
from tasks.calls import verify
from tests.bench.artefacts import NULL
from tests.bench.ours import Ours
from tests.fakes.call_lines import calls_in
from tests.faults.acknowledging import Asking
from tests.serving.conftest import ROOT, Tiny, tiny
from tests.serving.host import Host
from tests.serving.tier import until
from tests.system.home import Home

__all__ = ["tiny"]

KILLS = 50


def url_of(tier: Ours) -> str:
    assert tier.listening is not None
    return f"http://127.0.0.1:{tier.listening.getsockname()[1]}/predict/null"


@contextmanager
def tier_of(folder: Path, *recording: str) -> Iterator[Ours]:
    tier = Ours(folder=folder, locate=lambda _digest: folder, recording=recording)
    try:
        tier.replica(NULL)
        tier.serve(Route(endpoint=NULL.model, generation=1, stable=NULL))
        tier.warm(NULL)
        yield tier
    finally:
        tier.stop()


def proof_of(folder: Path) -> Proof:
    secrets, place = folder / "secrets" / "calls", folder / "journal" / "test_g1"
    anchor = newest(place)
    told = Known(
        beside=beside(place),
        anchors=[("an anchor", anchor)] if anchor else [],
        public=Signer(secrets).public,
        vault=Vault(secrets),
    )
    return prove(place.name, segments_in(place), told)


def killed_under_load(folder: Path, kills: int) -> None:
    """Kill the gateway again and again while clients ask; every answer must have its one line."""
    chance = random.Random(kills)
    with tier_of(folder, "--capture", "full") as tier, Asking(url_of(tier)) as asking:
        for _ in range(kills):
            time.sleep(chance.uniform(0.05, 0.5))
            assert tier.gateway is not None
            os.kill(tier.gateway.pid, signal.SIGKILL)
            while alive(tier.gateway):
                time.sleep(0.005)
            tier.start_gateway()
            asking.goes_on()
    calls = calls_in(folder / "journal")
    lines = Counter(one.id for one in calls if one.outcome == "ok")
    assert [one for one in asking.acknowledged if not lines[one]] == [], "missing"
    assert [one for one, count in lines.items() if count > 1] == [], "doubled"
    assert len(asking.acknowledged) > 20 * kills
    found = proof_of(folder)
    assert found.faults == [] and found.last == len(calls)
    assert found.anchored == found.last, "a gateway that ends signs all it has"
    windows, _ = read_windows(folder / "journal", {})
    assert [one.number for one in windows] == list(range(1, len(windows) + 1))
    counted = sum(one.tallies["null"][NULL.digest].requests for one in windows)
    assert counted == sum(share.requests for one in calls for share in one.counted)


@pytest.mark.sample
def test_a_gateway_killed_thrice_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    killed_under_load(tmp_path, 3)


@pytest.mark.timeout(1200)
def test_a_gateway_killed_fifty_times_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    killed_under_load(tmp_path, KILLS)


@pytest.mark.sample
@pytest.mark.parametrize("strict", [False, True])
def test_a_disk_that_fills_up_costs_answers_but_no_line_and_goes_on(
    tmp_path: Path, *, strict: bool
) -> None:
    more = ("--strict",) if strict else ()
    with tier_of(tmp_path, "--capture", "full", *more) as tier, Asking(url_of(tier)) as asking:
        time.sleep(0.5)
        assert tier.gateway is not None
        pid = tier.gateway.pid
        size = (tmp_path / "journal" / "test_g1" / "00000001.jsonl").stat().st_size
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + 10_000, before[1]))
        while not asking.refused:
            time.sleep(0.01)
        time.sleep(0.5)
        assert tier.status()["calls"]["trouble"]
        assert tier.get("/predict/null").status_code == httpx.codes.METHOD_NOT_ALLOWED
        answered = len(asking.acknowledged)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        while len(asking.acknowledged) < answered + 100:
            time.sleep(0.01)
        told = tier.status()["calls"]
    calls = calls_in(tmp_path / "journal")
    assert not told["trouble"]
    lines = {one.id for one in calls if one.outcome == "ok"}
    assert set(asking.acknowledged) <= lines
    # The last of each client may not have been told of.
    assert lines - set(asking.acknowledged) == set()
    assert set(asking.refused) == {503} and told["refused"] >= len(asking.refused)
    text = (tmp_path / "journal" / "test_g1" / "00000001.jsonl").read_text()
    assert text.count('\n{"refused":') >= 1
    found = proof_of(tmp_path)
    assert found.faults == [] and found.last == len(calls)


PARTS = ("gateway", "agent", "indexer")
MIXES = [mix for size in (1, 2, 3) for mix in combinations(PARTS, size)]


@dataclass
class House:
    """A host with its indexer, as the supervisor keeps them: what dies is started again."""

    host: Host
    indexer: Process | None = None

    def start_indexer(self) -> None:
        command = [sys.executable, "-m", "infra.calls.indexing"]
        log = self.host.home.root / "indexer.log"
        env = self.host.home.environment()
        self.indexer = start("indexer", command, env=env, log=log, cwd=ROOT)

    def kill(self, mix: Sequence[str], chance: random.Random) -> None:
        """Kill these parts in any order, of the gateways one or all; start again all but those,
        which are for the agent."""
        for part in chance.sample(mix, len(mix)):
            if part == "gateway":
                pids = self.host.processes("gateway.main")
                for pid in chance.sample(pids, chance.randint(min(1, len(pids)), len(pids))):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            else:
                process = self.host.agent if part == "agent" else self.indexer
                assert process is not None
                kill_alone(process)
        if "agent" in mix:
            self.host.start()
        if "indexer" in mix:
            self.start_indexer()


def all_killed_under_load(tiny: Tiny, folder: Path, kills: int) -> None:
    """Kill any mix of the parts that record again and again while clients ask."""
    chance = random.Random(kills)
    more = {"SLIPWAY_CAPTURE": "full", "SLIPWAY_GATEWAYS": "2"}
    house = House(Host(Home(folder), tiny, **more))
    host = house.host
    try:
        host.serve(Desired(model="tiny", champion=tiny.variant(1, "onnx-int8")))
        until(host.serves, 60)
        house.start_indexer()
        with Asking(f"{host.url}/predict/tiny", clients=4, pause=0.005) as asking:
            mixes = [MIXES[number % len(MIXES)] for number in range(kills)]
            for mix in chance.sample(mixes, kills):
                time.sleep(chance.uniform(0.02, 0.8))
                house.kill(mix, chance)
                asking.goes_on()
        over = time.time()
        # An agent that is told to end while it begins leaves its gateways to the next.
        until(lambda: sum(one.at > over for one in host.ledger.gateways()) == 2, 60)
        until(lambda: len(host.processes("gateway.main")) == 2, 60)
    finally:
        if house.indexer is not None:
            stop([house.indexer], grace=10)
        host.close()
    assert len(asking.acknowledged) > 20 * kills
    calls = calls_in(host.settings.journal)
    lines = Counter(one.id for one in calls if one.outcome == "ok")
    assert [one for one in asking.acknowledged if not lines[one]] == [], "missing"
    assert [one for one, count in lines.items() if one and count > 1] == [], "doubled"
    ledger = Ledger.open(host.settings.ledger)
    try:
        proofs = verify(tasks.House(settings=host.settings, ledger=ledger))
    finally:
        ledger.close()
    assert [str(fault) for one in proofs for fault in one.faults] == []
    assert sum(one.calls for one in proofs) == len(calls)
    assert sum(one.anchored for one in proofs) > 0
    in_the_store(host.settings, asking.acknowledged, calls)
    sys.stderr.write(
        f"{kills} kills, {len(asking.acknowledged)} calls acknowledged, {len(calls)} lines of "
        f"{len(proofs)} gateways\n"
    )


def in_the_store(settings: Settings, acknowledged: list[str], calls: list[CallLine]) -> None:
    """Hold the store, as its killed indexers left it and the last one finished it, to the lines."""
    store = CallStore(settings.call_store)
    try:
        indexer = Indexer(settings.journal, store, Vault(settings.calls_secrets))
        while indexer.fold():
            pass
        assert indexer.unreadable == 0
        found = Counter(str(id_) for (id_,) in store.select("select id from calls", ()))
        assert [one for one in acknowledged if found[one] != 1] == []
        assert found == Counter(one.id for one in calls)
        for id_ in acknowledged[:: max(1, len(acknowledged) // 100)]:
            (hit,) = store.page(Query(id=id_, text=id_))
            assert hit.line.id == id_
    finally:
        store.close()


@pytest.mark.sample
@pytest.mark.timeout(240)
def test_all_that_record_killed_a_few_times_lose_and_double_nothing(
    tiny: Tiny, tmp_path: Path
) -> None:
    all_killed_under_load(tiny, tmp_path, len(MIXES))


@pytest.mark.timeout(900)
def test_all_that_record_killed_fifty_times_lose_and_double_nothing(
    tiny: Tiny, tmp_path: Path
) -> None:
    all_killed_under_load(tiny, tmp_path, KILLS)
