"""The call record under fire: gateways are killed under load, disks fill up and have room again."""

import contextlib
import os
import random
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from infra.calls.checkpoints import Signer, newest
from infra.calls.proofs import Known, Proof
from infra.calls.vault import Vault
from infra.calls.verify import beside, prove, segments_in
from infra.processes import alive
from release.routes import Route
from serving.windows import read_windows
from tests.bench.artefacts import NULL
from tests.bench.ours import Ours
from tests.fakes.call_lines import calls_in

CLIENTS = 8
KILLS = 50


class Asking:
    """Clients that ask without end, each with ids of its own, and note what was acknowledged."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.acknowledged: list[str] = []
        self.refused: list[int] = []
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)
        ]

    def _ask(self, client: int) -> None:
        number = 0
        with httpx.Client(timeout=10) as http:
            while not self._over.is_set():
                number += 1
                id_ = f"c{client}-{number}"
                with contextlib.suppress(httpx.HTTPError):
                    said = http.post(self._url, json={"text": id_}, headers={"x-request-id": id_})
                    if said.status_code == httpx.codes.OK:
                        self.acknowledged.append(id_)
                    else:
                        self.refused.append(said.status_code)

    def __enter__(self) -> "Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def of(tier: Ours) -> str:
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
        anchors=[anchor] if anchor else [],
        public=Signer(secrets).public,
        vault=Vault(secrets),
    )
    return prove(place.name, segments_in(place), told)


def killed_under_load(folder: Path, kills: int) -> None:
    """Kill the gateway again and again while clients ask; every answer must have its one line."""
    chance = random.Random(kills)
    with tier_of(folder, "--capture", "full") as tier, Asking(of(tier)) as asking:
        for _ in range(kills):
            time.sleep(chance.uniform(0.05, 0.5))
            assert tier.gateway is not None
            os.kill(tier.gateway.pid, signal.SIGKILL)
            while alive(tier.gateway):
                time.sleep(0.005)
            tier.start_gateway()
            before = len(asking.acknowledged)
            deadline = time.monotonic() + 60
            while len(asking.acknowledged) < before + 20:
                assert time.monotonic() < deadline, "it does not serve any more"
                time.sleep(0.01)
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
    with tier_of(tmp_path, "--capture", "full", *more) as tier, Asking(of(tier)) as asking:
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
