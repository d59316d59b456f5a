"""OpenAI's embeddings and models, before replicas that have no model."""

import asyncio
import base64
import struct
from typing import Any

import httpx
import pytest

from serving.gateway.outputs import CLASSIFIES, EMBEDS
from serving.replica.messages import Kind
from tests.fakes.wire_replica import BETA, Stand, standing, variant
from tests.serving.test_tasks import post, with_stand

URL = "/v1/embeddings"


def embed(given: Any, task: str = EMBEDS, **more: Any) -> httpx.Response:
    return post(task, URL, json={"model": "tiny", "input": given, **more})


def refused(answer: httpx.Response, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status
    found: dict[str, Any] = answer.json()["error"]
    assert found.keys() == {"message", "type", "param", "code"}
    return found


@pytest.mark.parametrize(
    ("given", "vectors", "tokens"),
    [
        ("has beta", [[2.0, 1.0, 0.25]], 2),
        (["has beta", "alpha"], [[2.0, 1.0, 0.25], [1.0, 0.0, 0.25]], 3),
        ([1, BETA, 1], [[3.0, 1.0, 0.25]], 3),
        ([[1, BETA], [1]], [[2.0, 1.0, 0.25], [1.0, 0.0, 0.25]], 3),
    ],
)
def test_every_kind_of_input_is_embedded(given: Any, vectors: Any, tokens: int) -> None:
    answer = embed(given, user="someone", unknown={"is": "ignored"})
    assert answer.json() == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": number, "embedding": one}
            for number, one in enumerate(vectors)
        ],
        "model": "tiny",
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    assert answer.headers["x-slipway-version"] == "1" and "x-request-id" in answer.headers
    coded = embed(given, encoding_format="base64", dimensions=3).json()["data"]
    assert [list(struct.unpack("<3f", base64.b64decode(one["embedding"]))) for one in coded] == (
        vectors
    )


@pytest.mark.parametrize(
    ("sent", "said", "param"),
    [
        ({"input": []}, "The input is empty", "input"),
        ({"input": ["a", 1]}, "mixes texts and token ids", "input"),
        ({"input": [1, [1]]}, "mixes texts and token ids", "input"),
        ({"input": [[]]}, "Row 0 has 0 token ids", None),
        ({"input": [-1]}, "holds '-1'", None),
        ({"input": ""}, "A text is empty", None),
        ({"input": ["a"] * 65}, "65 texts in one request, of 64", None),
        ({"input": "a " * 17}, "17 tokens, of 16", None),
        ({"input": 7}, "not a request for embeddings", None),
        ({"input": [True]}, "not a request for embeddings", None),
        ({"input": "a", "encoding_format": "int8"}, "not a request for embeddings", None),
        ({"input": "a", "dimensions": 2}, "dimensions must be 3, not 2", "dimensions"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(sent: Any, said: str, param: str | None) -> None:
    error = refused(post(EMBEDS, URL, json={"model": "tiny", **sent}))
    assert said in error["message"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, None)


def test_a_model_without_vectors_says_so_before_it_computes() -> None:
    async def work(stand: Stand) -> None:
        answer = await stand.client.post(URL, json={"model": "tiny", "input": "a"})
        error = refused(answer)
        assert "tiny makes no embeddings: its task is text-classification" in error["message"]
        assert error["param"] == "model"
        assert stand.replicas[variant(1).digest].asked == []

    with_stand(CLASSIFIES, work)


def test_a_model_that_is_not_there_and_an_address_that_is_not() -> None:
    error = refused(post(EMBEDS, URL, json={"model": "other", "input": "a"}), 404)
    assert (error["param"], error["code"]) == ("model", "model_not_found")
    assert refused(post(EMBEDS, "/v1/completions", json={}), 404)["code"] is None
    assert refused(post(EMBEDS, "/v1/models/tiny"), 405)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("kind", "status", "type_", "code"),
    [
        (Kind.OVERLOADED, 429, "rate_limit_error", "rate_limit_exceeded"),
        (Kind.INTERNAL, 500, "server_error", None),
    ],
)
def test_a_failing_model_is_told_in_the_same_shape(
    kind: Kind, status: int, type_: str, code: str | None
) -> None:
    async def work() -> httpx.Response:
        async with standing() as stand:
            await stand.serve(variant(1), task=EMBEDS)
            stand.replicas[variant(1).digest].fails = kind
            return await stand.client.post(URL, json={"model": "tiny", "input": "a"})

    answer = asyncio.run(work())
    error = refused(answer, status)
    assert (error["type"], error["code"]) == (type_, code)
    assert answer.headers.get("retry-after") == ("1" if status in (429, 503) else None)


def test_one_model_is_described() -> None:
    async def work(stand: Stand) -> None:
        found = (await stand.client.get("/v1/models/tiny")).json()
        assert found == {"id": "tiny", "object": "model", "created": 0, "owned_by": "slipway"}
        assert refused(await stand.client.get("/v1/models/o"), 404)["code"] == "model_not_found"

    with_stand(EMBEDS, work)
