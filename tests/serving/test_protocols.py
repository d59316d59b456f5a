"""Every protocol of the gateway, before replicas that have no model."""

import asyncio
import gzip
import json
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from serving.gateway import pool
from serving.gateway.tensors import from_texts
from serving.replica.messages import Kind
from tests.fakes.wire_replica import Stand, standing, variant
from tests.serving.tier import body

INFER = "/v2/models/tiny/infer"
WHO = ("x-request-id", "x-slipway-version", "x-slipway-variant", "x-slipway-generation")


def with_stand(work: Callable[[Stand], Awaitable[Any]], **more: Any) -> Any:
    """Serve version 1, do some work, give what it gives."""

    async def whole() -> Any:
        async with standing() as stand:
            await stand.serve(variant(1), **more)
            return await work(stand)

    return asyncio.run(whole())


def post(path: str, **sent: Any) -> httpx.Response:
    found: httpx.Response = with_stand(lambda stand: stand.client.post(path, **sent))
    return found


def get(path: str) -> httpx.Response:
    found: httpx.Response = with_stand(lambda stand: stand.client.get(path))
    return found


def binary_body(*texts: str, outputs: Any = None, **parameters: Any) -> tuple[bytes, int]:
    raw = from_texts(texts)
    tensor: dict[str, Any] = {"name": "text", "shape": [len(texts)], "datatype": "BYTES"}
    tensor["parameters"] = {"binary_data_size": len(raw)}
    whole = {"inputs": [tensor], "parameters": parameters, "outputs": outputs}
    plain = json.dumps(whole).encode()
    return plain + raw, len(plain)


def binary_post(sent: bytes, length: int | str, **headers: str) -> httpx.Response:
    given = {"inference-header-content-length": str(length), **headers}
    return post(INFER, content=sent, headers=given)


def parted(answer: httpx.Response) -> tuple[dict[str, Any], bytes]:
    length = int(answer.headers["inference-header-content-length"])
    found: dict[str, Any] = json.loads(answer.content[:length])
    return found, answer.content[length:]


def test_binary_in_and_out() -> None:
    sent, length = binary_body("has beta", "数据 alpha", binary_data_output=True)
    answer = binary_post(sent, length)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert all(name in answer.headers for name in WHO)
    found, raw = parted(answer)
    label, score = found["outputs"]
    assert label["parameters"] == {"binary_data_size": 17} and "data" not in label
    assert raw[:17] == b"\x04\x00\x00\x00beta\x05\x00\x00\x00alpha"
    assert struct.unpack("<2f", raw[17:]) == (0.75, 0.75)
    assert score["shape"] == [2]


def test_an_output_says_for_itself_whether_it_is_binary() -> None:
    outputs: list[dict[str, Any]] = [
        {"name": "probabilities", "parameters": {"binary_data": True}},
        {"name": "label"},
    ]
    sent, length = binary_body("has beta", outputs=outputs)
    found, raw = parted(binary_post(sent, length))
    assert found["outputs"][0]["shape"] == [1, 2]
    assert found["outputs"][1]["data"] == ["beta"]
    assert struct.unpack("<2f", raw) == (0.25, 0.75)
    outputs[0]["parameters"] = {"binary_data": False}
    sent, length = binary_body("has beta", outputs=outputs, binary_data_output=True)
    assert "data" in parted(binary_post(sent, length))[0]["outputs"][0]


@pytest.mark.parametrize(
    ("change", "length", "said"),
    [
        (lambda sent: sent, 10**6, "of 1"),
        (lambda sent: sent, 3, "not a V2 request"),
        (lambda sent: sent, 0, "not a V2 request"),
        (lambda sent: sent, "many", "must be a number"),
        (lambda sent: sent + b"x", None, "after the JSON"),
        (lambda sent: sent[:-1], None, "after the JSON"),
        (lambda sent: sent[:-1] + b"\xff", None, "not UTF-8"),
        (lambda sent: sent.replace(b'"shape": [1]', b'"shape": [9]'), None, "Shape [9]"),
    ],
)
def test_a_binary_body_that_lies_is_refused(
    change: Callable[[bytes], bytes], length: Any, said: str
) -> None:
    sent, true_length = binary_body("alpha")
    answer = binary_post(change(sent), true_length if length is None else length)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("coding", "pack"),
    [("gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress)],
)
def test_a_compressed_body_is_read(coding: str, pack: Callable[[bytes], bytes]) -> None:
    sent, length = binary_body("has beta")
    answer = binary_post(pack(sent), length, **{"content-encoding": coding})
    assert answer.json()["outputs"][0]["data"] == ["beta"]


@pytest.mark.parametrize(
    ("coding", "sent", "status", "said"),
    [
        ("br", b"x", 415, "'br'"),
        ("gzip, deflate", b"x", 415, "send it plain, as gzip or as deflate"),
        ("gzip", b"{}", 400, "is not gzip"),
        ("gzip", gzip.compress(b" " * (2**20 + 1)), 413, "once inflated"),
    ],
)
@pytest.mark.parametrize("path", [INFER, "/predict/tiny", "/v2/repository/index"])
def test_a_compressed_body_is_refused(
    path: str, coding: str, sent: bytes, status: int, said: str
) -> None:
    answer = post(path, content=sent, headers={"content-encoding": coding})
    assert answer.status_code == status
    assert said in answer.json()["error"]


def test_a_text_is_asked_about_plainly() -> None:
    answer = post("/predict/tiny", json={"text": "has beta"}, headers={"x-request-id": "mine"})
    assert answer.json() == {"label": "beta", "score": 0.75}
    assert answer.headers["x-request-id"] == "mine"
    assert [answer.headers[name] for name in WHO[1:]] == ["1", "onnx-int8", "1"]
    several = post("/predict/tiny", json={"texts": ["beta", "alpha"], "probabilities": True})
    assert several.json() == [
        {"label": "beta", "score": 0.75, "probabilities": {"alpha": 0.25, "beta": 0.75}},
        {"label": "alpha", "score": 0.75, "probabilities": {"alpha": 0.75, "beta": 0.25}},
    ]
    assert post("/predict/tiny", json={"texts": ["beta"]}).json() == [
        {"label": "beta", "score": 0.75}
    ]


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        ({}, 400, "neither text nor texts"),
        ({"text": "a", "texts": ["a"]}, 400, "both text and texts"),
        ({"texts": []}, 400, "There are no texts"),
        ({"text": " "}, 400, "A text is empty"),
        ({"text": 7}, 400, "not a request"),
        ({"text": "a", "probabilites": True}, 400, "probabilites"),
        ({"texts": ["a"] * 65}, 400, "65 texts in one request, of 64"),
        ({"text": "x" * 100_001}, 400, "100001 characters"),
        ({"text": "a " * 17}, 400, "17 tokens, of 16"),
    ],
)
def test_a_plain_request_is_told_what_is_wrong(sent: Any, status: int, said: str) -> None:
    answer = post("/predict/tiny", json=sent)
    assert answer.status_code == status
    assert said in answer.json()["error"]


