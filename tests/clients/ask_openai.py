"""Asks a gateway with OpenAI's client: embeddings in both encodings, models, errors.

Run in the clients' own environment: `python ask_openai.py HOST:PORT`.
"""

import sys
from typing import Any

import openai
import pytest


def refused(kind: type[openai.APIStatusError], work: Any, said: str) -> openai.APIStatusError:
    with pytest.raises(kind, match=said) as found:
        work()
    return found.value


def ask(address: str) -> None:
    client = openai.OpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0)
    create = client.embeddings.create
    vectors = [[2.0, 1.0, 0.25], [1.0, 0.0, 0.25]]
    for given in (["has beta", "alpha"], [[1, 7], [1]]):
        for more in ({}, {"encoding_format": "float"}, {"dimensions": 3, "user": "someone"}):
            # Without an encoding the client asks for base64, and undoes it.
            found = create(model="embedder", input=given, **more)
            assert [one.embedding for one in found.data] == vectors
            assert [one.index for one in found.data] == [0, 1]
            assert (found.usage.prompt_tokens, found.usage.total_tokens) == (3, 3)
    coded = create(model="embedder", input="has beta", encoding_format="base64")
    assert coded.data[0].embedding == "AAAAQAAAgD8AAIA+"
    for one in ("has beta", [1, 7]):
        assert create(model="embedder", input=one).data[0].embedding == vectors[0]
    raw = client.embeddings.with_raw_response.create(
        model="embedder", input="a", extra_headers={"x-request-id": "mine"}
    )
    assert (raw.headers["x-slipway-version"], raw.headers["x-request-id"]) == ("3", "mine")
    assert {one.id for one in client.models.list()} == {"classifier", "tagger", "embedder"}
    assert client.models.retrieve("embedder").owned_by == "slipway"
    wrong = refused(
        openai.BadRequestError, lambda: create(model="classifier", input="a"), "makes no embeddings"
    )
    assert (wrong.type, wrong.param) == ("invalid_request_error", "model")
    refused(openai.BadRequestError, lambda: create(model="embedder", input=""), "A text is empty")
    refused(
        openai.BadRequestError,
        lambda: create(model="embedder", input="a", dimensions=2),
        "dimensions must be 3",
    )
    missing = refused(
        openai.NotFoundError, lambda: create(model="other", input="a"), "no model 'other'"
    )
    assert missing.code == "model_not_found"
    refused(openai.NotFoundError, lambda: client.models.retrieve("other"), "no model 'other'")


if __name__ == "__main__":
    ask(sys.argv[1])
