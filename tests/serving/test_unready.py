"""A gateway that refuses every call, because none can be recorded, says so to whoever asks."""

import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2

from console.amiss import Amiss, hear_all
from infra.callers.namespaces import Namespaces
from infra.identity import Identities
from infra.processes import free_port
from release.callers import Capture, Recording, Said
from release.releases import Desired
from serving.gateway.grpc import inference_pb2 as pb
from tests.serving.conftest import Tiny
from tests.serving.host import Host
from tests.serving.tier import until
from tests.system.home import Home


@pytest.fixture
def host(tiny: Tiny, tmp_path: Path) -> Iterator[Host]:
    made = Host(Home(tmp_path), tiny, SLIPWAY_GATEWAYS="2")
    made.serve(Desired(model="tiny", champion=tiny.variant(1, "onnx-int8")))
    until(made.serves, 60)
    until(lambda: made.status("g1") and made.status("g2"), 30)
    yield made
    made.close()


def asked(channel: grpc.Channel, path: str, request: Any, kind: Any) -> Any:
    call = channel.unary_unary(
        path, request_serializer=kind[0].SerializeToString, response_deserializer=kind[1].FromString
    )
    return call(request, timeout=10)


def seen(host: Host) -> list[Any]:
    """How the server stands: by HTTP, by gRPC twice, and to people."""
    answer = httpx.get(f"{host.url}/v2/health/ready")
    port = (host.settings.run / "grpc-port").read_text()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        kind: Any = (pb.ServerReadyRequest, pb.ServerReadyResponse)
        path = "/inference.GRPCInferenceService/ServerReady"
        ready = asked(channel, path, pb.ServerReadyRequest(), kind).ready
        kind = (health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse)
        path = "/grpc.health.v1.Health/Check"
        health = asked(channel, path, health_pb2.HealthCheckRequest(), kind).status
    return [answer.status_code, answer.json(), ready, health]


def seen_by_all(host: Host) -> list[list[Any]]:
    """How the server stands, by whichever gateway takes each connection."""
    found = []
    for _ in range(12):
        if (one := seen(host)) not in found:
            found.append(one)
    return found


def told(host: Host) -> dict[str, Amiss]:
    """What `slipway status` says of gateways and agent; no indexer runs here."""
    return {one.who: one for one in hear_all(host.settings).amiss if one.who != "indexer"}


def test_a_gateway_that_can_record_nothing_is_not_ready_and_says_why(host: Host) -> None:
    serves = [200, {"ready": True, "live": True}, True, health_pb2.HealthCheckResponse.SERVING]
    refuses = [
        *(503, {"ready": False, "live": True}, False),
        health_pb2.HealthCheckResponse.NOT_SERVING,
    ]
    # One of the two may just start.
    until(lambda: seen_by_all(host) == [serves] and told(host) == {}, 30)
    pid = host.status("g2")["pid"]
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    # As a full disk does: nothing more goes into any file.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        until(lambda: host.ask().status_code == httpx.codes.SERVICE_UNAVAILABLE)
        assert httpx.get(f"{host.url}/v2/health/live").json() == {"live": True}
        why = host.status("g2")["calls"]["trouble"]
        one = told(host)["g2"]
        assert one.what == "it refuses every call" and one.why.startswith(f"{why} (make room")
        assert one.since is not None and time.time() - one.since < 20
        assert told(host).keys() == {"g2"} and told(host)["g2"] == one, "it began once"
        # Each of four connections may be taken by either gateway: sooner or later all by one.
        for answers in (refuses, serves):
            until(lambda wanted=answers: wanted in seen_by_all(host), 60)  # type: ignore[misc]
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    until(lambda: seen_by_all(host) == [serves], 10)
    assert host.answers() == httpx.codes.OK
    until(lambda: told(host) == {}, 10)


def asks(host: Host, model: str) -> int:
    asked = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["beta"]}]}
    return httpx.post(f"{host.url}/v2/models/{model}/infer", json=asked).status_code


def ready(host: Host, model: str) -> list[Any]:
    """How a model stands: by HTTP, by gRPC twice, and in the index."""
    answer = httpx.get(f"{host.url}/v2/models/{model}/ready")
    port = (host.settings.run / "grpc-port").read_text()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        kind: Any = (pb.ModelReadyRequest, pb.ModelReadyResponse)
        path = "/inference.GRPCInferenceService/ModelReady"
        said = asked(channel, path, pb.ModelReadyRequest(name=model), kind).ready
        kind = (health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse)
        path = "/grpc.health.v1.Health/Check"
        health = asked(channel, path, health_pb2.HealthCheckRequest(service=model), kind).status
    listed = httpx.post(f"{host.url}/v2/repository/index").json()
    (reason,) = {one["reason"] for one in listed if one["name"] == model}
    serving = health == health_pb2.HealthCheckResponse.SERVING
    return [answer.status_code, answer.json().get("reason", ""), said, serving, reason]


READY = [200, "", True, True, ""]
NOT_READY = [503, WHY := "its calls cannot be recorded", False, False, WHY]


