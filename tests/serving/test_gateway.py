"""The gateway before real replicas, asked by a real client."""

import argparse
import asyncio
import gzip
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from release.evidence import Tally
from release.routes import Guard, Route
from serving.failures import usual_failure
from serving.gateway.snapshot import NAME
from serving.gateway.tensors import from_texts
from serving.windows import read_windows
from tests.serving.conftest import Tiny
from tests.serving.tier import Tier, body, labels, until

KEYS = [f"caller-{n}" for n in range(200)]
LONG = " ".join(["alpha"] * 40)


def champion_and(
    tier: Tier,
    tiny: Tiny,
    canary: int | None,
    *,
    percent: float = 50.0,
    lease: float = 60.0,
    guard: Guard | None = None,
) -> Route:
    """Serve version 1, and a canary beside it."""
    stable = tiny.variant(1)
    tier.replica(stable)
    other = tiny.variant(canary) if canary else None
    if other:
        tier.replica(other)
    route = Route(
        endpoint="tiny",
        generation=1,
        stable=stable,
        canary=other,
        canary_percent=percent if other else 0.0,
        lease_until=time.time() + lease,
        guard=guard or Guard(),
    )
    tier.serve(replace(route, canary_percent=0.0, generation=0))
    tier.warm(stable, *([other] if other else []))
    route = replace(route, lease_until=time.time() + lease)
    tier.serve(route)
    return route


def counted(tier: Tier, tiny: Tiny, version: int) -> Tally:
    """Sum up what the journal's closed windows say of a version."""
    windows, _ = read_windows(tier.folder / "journal", {})
    digest = tiny.variant(version).digest
    found = (window.tallies.get("tiny", {}).get(digest, Tally()) for window in windows)
    return sum(found, Tally())


def test_the_protocol_is_spoken(tier: Tier, tiny: Tiny) -> None:
    champion_and(tier, tiny, None)
    assert tier.get("/v2").json()["name"] == "slipway"
    assert tier.get("/v2/health/live").json() == {"live": True}
    assert tier.get("/v2/health/ready").json()["ready"] is True
    described = tier.get("/v2/models/tiny").json()
    assert described["name"] == "tiny"
    assert described["versions"] == ["1"]
    assert described["inputs"][0]["datatype"] == "BYTES"
    answer = tier.ask("the word beta", "the word gamma", x_request_id="mine-1")
    assert answer.status_code == 200
    assert labels(answer) == ["beta", "gamma"]
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.json()["model_version"] == "1"
    assert tier.client is not None
    pinned = tier.client.post("/v2/models/tiny/versions/1/infer", json=body("alpha"))
    assert labels(pinned) == ["alpha"]


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (b"", 400, "not a V2 request"),
        (b"{", 400, "not a V2 request"),
        (b"\xff\xfe", 400, "not a V2 request"),
        (b'{"inputs": []}', 400, "The inputs are none"),
        (b'{"inputs": 5}', 400, "not a V2 request"),
        (b"[" * 100_000, 400, "not a V2 request"),
        (body(), 400, "does not fit 0 texts"),
        (body("a", "") | {"x": 1}, 400, "A text is empty"),
        (body(*["alpha"] * 65), 400, "65 texts in one request, of 64 at most"),
        (body("x" * 100_001), 400, "100001 characters, of 100000 at most"),
        (body("alpha " * 200), 400, "202 tokens"),
        (
            {"inputs": [{"name": "t", "shape": [1], "datatype": "INT8", "data": [1]}]},
            400,
            "The inputs are 't' 'INT8'",
        ),
        (
            {"inputs": [{"name": "t", "shape": [1], "datatype": "BYTES", "data": [7]}]},
            400,
            "must be a string, not int",
        ),
        (
            {"inputs": [{"name": "t", "shape": [9], "datatype": "BYTES", "data": ["a"]}]},
            400,
            "Shape [9] does not fit 1 texts",
        ),
        (body("alpha") | {"outputs": [{"name": "nonsense"}]}, 400, "nonsense"),
        (b" " * (2**20 + 1), 413, "of 1048576 at most"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(
    tier: Tier, tiny: Tiny, sent: bytes | dict[str, object], status: int, said: str
) -> None:
    champion_and(tier, tiny, None)
    assert tier.client is not None
    content = {"content": sent} if isinstance(sent, bytes) else {"json": sent}
    answer = tier.client.post("/v2/models/tiny/infer", **content)
    assert answer.status_code == status
    assert said in answer.json()["error"]
    assert labels(tier.ask("the word alpha")) == ["alpha"]


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("POST", "/v2/models/other/infer", 404, "served are: tiny"),
        ("POST", "/v2/models/tiny/versions/9/infer", 404, "does not serve version 9"),
        ("POST", "/v2/models/tiny/versions/x/infer", 404, "a version is a number"),
        ("GET", "/v2/models/tiny/infer", 405, "use POST"),
        ("GET", "/metrics/../../etc/passwd", 404, "There is nothing at"),
        ("DELETE", "/v2/models/tiny", 405, "not allowed"),
    ],
)
def test_a_wrong_address_is_told_what_there_is(
    tier: Tier, tiny: Tiny, method: str, path: str, status: int, said: str
) -> None:
    champion_and(tier, tiny, None)
    assert tier.client is not None
    answer = tier.client.request(method, path, json=body("alpha"))
    assert answer.status_code == status
    assert said in answer.json()["error"]