def test_a_plain_request_goes_the_same_way_as_any() -> None:
    async def work(stand: Stand) -> None:
        await stand.serve(variant(1), variant(2), generation=2, fails=Kind.INTERNAL)
        answer = await stand.client.post(
            "/predict/tiny", json={"text": "beta"}, headers={"x-slipway-key": "k"}
        )
        assert answer.headers["x-slipway-rescued"] == "1"
        assert answer.headers["x-slipway-version"] == "1"
        (record,) = stand.records
        assert (record.outcome, record.generation, record.counted[0].rescued) == ("ok", 2, 1)
        hurried = await stand.client.post(
            "/predict/tiny", json={"text": "beta"}, headers={"x-slipway-deadline-ms": "0"}
        )
        assert hurried.status_code == 400
        missing = await stand.client.post("/predict/other", json={"text": "beta"})
        assert missing.status_code == 404 and "served are: tiny" in missing.json()["error"]

    with_stand(work)


def test_the_repository_is_listed() -> None:
    async def work(stand: Stand) -> None:
        await stand.serve(variant(1), variant(2), generation=2)
        ready = {"name": "tiny", "state": "READY", "reason": ""}
        both = [ready | {"version": "1"}, ready | {"version": "2"}]
        for sent in (b"", b"{}", b'{"ready": true}'):
            assert (await stand.client.post("/v2/repository/index", content=sent)).json() == both
        stand.pool.follow({variant(1).digest: (str(stand.folder / variant(1).digest[-6:]),)})
        found = (await stand.client.post("/v2/repository/index")).json()
        assert [one["state"] for one in found] == ["READY", "UNAVAILABLE"]
        assert found[1]["reason"] == "no replica of it is ready"
        found = await stand.client.post("/v2/repository/index", json={"ready": True})
        assert found.json() == both[:1]
        wrong = await stand.client.post("/v2/repository/index", content=b'{"ready": 3}')
        assert wrong.status_code == 400
        gone = await stand.client.get("/v2/models/tiny/versions/2/ready")
        assert (gone.status_code, gone.json()) == (
            503,
            {"name": "tiny", "ready": False, "reason": "no replica of it is ready"},
        )
        described = (await stand.client.get("/v2/models/tiny/versions/2")).json()
        assert (described["outputs"], described["parameters"]["task"]) == ([], "")

    with_stand(work)


def test_server_and_models_are_described() -> None:
    assert get("/v2").json()["extensions"] == ["binary_tensor_data"]
    found = get("/v2/models/tiny/versions/1").json()
    assert found["outputs"][2] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}
    assert found["parameters"] == {
        "task": "text-classification",
        "labels": ["alpha", "beta"],
        "longest_input": 16,
    }
    assert get("/v1/models").json() == {
        "object": "list",
        "data": [{"id": "tiny", "object": "model", "created": 0, "owned_by": "slipway"}],
    }
    assert get("/v2/models/tiny/versions/9").status_code == 404


def test_a_wrong_flag_is_refused() -> None:
    answer = post(INFER, json=body("alpha") | {"parameters": {"binary_data_output": "yes"}})
    assert answer.status_code == 400
    assert "binary_data_output must be true or false" in answer.json()["error"]


def test_a_body_that_does_not_tell_its_length_ends_at_the_limit() -> None:
    sent = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            sent.append(1)
            yield b" " * 2**16

    answer = post(INFER, content=endless())
    assert answer.status_code == 413
    assert "more than 1048576 bytes" in answer.json()["error"]
    assert len(sent) == 17


def test_labels_outlive_their_replica_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOST_REMEMBERED", 2)

    async def work(stand: Stand) -> None:
        stand.pool.follow({})
        assert stand.pool.labels(variant(1).digest) == ["alpha", "beta"]
        # Nobody shall connect to it again, which would have it remembered anew.
        del stand.replicas[variant(1).digest]
        await stand.serve(variant(2), generation=2)
        await stand.serve(variant(3), generation=3)
        assert stand.pool.labels(variant(1).digest) == []
        assert stand.pool.labels(variant(3).digest) == ["alpha", "beta"]

    with_stand(work)


def test_probabilities_without_known_labels_are_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "MOST_REMEMBERED", 0)
    answer = post("/predict/tiny", json={"text": "beta", "probabilities": True})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "labels of tiny@1/onnx-int8" in answer.json()["error"]
    assert post("/predict/tiny", json={"text": "beta"}).status_code == 200