@pytest.fixture
def give(split: Host) -> Callable[[str], None]:
    """Gives an endpoint to the namespace that keeps payloads."""
    people, spaces = Identities(split.ledger), Namespaces(split.ledger, Recording())
    ada = people.prove(people.add("ada", "admin", by=None))
    spaces.create("shop", Said(capture=Capture.REDACTED), by=ada)
    return lambda endpoint: spaces.give(endpoint, "shop", by=ada)


@pytest.fixture
def split(tiny: Tiny, tmp_path: Path) -> Iterator[Host]:
    """One gateway that serves two endpoints, one of them of a namespace that keeps payloads."""
    made = Host(Home(tmp_path), tiny)
    for name in ("tiny", "kept"):
        made.serve(Desired(model=name, champion=tiny.variant(1, "onnx-int8")))
    until(made.serves, 60)
    yield made
    made.close()


def secrets(host: Host) -> Path:
    return host.settings.calls_secrets / "days" / "shop"


def server(host: Host) -> int:
    return httpx.get(f"{host.url}/v2/health/ready").status_code


def restart(host: Host) -> None:
    pid = host.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: host.status().get("pid", pid) != pid and host.serves(), 60)


def test_who_cannot_seal_payloads_of_a_namespace_says_so_and_serves_the_others(
    split: Host, give: Callable[[str], None]
) -> None:
    give("kept")
    until(lambda: asks(split, "kept") == httpx.codes.OK and secrets(split).exists(), 60)
    assert (ready(split, "tiny"), ready(split, "kept"), server(split)) == (READY, READY, 200)
    aside = secrets(split).rename(split.home.root / "aside")
    # The key is at hand still: calls are answered, and it is told before the day ends.
    one = until(lambda: told(split).get("g1"), 20)
    assert "seals payloads of namespace shop by a key that is at hand until" in one.what
    assert "is gone, and shop/" in one.why and "(put it back from a backup)" in one.why
    assert (ready(split, "kept"), asks(split, "kept")) == (READY, 200)
    restart(split)
    one = told(split)["g1"]
    assert one.what == "it refuses calls of namespace shop" and "is gone" in one.why
    # Nobody has asked since: it is known without.
    assert (ready(split, "tiny"), ready(split, "kept"), server(split)) == (READY, NOT_READY, 200)
    assert (asks(split, "tiny"), asks(split, "kept")) == (200, 503)
    secrets(split).parent.mkdir(exist_ok=True)
    aside.rename(secrets(split))
    until(lambda: ready(split, "kept") == READY and told(split) == {}, 20)
    assert asks(split, "kept") == 200


def test_where_no_namespace_can_be_recorded_the_gateway_is_not_ready(
    split: Host, give: Callable[[str], None]
) -> None:
    for name in ("tiny", "kept"):
        give(name)
    until(lambda: json.loads(callers(split).read_text())["owners"].get("tiny") == "shop", 20)
    until(lambda: asks(split, "tiny") == httpx.codes.OK and secrets(split).exists(), 60)
    secrets(split).rename(split.home.root / "aside")
    pid = split.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: split.status().get("pid", pid) != pid, 60)
    until(lambda: ready(split, "tiny") == NOT_READY, 20)
    assert (ready(split, "kept"), server(split)) == (NOT_READY, 503)


def callers(host: Host) -> Path:
    return host.settings.run / "callers.json"


def test_a_gateway_that_hangs_or_does_not_come_up_is_told_of(host: Host) -> None:
    pid = host.status("g2")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        one = told(host)["g2"]
        assert one.what == "it has said nothing for 2 s" and "gateway-g2.log)" in one.why
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: told(host) == {}, 20)
    key = host.settings.calls_secrets / "signing"
    aside = key.rename(host.home.root / "aside")
    os.kill(host.status("g2")["pid"], signal.SIGKILL)
    one = until(lambda: "is gone" in (found := told(host).get("g2", NOTHING)).why and found, 20)
    assert one.what == "it does not run, or just starts"
    assert f"gateway: The secret at {key} is gone" in one.why and told(host).keys() == {"g2"}
    aside.rename(key)
    until(lambda: told(host) == {}, 40)


NOTHING = Amiss(who="", what="", why="")


def test_what_the_agent_cannot_do_is_told_with_what_waits(tiny: Tiny, tmp_path: Path) -> None:
    away = f"http://127.0.0.1:{free_port('127.0.0.1')}/anchors"
    host = Host(Home(tmp_path), tiny, SLIPWAY_ANCHORS=away)
    host.serve(Desired(model="tiny", champion=tiny.variant(1, "onnx-int8")))
    until(host.serves, 60)
    one = until(lambda: told(host).get("agent"), 30)
    assert one.what == "could not anchor the call record"
    assert f"{away} takes no anchors" in one.why and "(see SLIPWAY_ANCHORS)" in one.why
    until(lambda: f"1 anchor waits in {host.settings.outbox}" in told(host)["agent"].why, 30)
    os.kill(host.agent.pid, signal.SIGSTOP)
    try:
        assert told(host)["agent"].what == "it has said nothing for 2 s"
    finally:
        os.kill(host.agent.pid, signal.SIGCONT)
    host.close()
