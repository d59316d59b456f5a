"""A gateway that refuses every call, because none can be recorded, says so to whoever asks."""

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2

from console.views import _gateway
from release.releases import Desired
from serving.agent.hearing import refusing
from serving.gateway.grpc import inference_pb2 as pb
from tasks.wiring import House
from tests.serving.conftest import Tiny
from tests.serving.host import Host
from tests.serving.tier import until
from tests.system.home import Home


@pytest.fixture
def host(tiny: Tiny, tmp_path: Path) -> Iterator[Host]:
    made = Host(Home(tmp_path), tiny)
    made.serve(Desired(model="tiny", champion=tiny.variant(1, "onnx-int8")))
    until(made.serves, 60)
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


def test_a_gateway_that_can_record_nothing_is_not_ready_and_says_why(host: Host) -> None:
    serves = [200, {"ready": True, "live": True}, True, health_pb2.HealthCheckResponse.SERVING]
    refuses = [
        *(503, {"ready": False, "live": True}, False),
        health_pb2.HealthCheckResponse.NOT_SERVING,
    ]
    house = House(settings=host.settings, ledger=host.ledger)
    assert seen(host) == serves
    assert refusing(host.sockets) == {}
    assert _gateway(house, host.url) == f"{host.url} answers"
    pid = host.status()["pid"]
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    # As a full disk does: nothing more goes into any file.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        until(lambda: host.ask().status_code == httpx.codes.SERVICE_UNAVAILABLE)
        assert seen(host) == refuses
        assert httpx.get(f"{host.url}/v2/health/live").json() == {"live": True}
        why = host.status()["calls"]["trouble"]
        assert refusing(host.sockets) == {"g1": why}
        assert _gateway(house, host.url) == f"{host.url} answers, but g1 refuses every call: {why}"
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    until(lambda: seen(host) == serves, 10)
    assert host.answers() == httpx.codes.OK


def test_where_no_gateway_was_ever_kept_nobody_refuses(tmp_path: Path) -> None:
    assert refusing(tmp_path / "sockets") == {}
