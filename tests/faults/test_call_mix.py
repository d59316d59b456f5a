"""Gateway, agent and indexer are killed in any mix under load; every answer has its one call."""

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import combinations
from pathlib import Path

import psutil
import pytest

from infra.calls.indexing import Indexer
from infra.calls.query import Query
from infra.calls.stores import every, opened
from infra.calls.vault import Vault
from infra.processes import Process, alive, start, stop
from infra.settings import inherited
from release.evidence import Cursor, Window
from release.releases import Desired
from serving.windows import read_windows
from tasks.calls import verify
from tasks.wiring import House
from tests.fakes.call_lines import calls_in
from tests.faults.test_calls import Asking
from tests.faults.test_survive import FAST, host_of
from tests.serving.conftest import ROOT, Tiny, tier, tiny
from tests.serving.host import Host, serving
from tests.serving.tier import until

__all__ = ["tier", "tiny"]

KILLS = 50
PARTS = ("gateway", "agent", "indexer")
MIXES = [mix for size in (1, 2, 3) for mix in combinations(PARTS, size)]


class Indexing:
    """An indexer of a home, as `up` runs it."""

    def __init__(self, host: Host) -> None:
        self._home = host.home.root
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "infra.calls.indexing"]
        environment = inherited(SLIPWAY_HOME=str(self._home))
        log = self._home / "indexer.log"
        self.process: Process = start("indexer", command, env=environment, log=log, cwd=ROOT)


@contextmanager
def indexing(host: Host) -> Iterator[Indexing]:
    found = Indexing(host)
    try:
        yield found
    finally:
        stop([found.process], grace=20)
    assert (host.home.root / "indexer.log").read_text() == ""


def kill(mix: tuple[str, ...], host: Host, indexer: Indexing) -> None:
    """Kill these at once, and start again what nobody else does."""
    pids = {
        "agent": [host.agent.pid],
        "indexer": [indexer.process.pid],
        "gateway": host.processes("gateway.main"),
    }
    for part in mix:
        for pid in pids[part]:
            os.kill(pid, signal.SIGKILL)
    if "agent" in mix:
        until(lambda: not alive(host.agent), 10)
        host.start()
    if "indexer" in mix:
        until(lambda: not alive(indexer.process), 10)
        indexer.start()


def killed_in_any_mix(tiny: Tiny, folder: Path, kills: int) -> None:
    chance = random.Random(kills)
    desired = Desired(model="tiny", champion=tiny.variant(1, FAST), policy_text=serving())
    # Each mix comes as often as the others, in an order of chance.
    mixes = [MIXES[turn % len(MIXES)] for turn in range(kills)]
    chance.shuffle(mixes)
    with host_of(tiny, folder, desired, SLIPWAY_CAPTURE="full") as host:
        with indexing(host) as indexer, Asking(f"{host.url}/predict/tiny") as asking:
            for mix in mixes:
                until(partial(_further, asking, len(asking.acknowledged)), 60)
                # Some come while it is still recovering from the one before.
                time.sleep(chance.uniform(0.0, 4.0))
                kill(mix, host, indexer)
            until(partial(_further, asking, len(asking.acknowledged)), 60)
            until(partial(_settled, host), 60)
        # Gateways end with their agent, and then the last window is written.
        stop([host.agent], grace=20)
        every_answer_has_its_call(House(settings=host.settings, ledger=host.ledger), asking)


def _settled(host: Host) -> bool:
    """Whether the agent has taken the place of all gateways of those before it."""
    gateways = [psutil.Process(pid) for pid in host.processes("gateway.main")]
    return [one.ppid() for one in gateways] == [host.agent.pid] and host.serves()


def _further(asking: Asking, before: int) -> bool:
    return len(asking.acknowledged) >= before + 20


def every_answer_has_its_call(here: House, asking: Asking) -> None:
    calls = calls_in(here.settings.journal)
    lines = Counter(one.id for one in calls if one.outcome == "ok")
    held_once(asking.acknowledged, lines)
    proofs = {one.gateway: one for one in verify(here)}
    assert [fault for one in proofs.values() for fault in one.faults] == []
    assert sum(one.calls for one in proofs.values()) == len(calls)
    assert all(one.anchored == one.last for one in proofs.values()), "whoever ends signs all it has"
    windows = all_windows(here.settings.journal)
    for name in proofs:
        numbers = [one.number for one in windows if one.gateway.replace("/", "_") == name]
        assert numbers == list(range(1, len(numbers) + 1))
    counted = sum(
        tally.requests for one in windows for tally in one.tallies.get("tiny", {}).values()
    )
    assert counted == sum(share.requests for one in calls for share in one.counted)

    store = opened(here.settings)
    indexer = Indexer(here.settings.journal, store, Vault(here.settings.calls_secrets))
    _all(indexer.fold)
    found = list(every(store, Query()))
    answered = Counter(hit.line.id for hit in found if hit.line.outcome == "ok")
    held_once(asking.acknowledged, answered)
    for name, proof in proofs.items():
        numbers = sorted(hit.line.sequence for hit in found if hit.gateway == name)
        assert numbers == list(range(1, proof.last + 1))
    texts = [hit.line.id for hit in every(store, Query(text="C1-1"))]
    store.close()
    expected = {one.id for one in calls if one.id.startswith("c1-1") and one.outcome == "ok"}
    assert expected <= set(texts) and len(texts) == len(set(texts))


def all_windows(journal: Path) -> list[Window]:
    found: list[Window] = []
    cursors: dict[str, Cursor] = {}
    while True:
        windows, moved = read_windows(journal, cursors)
        if not windows:
            return found
        found += windows
        cursors |= {one.gateway: one for one in moved}


def held_once(acknowledged: list[str], lines: Counter[str]) -> None:
    assert [one for one in acknowledged if not lines[one]] == [], "missing"
    assert [one for one, count in lines.items() if count > 1] == [], "doubled"


def _all(fold: Callable[[], int]) -> None:
    while fold():
        pass


@pytest.mark.sample
@pytest.mark.timeout(300)
def test_gateway_agent_and_indexer_are_killed_in_each_mix_once(tiny: Tiny, tmp_path: Path) -> None:
    killed_in_any_mix(tiny, tmp_path, len(MIXES))


@pytest.mark.timeout(1200)
def test_gateway_agent_and_indexer_are_killed_fifty_times(tiny: Tiny, tmp_path: Path) -> None:
    killed_in_any_mix(tiny, tmp_path, KILLS)
