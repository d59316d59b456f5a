"""Asks a gateway as Triton's users do, over HTTP and gRPC: infer, metadata, health, index, errors.

Run in the clients' own environment: `python ask_triton.py HOST:PORT GRPC_HOST:PORT`.
"""

import json
import sys
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype


def tensor(module: Any, name: str, given: Any, **more: Any) -> Any:
    made = module.InferInput(name, list(given.shape), np_to_triton_dtype(given.dtype))
    made.set_data_from_numpy(given, **more)
    return made


def texts(*given: str) -> Any:
    return np.array([one.encode() for one in given], dtype=np.object_)


def refused(work: Any, said: str) -> str:
    with pytest.raises(InferenceServerException, match=said) as found:
        work()
    return str(found.value.status())


def ask(module: Any, client: Any) -> None:
    """What both protocols answer alike."""
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("classifier") and client.is_model_ready("classifier", "1")
    found = client.infer("classifier", [tensor(module, "text", texts("has beta", "数据"))])
    assert list(found.as_numpy("label")) == [b"beta", b"alpha"]
    assert found.as_numpy("score").tolist() == [0.75, 0.75]
    wanted = [module.InferRequestedOutput("probabilities"), module.InferRequestedOutput("label")]
    found = client.infer(
        *("classifier", [tensor(module, "text", texts("has beta").reshape(1, 1))]),
        *("1", wanted, "mine"),
    )
    assert found.as_numpy("probabilities").tolist() == [[0.25, 0.75]]
    found = client.infer("tagger", [tensor(module, "text", texts("has beta"))])
    assert json.loads(found.as_numpy("entities")[0])[0]["text"] == "beta"
    ids = np.array([[1, 7, 1], [1, 0, 0]], dtype=np.int64)
    mask = np.array([[1, 1, 1], [1, 0, 0]], dtype=np.int32)
    both = [tensor(module, "input_ids", ids), tensor(module, "attention_mask", mask)]
    found = client.infer("embedder", both)
    assert found.as_numpy("embedding").tolist() == [[3.0, 1.0, 0.25], [1.0, 0.0, 0.25]]
    assert found.as_numpy("embedding").dtype == np.float32


def ask_http(address: str) -> None:
    module = tritonclient.http
    with module.InferenceServerClient(address) as client:
        ask(module, client)
        given = tensor(module, "text", texts("has beta"), binary_data=False)
        plain = [module.InferRequestedOutput("label", binary_data=False)]
        for coding in (None, "gzip", "deflate"):
            found = client.infer(
                *("classifier", [given]),
                outputs=plain,
                request_compression_algorithm=coding,
                response_compression_algorithm=coding,
                headers={"x-slipway-key": "k"},
            )
            assert list(found.as_numpy("label")) == ["beta"]
        waiting = [client.async_infer("classifier", [given]) for _ in range(4)]
        assert all(one.get_result().as_numpy("score")[0] == 0.75 for one in waiting)
        assert client.get_server_metadata()["name"] == "slipway"
        assert client.get_model_metadata("tagger")["outputs"][0]["name"] == "entities"
        index = client.get_model_repository_index()
        assert {one["name"] for one in index} == {"classifier", "tagger", "embedder"}
        assert {one["state"] for one in index} == {"READY"}
        assert not client.is_model_ready("other")
        wrong = [tensor(module, "text", texts(" "))]
        assert refused(lambda: client.infer("classifier", wrong), "A text is empty") == "400"
        assert refused(lambda: client.infer("other", [given]), "no model 'other'") == "404"
        assert refused(lambda: client.get_model_metadata("other"), "no model") == "404"


def ask_grpc(address: str) -> None:
    module = tritonclient.grpc
    with module.InferenceServerClient(address) as client:
        ask(module, client)
        given = tensor(module, "text", texts("has beta"))
        found = client.infer(
            *("classifier", [given]),
            client_timeout=5,
            compression_algorithm="gzip",
            headers={"x-request-id": "mine", "x-slipway-key": "k"},
        )
        assert found.get_response().model_version == "1"
        assert client.get_server_metadata().name == "slipway"
        assert client.get_model_metadata("embedder").outputs[0].shape == [-1, 3]
        index = client.get_model_repository_index(as_json=True)["models"]
        assert {one["state"] for one in index} == {"READY"} and len(index) == 3
        wrong = [tensor(module, "text", texts(" "))]
        status = refused(lambda: client.infer("classifier", wrong), "A text is empty")
        assert status == "StatusCode.INVALID_ARGUMENT"
        status = refused(lambda: client.infer("other", [given]), "no model 'other'")
        assert status == "StatusCode.NOT_FOUND"


if __name__ == "__main__":
    ask_http(sys.argv[1])
    ask_grpc(sys.argv[2])