def test_a_key_stays_with_its_arm_while_the_share_grows(tier: Tier, tiny: Tiny) -> None:
    route = champion_and(tier, tiny, 2, percent=20)
    first = tier.versions(KEYS)
    assert tier.versions(KEYS) == first
    assert 0.08 < Counter(first)[2] / len(KEYS) < 0.35
    tier.serve(replace(route, generation=2, canary_percent=60))
    second = tier.versions(KEYS)
    assert all(after == 2 for before, after in zip(first, second, strict=True) if before == 2)
    assert 0.45 < Counter(second)[2] / len(KEYS) < 0.75


def test_a_lease_that_nobody_renews_gives_all_traffic_back(tier: Tier, tiny: Tiny) -> None:
    route = champion_and(tier, tiny, 2, lease=1.5)
    assert 2 in tier.versions(KEYS[:40])
    until(lambda: tier.status()["endpoints"][0]["lapsed"], 5)
    assert set(tier.versions(KEYS)) == {1}
    # A renewal that comes too late is not believed: only a new generation is.
    tier.serve(replace(route, lease_until=time.time() + 60))
    assert set(tier.versions(KEYS)) == {1}
    tier.serve(replace(route, generation=2, lease_until=time.time() + 60))
    assert set(tier.versions(KEYS)) == {1, 2}


def test_the_champion_answers_for_a_canary_that_is_killed(tier: Tier, tiny: Tiny) -> None:
    champion_and(tier, tiny, 2, guard=Guard(trip_after=1000))
    threads = [
        threading.Thread(target=lambda part=part: seen.extend(tier.versions(part)))
        for part in (KEYS[:100], KEYS[100:])
    ]
    seen: list[int] = []
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    tier.kill(tier.replicas[tiny.variant(2).digest])
    for thread in threads:
        thread.join()
    assert len(seen) == len(KEYS)
    after = [tier.ask("the word alpha", x_slipway_key=key) for key in KEYS]
    assert {one.status_code for one in after} == {200}
    rescued = sum("x-slipway-rescued" in one.headers for one in after)
    assert rescued > 50
    tally = until(lambda: (sum_ := counted(tier, tiny, 2)).rescued >= rescued and sum_)
    assert tally.failures == tally.rescued


def test_what_only_the_canary_refuses_is_answered_and_counts_against_it(
    tier: Tier, tiny: Tiny
) -> None:
    champion_and(tier, tiny, 3, percent=100, guard=Guard(trip_after=1000))
    answers = [tier.ask(LONG) for _ in range(10)]
    assert {(one.status_code, one.headers["x-slipway-version"]) for one in answers} == {(200, "1")}
    tally = until(lambda: (sum_ := counted(tier, tiny, 3)).requests >= 10 and sum_)
    assert (tally.failures, tally.rescued) == (10, 10)


def test_what_both_refuse_is_the_clients_fault(tier: Tier, tiny: Tiny) -> None:
    champion_and(tier, tiny, 3, percent=100)
    answer = tier.ask("alpha " * 200)
    assert answer.status_code == 400
    assert tier.ask("alpha").status_code == 200
    tally = until(lambda: (sum_ := counted(tier, tiny, 3)).requests >= 1 and sum_)
    assert (tally.requests, tally.failures) == (1, 0)


