"""The Open Inference Protocol over gRPC, before replicas that have no model."""

import asyncio
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from infra.processes import alive
from release.routes import Route
from serving.gateway.bodies import MOST_BODY
from serving.gateway.dispatch import Dispatcher
from serving.gateway.grpc import health
from serving.gateway.grpc import inference_pb2 as pb
from serving.gateway.grpc.server import GrpcServer
from serving.gateway.outputs import CLASSIFIES, EMBEDS, TAGS
from serving.gateway.tensors import from_texts
from serving.replica.messages import Kind
from tests.fakes.wire_replica import BETA, Stand, standing, variant
from tests.serving.conftest import Tiny
from tests.serving.tier import Tier
from tests.serving.tier import until as until_true

ROOT = Path(__file__).parents[2]
SERVICE, HEALTH = "inference.GRPCInferenceService", "grpc.health.v1.Health"
Code = grpc.StatusCode


class Client:
    """Calls any method; gives the answer and the metadata that came with it."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    def begin(self, method: str, request: Any, answer: Any, **more: Any) -> Any:
        call = self.channel.unary_unary(
            f"/{SERVICE if '/' not in method else ''}/{method}".replace("//", "/"),
            request_serializer=lambda one: (
                one if isinstance(one, bytes) else one.SerializeToString()
            ),
            response_deserializer=answer.FromString,
        )
        return call(request, **more)

    async def __call__(self, method: str, request: Any, answer: Any, **more: Any) -> Any:
        return await self.begin(method, request, answer, **more)

    async def infer(self, request: Any, **more: Any) -> pb.ModelInferResponse:
        found: pb.ModelInferResponse = await self(
            "ModelInfer", request, pb.ModelInferResponse, **more
        )
        return found

    async def refused(self, method: str, request: Any, answer: Any, **more: Any) -> Any:
        with pytest.raises(grpc.aio.AioRpcError) as found:
            await self(method, request, answer, **more)
        return found.value


Work = Callable[[Stand, Client], Awaitable[Any]]


def with_client(work: Work, task: str = CLASSIFIES, **more: Any) -> Any:
    """Serve version 1 over gRPC, do some work, give what it gives."""

    async def whole() -> Any:
        async with standing() as stand:
            await stand.serve(variant(1), task=task, **more)
            dispatcher = Dispatcher(stand.pool, stand.recorder, stand.metrics)
            server = await GrpcServer.start(
                "127.0.0.1:0",
                stand.table,
                stand.pool,
                dispatcher,
                stand.metrics,
                stand.recorder,
                stand.callers,
            )
            async with grpc.aio.insecure_channel(server.address) as channel:
                try:
                    return await work(stand, Client(channel))
                finally:
                    await server.stop(1)

    return asyncio.run(whole())


def asking(*texts: str, raw: bool = False, outputs: Any = (), **more: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="tiny", **more)
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=[len(texts)])
    if raw:
        request.raw_input_contents.append(from_texts(texts))
    else:
        tensor.contents.bytes_contents.extend(text.encode() for text in texts)
    for name in outputs:
        request.outputs.add(name=name)
    return request


def asking_ids(rows: list[list[int]], mask: Any = None, *, raw: bool = False) -> Any:
    request = pb.ModelInferRequest(model_name="tiny")
    for name, given, kind, code, field in (
        ("input_ids", rows, "INT32", "i", "int_contents"),
        ("attention_mask", mask, "INT64", "q", "int64_contents"),
    ):
        if given is None:
            continue
        shape = [len(given), len(given[0])]
        flat = [one for row in given for one in row]
        tensor = request.inputs.add(name=name, datatype=kind, shape=shape)
        if raw:
            request.raw_input_contents.append(struct.pack(f"<{len(flat)}{code}", *flat))
        else:
            getattr(tensor.contents, field).extend(flat)
    return request


def ask(request: Any, task: str = CLASSIFIES) -> pb.ModelInferResponse:
    found: pb.ModelInferResponse = with_client(lambda _, client: client.infer(request), task)
    return found


def refusal(request: Any, task: str = CLASSIFIES, **more: Any) -> Any:
    return with_client(
        lambda _, client: client.refused("ModelInfer", request, pb.ModelInferResponse, **more), task
    )


def test_the_generated_code_is_what_the_protocol_says(tmp_path: Path) -> None:
    source = "serving/gateway/grpc/inference.proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", ".", source]
    command += [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True)
    for kind in ("py", "pyi"):
        name = source.replace(".proto", f"_pb2.{kind}")
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), "run `make protocols`"


def test_texts_are_answered_in_contents_or_raw_as_they_came() -> None:
    found = ask(asking("has beta", "数据", id="mine", outputs=["label", "probabilities"]))
    assert (found.model_name, found.model_version, found.id) == ("tiny", "1", "mine")
    label, probabilities = found.outputs
    assert list(label.contents.bytes_contents) == [b"beta", b"alpha"]
    assert (probabilities.datatype, list(probabilities.shape)) == ("FP32", [2, 2])
    assert list(probabilities.contents.fp32_contents) == [0.25, 0.75, 0.75, 0.25]
    assert not found.raw_output_contents
    found = ask(asking("has beta", "数据", raw=True))
    assert [one.name for one in found.outputs] == ["label", "score"]
    assert list(found.raw_output_contents) == [
        from_texts(["beta", "alpha"]),
        struct.pack("<2f", 0.75, 0.75),
    ]
    assert not any(one.HasField("contents") for one in found.outputs)


def test_each_task_gives_its_own() -> None:
    (entities,) = ask(asking("has beta"), TAGS).outputs
    assert json.loads(entities.contents.bytes_contents[0])[0]["text"] == "beta"
    (embedding,) = ask(asking("has beta", raw=True), EMBEDS).raw_output_contents
    assert struct.unpack("<3f", embedding) == (2.0, 1.0, 0.25)
    error = refusal(asking("a", outputs=["label"]), EMBEDS)
    assert (error.code(), error.details()) == (
        Code.INVALID_ARGUMENT,
        "There is no output 'label'. (there is embedding)",
    )


@pytest.mark.parametrize("raw", [False, True])
def test_token_ids_are_asked_about_without_their_padding(*, raw: bool) -> None:
    sent = asking_ids([[1, BETA, 1], [1, 0, 0]], [[1, 1, 1], [1, 0, 0]], raw=raw)
    answer = ask(sent, EMBEDS)
    found = (
        struct.unpack("<6f", answer.raw_output_contents[0])
        if raw
        else tuple(answer.outputs[0].contents.fp32_contents)
    )
    assert found == (3.0, 1.0, 0.25, 1.0, 0.0, 0.25)


def broken(change: Callable[[Any], Any], *, raw: bool = False) -> Any:
    request = asking("alpha", raw=raw)
    change(request)
    return request


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (b"\xff\xff", "The message is no ModelInferRequest"),
        (pb.ModelInferRequest(model_name="tiny"), "The inputs are none"),
        (asking(*["a"] * 65), "65 texts in one request, of 64"),
        (asking("a " * 17), "17 tokens, of 16"),
        (asking(""), "A text is empty"),
        (asking_ids([[-1]]), "holds '-1'"),
        (asking_ids([[1, 2]], [[0, 1]]), "of row 0 is not ones"),
        (asking_ids([[1, 2]], [[1]]), "attention_mask has shape [1, 1]"),
        (broken(lambda one: one.raw_input_contents.append(b"")), "contents, and raw_input"),
        (broken(lambda one: one.raw_input_contents.extend([b"", b""])), "2 raw_input_contents"),
        (broken(lambda one: one.inputs[0].shape.append(7)), "Shape [1, 7]"),
        (
            broken(lambda one: one.inputs[0].contents.bytes_contents.insert(0, b"\xff")),
            "Element 0 is not UTF-8",
        ),
        (
            broken(lambda one: one.inputs[0].parameters["shared_memory_region"].Clear()),
            "shared memory",
        ),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(request_: Any, said: str) -> None:
    error = refusal(request_)
    assert error.code() == Code.INVALID_ARGUMENT
    assert said in error.details()


def test_who_answered_is_told_in_metadata() -> None:
    async def work(stand: Stand, client: Client) -> None:
        await stand.serve(variant(1), variant(2), generation=2)
        sent = (("x-request-id", "mine"), ("x-slipway-key", "k"), ("x-odd-bin", b"\0"))
        call = client.begin("ModelInfer", asking("a"), pb.ModelInferResponse, metadata=sent)
        assert (await call).model_version == "2"
        told = dict(await call.trailing_metadata())
        assert told["x-request-id"] == "mine"
        assert (told["x-slipway-version"], told["x-slipway-generation"]) == ("2", "2")
        assert (told["x-slipway-model"], told["x-slipway-variant"]) == ("tiny", "onnx-int8")
        pinned = await client.infer(asking("a", model_version="1"))
        assert pinned.model_version == "1"

    with_client(work)


def test_a_request_is_called_what_its_client_calls_it() -> None:
    async def work(stand: Stand, client: Client) -> None:
        ours = (("x-request-id", "ours"),)
        for request, metadata, kept in (
            (asking("a", id="mine"), (), "mine"),
            (asking("a", id="mine"), ours, "ours"),
            (asking("a", id="mine", model_version="9"), (), "mine"),
            (asking("a", id="a b"), (), ""),
        ):
            call = client.begin("ModelInfer", request, pb.ModelInferResponse, metadata=metadata)
            with suppress(grpc.aio.AioRpcError):
                assert (await call).id == request.id
            told = dict(await call.trailing_metadata())["x-request-id"]
            assert stand.records[-1].id == told == (kept or told) != "a b"

    with_client(work)


@pytest.mark.parametrize(
    ("kind", "code", "retry"),
    [
        (Kind.OVERLOADED, Code.RESOURCE_EXHAUSTED, "1"),
        (Kind.EXPIRED, Code.DEADLINE_EXCEEDED, None),
        (Kind.INTERNAL, Code.INTERNAL, None),
    ],
)
def test_failures_have_grpcs_codes(kind: Kind, code: Any, retry: str | None) -> None:
    async def work(stand: Stand, client: Client) -> Any:
        stand.replicas[variant(1).digest].fails = kind
        return await client.refused("ModelInfer", asking("a"), pb.ModelInferResponse)

    error = with_client(work)
    assert (error.code(), error.details()) == (code, "It fails, as it should.")
    told = dict(error.trailing_metadata())
    assert told.get("retry-after") == retry and told["x-request-id"]


def test_what_is_not_there_is_not_found() -> None:
    async def work(_stand: Stand, client: Client) -> None:
        for method, request, answer in (
            ("ModelInfer", asking("a", model_version="9"), pb.ModelInferResponse),
            ("ModelInfer", asking("a", model_version="x"), pb.ModelInferResponse),
            ("ModelReady", pb.ModelReadyRequest(name="other"), pb.ModelReadyResponse),
            ("ModelMetadata", pb.ModelMetadataRequest(name="other"), pb.ModelMetadataResponse),
            (
                f"{HEALTH}/Check",
                health_pb2.HealthCheckRequest(service="other"),
                health_pb2.HealthCheckResponse,
            ),
        ):
            assert (await client.refused(method, request, answer)).code() == Code.NOT_FOUND
        odd = await client.refused("ModelStreamInfer", b"", pb.ModelInferResponse)
        assert odd.code() == Code.UNIMPLEMENTED

    with_client(work)


def test_a_clients_deadline_reaches_the_dispatch() -> None:
    async def work(stand: Stand, client: Client) -> None:
        error = await client.refused("ModelInfer", asking("a"), pb.ModelInferResponse, timeout=0.2)
        assert error.code() == Code.DEADLINE_EXCEEDED
        await until(lambda: stand.records)
        # The client's own end may come a moment before ours.
        assert stand.records[0].outcome in ("timeout", "abandoned")
        assert stand.records[0].total_us < 2e6
        # gRPC sends a timeout rounded up: the gateway may see a few milliseconds more.
        assert stand.replicas[variant(1).digest].budgets[0] <= 210
        sent = (("x-slipway-deadline-ms", "100"),)
        error = await client.refused(
            "ModelInfer", asking("a"), pb.ModelInferResponse, metadata=sent, timeout=20
        )
        assert error.code() == Code.DEADLINE_EXCEEDED
        assert "did not answer within" in error.details()

    with_client(work, slow=5.0)


def test_a_client_that_leaves_has_its_work_cancelled() -> None:
    async def work(stand: Stand, client: Client) -> None:
        call = client.begin("ModelInfer", asking("a"), pb.ModelInferResponse)
        await asyncio.sleep(0.3)
        call.cancel()
        await until(lambda: stand.replicas[variant(1).digest].cancelled)
        assert [one.outcome for one in stand.records] == ["abandoned"]

    with_client(work, slow=5.0)


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


def test_a_message_ends_at_the_limit() -> None:
    async def work(_stand: Stand, client: Client) -> None:
        for text, more in (
            ("x" * MOST_BODY, {}),
            ("x" * 20 * MOST_BODY, {"compression": grpc.Compression.Gzip}),
        ):
            error = await client.refused("ModelInfer", asking(text), pb.ModelInferResponse, **more)
            assert error.code() == Code.RESOURCE_EXHAUSTED
        small = await client.infer(asking("has beta"), compression=grpc.Compression.Gzip)
        assert small.outputs[0].contents.bytes_contents[0] == b"beta"

    with_client(work)


def test_server_and_models_are_described() -> None:
    async def work(stand: Stand, client: Client) -> None:
        assert (await client("ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)).live
        assert (await client("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)).ready
        about = await client(
            "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse
        )
        assert (about.name, list(about.extensions)) == ("slipway", ["binary_tensor_data"])
        model = await client(
            "ModelMetadata", pb.ModelMetadataRequest(name="tiny"), pb.ModelMetadataResponse
        )
        assert [(one.name, one.datatype) for one in model.outputs] == [
            *(("label", "BYTES"), ("score", "FP32"), ("probabilities", "FP32"))
        ]
        assert list(model.outputs[2].shape) == [-1, 2] and list(model.versions) == ["1"]
        assert json.loads(model.properties["labels"]) == ["alpha", "beta"]
        await stand.serve(variant(1), variant(2), generation=2)
        stand.pool.follow({variant(1).digest: (str(stand.folder / variant(1).digest[-6:]),)})
        ready = await client("ModelReady", pb.ModelReadyRequest(name="tiny"), pb.ModelReadyResponse)
        assert ready.ready
        second = pb.ModelReadyRequest(name="tiny", version="2")
        assert not (await client("ModelReady", second, pb.ModelReadyResponse)).ready
        index = pb.RepositoryIndexRequest()
        listed = await client("RepositoryIndex", index, pb.RepositoryIndexResponse)
        assert [(one.version, one.state) for one in listed.models] == [
            *(("1", "READY"), ("2", "UNAVAILABLE"))
        ]
        index.ready = True
        listed = await client("RepositoryIndex", index, pb.RepositoryIndexResponse)
        assert [one.version for one in listed.models] == ["1"]

    with_client(work)


def test_health_is_checked_and_watched() -> None:
    kind = health_pb2.HealthCheckResponse

    async def work(stand: Stand, client: Client) -> None:
        async def check(service: str) -> int:
            request = health_pb2.HealthCheckRequest(service=service)
            return int((await client(f"{HEALTH}/Check", request, kind)).status)

        for name in ("", SERVICE, "tiny"):
            assert await check(name) == kind.SERVING
        listed = await client(
            f"{HEALTH}/List", health_pb2.HealthListRequest(), health_pb2.HealthListResponse
        )
        assert set(listed.statuses) == {"", SERVICE, "tiny"}
        watch = client.channel.unary_stream(
            f"/{HEALTH}/Watch",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=kind.FromString,
        )(health_pb2.HealthCheckRequest(service="tiny"))
        assert (await watch.read()).status == kind.SERVING
        stand.pool.follow({})
        assert (await watch.read()).status == kind.NOT_SERVING
        assert await check("") == kind.NOT_SERVING
        watch.cancel()

    with_client(work)


def test_watches_do_not_take_the_calls_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MOST_WATCHES", 2)

    async def work(_: Stand, client: Client) -> None:
        watching = client.channel.unary_stream(
            f"/{HEALTH}/Watch", response_deserializer=health_pb2.HealthCheckResponse.FromString
        )
        first, second = watching(b""), watching(b"")
        assert [(await one.read()).status for one in (first, second)] == [1, 1]
        with pytest.raises(grpc.aio.AioRpcError, match="2 watches, of 2 at most") as refused:
            await watching(b"").read()
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
        first.cancel()
        async with asyncio.timeout(5):
            while True:
                third = watching(b"")
                with suppress(grpc.aio.AioRpcError):
                    assert (await third.read()).status == 1
                    break
                await asyncio.sleep(0.05)
        for one in (second, third):
            one.cancel()

    with_client(work)


def test_a_server_that_stops_finishes_what_is_under_way_and_ends_watches() -> None:
    async def work(stand: Stand, client: Client) -> None:
        server = await GrpcServer.start(
            "127.0.0.1:0",
            stand.table,
            stand.pool,
            Dispatcher(stand.pool, stand.recorder, stand.metrics),
            stand.metrics,
            stand.recorder,
            stand.callers,
        )
        async with grpc.aio.insecure_channel(server.address) as channel:
            here = Client(channel)
            watch = channel.unary_stream(
                f"/{HEALTH}/Watch", response_deserializer=health_pb2.HealthCheckResponse.FromString
            )(b"")
            assert (await watch.read()).status == 1
            call = here.begin("ModelInfer", asking("has beta"), pb.ModelInferResponse)
            await asyncio.sleep(0.1)
            stopping = asyncio.create_task(server.stop(5))
            assert (await watch.read()).status == 2
            assert (await call).outputs[0].contents.bytes_contents[0] == b"beta"
            async with asyncio.timeout(4):
                await stopping

    with_client(work, slow=0.5)


def test_a_gateway_serves_grpc_where_it_is_told_and_drains_it(tier: Tier, tiny: Tiny) -> None:
    tier.grpc = "127.0.0.1:0"
    stable = tiny.variant(1)
    tier.replica(stable)
    tier.serve(Route(endpoint="tiny", generation=1, stable=stable))
    tier.warm(stable)

    async def asked() -> pb.ModelInferResponse:
        async with grpc.aio.insecure_channel(tier.address()) as channel:
            client = Client(channel)
            answers = [asyncio.ensure_future(client.infer(asking("the word alpha")))]
            await answers[0]
            process = tier.gateway
            assert process is not None
            os.kill(tier.replicas[stable.digest].pid, signal.SIGSTOP)
            answers.append(asyncio.ensure_future(client.infer(asking("the word alpha"))))
            await asyncio.sleep(0.3)
            os.kill(process.pid, signal.SIGTERM)
            await asyncio.sleep(0.3)
            os.kill(tier.replicas[stable.digest].pid, signal.SIGCONT)
            found = await answers[1]
            await asyncio.to_thread(until_true, lambda: not alive(process), 8)
            return found

    assert list(asyncio.run(asked()).outputs[0].contents.bytes_contents) == [b"alpha"]
