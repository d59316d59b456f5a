"""Asks a gateway with KServe's clients, over HTTP and gRPC: infer, health, errors.

Run in the clients' own environment: `python ask_kserve.py HOST:PORT GRPC_HOST:PORT`.
"""

import asyncio
import json
import sys
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def asking(name: str, *texts: str, binary: bool = False, **more: Any) -> InferRequest:
    tensor = InferInput(name="text", shape=[len(texts)], datatype="BYTES", data=list(texts))
    if binary:
        given = np.array([one.encode() for one in texts], dtype=np.object_)
        tensor.set_data_from_numpy(given, binary_data=True)
    return InferRequest(model_name=name, infer_inputs=[tensor], **more)


def asking_ids() -> InferRequest:
    tensors = [
        InferInput(name=name, shape=[2, 3], datatype="INT64")
        for name in ("input_ids", "attention_mask")
    ]
    tensors[0].set_data_from_numpy(np.array([[1, 7, 1], [1, 0, 0]], dtype=np.int64))
    tensors[1].set_data_from_numpy(np.array([[1, 1, 1], [1, 0, 0]], dtype=np.int64))
    return InferRequest(model_name="embedder", infer_inputs=tensors)


def output(found: Any, name: str) -> Any:
    return next(one for one in found.outputs if one.name == name)


def words(found: Any, name: str) -> list[str]:
    """Texts come as str or as bytes, by the way they came."""
    data = output(found, name).as_numpy().tolist()
    return [one.decode() if isinstance(one, bytes) else one for one in data]


async def ask_rest(url: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, "classifier")
    assert not await client.is_model_ready(url, "other")
    told: dict[str, str] = {}
    for binary in (False, True):
        found = await client.infer(
            *(url, asking("classifier", "has beta", "数据", binary=binary)),
            model_name="classifier",
            response_headers=told,
        )
        assert words(found, "label") == ["beta", "alpha"]
        assert output(found, "score").as_numpy().tolist() == [0.75, 0.75]
        assert told["x-slipway-version"] == "1"
    wish = [RequestedOutput(name="probabilities", parameters={"binary_data": True})]
    asked = asking("classifier", "has beta", request_outputs=wish)
    found = await client.infer(url, asked, model_name="classifier")
    assert output(found, "probabilities").as_numpy().tolist() == [[0.25, 0.75]]
    found = await client.infer(url, asking("tagger", "has beta"), model_name="tagger")
    assert json.loads(words(found, "entities")[0])[0]["text"] == "beta"
    found = await client.infer(url, asking_ids(), model_name="embedder")
    assert output(found, "embedding").as_numpy().tolist() == [[3.0, 1.0, 0.25], [1.0, 0.0, 0.25]]
    for name, sent, status, said in (
        ("classifier", asking("classifier", " "), 400, "A text is empty"),
        ("other", asking("other", "a"), 404, "no model 'other'"),
    ):
        with pytest.raises(httpx.HTTPStatusError, match=said) as error:
            await client.infer(url, sent, model_name=name)
        assert error.value.response.status_code == status
    await client.close()


async def ask_grpc(address: str) -> None:
    client = InferenceGRPCClient(url=address)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("classifier")
    for binary in (False, True):
        found = await client.infer(asking("classifier", "has beta", "数据", binary=binary))
        assert words(found, "label") == ["beta", "alpha"]
        assert output(found, "score").as_numpy().tolist() == [0.75, 0.75]
    found = await client.infer(asking_ids())
    assert output(found, "embedding").as_numpy().tolist() == [[3.0, 1.0, 0.25], [1.0, 0.0, 0.25]]
    for sent, code in (
        (asking("classifier", " "), grpc.StatusCode.INVALID_ARGUMENT),
        (asking("other", "a"), grpc.StatusCode.NOT_FOUND),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.infer(sent)
        assert error.value.code() == code
    await client.close()


def ask_health(address: str) -> None:
    """The check that orchestrators make, by the library's own stub."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "inference.GRPCInferenceService", "tagger"):
            found = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert found.status == health_pb2.HealthCheckResponse.SERVING


if __name__ == "__main__":
    asyncio.run(ask_rest(f"http://{sys.argv[1]}"))
    asyncio.run(ask_grpc(sys.argv[2]))
    ask_health(sys.argv[2])