def test_a_canary_that_plainly_fails_is_cut_off_without_anybody(tier: Tier, tiny: Tiny) -> None:
    champion_and(tier, tiny, 3, percent=100, guard=Guard(trip_after=5))
    assert {tier.ask(LONG).status_code for _ in range(8)} == {200}
    (endpoint,) = tier.status()["endpoints"]
    assert "5 failures in a row" in endpoint["tripped"]
    assert endpoint["share"] == 0
    assert set(tier.versions(KEYS[:50])) == {1}


def test_a_gateway_starts_again_from_its_last_good_routes(tier: Tier, tiny: Tiny) -> None:
    champion_and(tier, tiny, None)
    good = (tier.folder / NAME).read_bytes()
    (tier.folder / NAME).write_bytes(good[: len(good) // 2])
    until(lambda: tier.status()["broken_snapshots"])
    assert labels(tier.ask("the word alpha")) == ["alpha"]
    (tier.folder / NAME).write_bytes(good)
    assert tier.gateway is not None
    tier.kill(tier.gateway)
    tier.start_gateway()
    tier.warm(tiny.variant(1))
    assert labels(tier.ask("the word alpha")) == ["alpha"]


def test_no_record_is_lost_to_a_killed_gateway(tier: Tier, tiny: Tiny) -> None:
    champion_and(tier, tiny, None)
    for _ in range(25):
        assert tier.ask("the word alpha").status_code == 200
    assert tier.gateway is not None
    tier.kill(tier.gateway)
    tier.start_gateway()
    tally = until(lambda: (sum_ := counted(tier, tiny, 1)).requests >= 25 and sum_)
    assert tally == Tally(requests=25)
    numbers = [one.number for one in read_windows(tier.folder / "journal", {})[0]]
    assert numbers == list(range(1, len(numbers) + 1))


def test_two_endpoints_do_not_know_each_other(tier: Tier, tiny: Tiny) -> None:
    route = champion_and(tier, tiny, None)
    beside = replace(route, endpoint="beside", stable=tiny.variant(2))
    tier.replica(tiny.variant(2))
    tier.serve(beside)
    until(lambda: tier.get("/v2/models/beside/ready").status_code == 200)
    tier.kill(tier.replicas[tiny.variant(2).digest])
    assert {tier.ask("the word alpha").status_code for _ in range(20)} == {200}


def test_a_canary_that_hangs_is_answered_for_in_time(tier: Tier, tiny: Tiny) -> None:
    champion_and(tier, tiny, 2, percent=100, guard=Guard(canary_ms=300, trip_after=1000))
    hung = tier.replicas[tiny.variant(2).digest].pid
    os.kill(hung, signal.SIGSTOP)
    try:
        answers = [tier.ask("the word alpha") for _ in range(5)]
    finally:
        os.kill(hung, signal.SIGCONT)
    assert {(one.status_code, one.headers["x-slipway-version"]) for one in answers} == {(200, "1")}
    assert max(one.elapsed.total_seconds() for one in answers) < 3


def test_a_client_that_waits_no_longer_is_held_against_a_hung_canary(
    tier: Tier, tiny: Tiny
) -> None:
    champion_and(tier, tiny, 2, percent=100, guard=Guard(trip_after=4, slow_ms=200))
    assert tier.client is not None
    hung = tier.replicas[tiny.variant(2).digest].pid
    os.kill(hung, signal.SIGSTOP)
    try:
        for _ in range(4):
            with pytest.raises(httpx.ReadTimeout):
                tier.client.post("/v2/models/tiny/infer", json=body("the word alpha"), timeout=0.3)
        until(lambda: tier.status()["endpoints"][0]["tripped"])
        tally = until(lambda: (sum_ := counted(tier, tiny, 2)).failures >= 4 and sum_)
        assert tally == Tally(requests=4, failures=4)
        assert set(tier.versions(KEYS[:20])) == {1}
    finally:
        os.kill(hung, signal.SIGCONT)


def test_a_client_in_a_hurry_meets_no_canary(tier: Tier, tiny: Tiny) -> None:
    champion_and(tier, tiny, 2, percent=100)
    answers = [tier.ask("the word alpha", x_slipway_deadline_ms="1500") for _ in range(20)]
    assert {one.headers["x-slipway-version"] for one in answers} == {"1"}
    assert tier.ask("the word alpha").headers["x-slipway-version"] == "2"


def test_an_endpoint_without_a_champion_makes_nobody_unready(tier: Tier, tiny: Tiny) -> None:
    route = champion_and(tier, tiny, None)
    tier.serve(replace(route, endpoint="new", stable=None, warm=(tiny.variant(2),)))
    assert tier.get("/v2/health/ready").status_code == 200
    assert tier.get("/v2/models/new/ready").status_code == 404
    assert "no version in production" in tier.ask("alpha", model="new").json()["error"]


def test_a_waiting_champion_is_waited_for(tier: Tier, tiny: Tiny) -> None:
    champion_and(tier, tiny, None)
    tier.kill(tier.replicas[tiny.variant(1).digest])
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(tier.ask("the word beta")))
    asking.start()
    time.sleep(0.3)
    tier.replica(tiny.variant(1))
    asking.join()
    assert labels(answers[0]) == ["beta"]


def test_the_journal_tells_how_an_arm_fails(tier: Tier, tiny: Tiny) -> None:
    champion_and(tier, tiny, 3, percent=100, guard=Guard(trip_after=1000))
    journal, canary = tier.folder / "journal", tiny.variant(3).digest
    assert tier.ask("alpha").status_code == 200
    assert usual_failure(journal, canary) == ""
    for words in (30, 40, 50):
        tier.ask("alpha " * words)
    assert usual_failure(journal, canary) == "A text has 52 tokens, of 16 at most."
    assert usual_failure(journal, tiny.variant(1).digest) == ""


def test_a_body_in_an_unknown_coding_is_refused_as_such(tier: Tier, tiny: Tiny) -> None:
    champion_and(tier, tiny, None)
    answer = tier.ask("alpha", content_encoding="br")
    assert answer.status_code == 415
    assert "'br'" in answer.json()["error"]


def test_every_protocol_meets_the_same_model(tier: Tier, tiny: Tiny) -> None:
    champion_and(tier, tiny, None)
    assert tier.client is not None
    plain = tier.client.post("/predict/tiny", json={"text": "the word beta", "probabilities": True})
    assert plain.json()["label"] == "beta"
    most = max(plain.json()["probabilities"].items(), key=lambda one: one[1])
    assert most == ("beta", plain.json()["score"])
    assert plain.headers["x-slipway-version"] == "1"
    raw = from_texts(["the word beta"])
    parameters = {"binary_data_size": len(raw)}
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": parameters}
    header = json.dumps({"inputs": [tensor]}).encode()
    length = {"inference-header-content-length": str(len(header))}
    packed = tier.client.post(
        "/v2/models/tiny/infer",
        content=gzip.compress(header + raw),
        headers=length | {"content-encoding": "gzip"},
    )
    assert labels(packed) == ["beta"]
    said = tier.get("/metrics").text
    mine, arm = 'gateway="g1",endpoint="tiny"', 'variant="openvino-int8",version="1"'
    assert f'slipway_requests_total{{{mine},outcome="ok",{arm}}} 2.0' in said
    assert f"slipway_compute_duration_seconds_count{{{mine},{arm}}} 2.0" in said
    assert tier.get("/v1/models").json()["data"][0]["id"] == "tiny"
    assert tier.get("/openapi.json").json()["openapi"] == "3.1.0"


def test_a_gateway_that_is_told_to_end_while_it_starts_ends(tmp_path: Path) -> None:
    from serving.gateway.main import Ending, serve

    listening = socket.create_server(("127.0.0.1", 0))
    given = argparse.Namespace(
        fd=listening.detach(),
        name="test/g1",
        folder=tmp_path,
        status=tmp_path / "s",
        journal=tmp_path / "journal",
        secrets=None,
        capture="none",
        sample=1.0,
        strict=False,
        when_full="refuse",
        pepper=None,
        open=True,
        grpc="",
        place=0,
    )
    ending = Ending()
    ending.tell()
    asyncio.run(asyncio.wait_for(serve(given, ending), 10))
    assert not given.status.exists()
