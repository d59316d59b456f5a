"""OpenAI's embeddings, models and errors: bodies in, bodies out. No sockets.

Source: OpenAI's API reference for `/v1/embeddings` and `/v1/models`. `user` is ignored, as is all
that is not named here; nothing that a client says becomes a metric's label.
"""

from typing import Any, Literal

import msgspec

from serving.gateway import exchange
from serving.gateway.dispatch import Refusal
from serving.gateway.exchange import Response, encode
from serving.gateway.inputs import Items, checked, checked_ids, decoded
from serving.gateway.outputs import EMBEDS, numbers, rows, task_of
from serving.gateway.table import Endpoint, Table
from serving.replica.messages import Answer, Vectors

_INVALID = "invalid_request_error"
_CODES = {401: "invalid_api_key", 403: "insufficient_permissions"}

_HINT = 'such as {"model": "…", "input": "…"} or {"model": "…", "input": ["…", "…"]}'


class Wrong(Refusal):
    """A refusal that names the part of the request that is wrong."""

    def __init__(self, message: str, hint: str = "", *, param: str, status: int = 400) -> None:
        super().__init__(status, message, hint)
        self.param = param
        self.code = "model_not_found" if status == 404 else None


class EmbeddingRequest(msgspec.Struct):
    """A request for embeddings."""

    model: str
    input: str | list[str | int | list[int]]
    """A text, texts, the token ids of one, or of several."""

    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


_requests = msgspec.json.Decoder(EmbeddingRequest)


def read(body: bytes) -> EmbeddingRequest:
    """Read a request.

    Raises:
        Refusal: with status 400, saying what is wrong.
    """
    return decoded(_requests, body, "The body is not a request for embeddings", _HINT)


def items_of(request: EmbeddingRequest) -> Items:
    """Take what is asked about out of a request.

    Raises:
        Refusal: with status 400, naming value and limit.
    """
    given = request.input
    if isinstance(given, str):
        return Items(texts=checked([given]))
    if not given:
        raise Wrong("The input is empty.", _HINT, param="input")
    kinds = {type(one) for one in given}
    if len(kinds) > 1:
        raise Wrong("The input mixes texts and token ids.", _HINT, param="input")
    (kind,) = kinds
    if kind is str:
        return Items(texts=checked(given))
    return Items(ids=checked_ids([given] if kind is int else given))  # type: ignore[arg-type]


def allow(request: EmbeddingRequest, task: str, width: int) -> None:
    """Refuse what a model cannot give.

    Args:
        request: what is asked.
        task: the model's.
        width: numbers in one of its embeddings.

    Raises:
        Refusal: with status 400.
    """
    if task != EMBEDS:
        raise _no_embeddings(request, task)
    if request.dimensions not in (None, width):
        said = f"dimensions must be {width}, not {request.dimensions}."
        raise Wrong(said, "leave it out", param="dimensions")


def _no_embeddings(request: EmbeddingRequest, task: str) -> Wrong:
    said = f"{request.model} makes no embeddings: its task is {task}."
    return Wrong(said, f"ask it at POST /predict/{request.model}", param="model")


def response(request: EmbeddingRequest, answer: Answer) -> dict[str, Any]:
    """Write the answer as plain data.

    Raises:
        Refusal: with status 400, where the model makes no embeddings, or none so wide.
    """
    found = answer.found
    if not isinstance(found, Vectors):
        raise _no_embeddings(request, task_of(found))
    # It is looked at again: no replica may have told its width when the request came.
    allow(request, EMBEDS, found.width)
    # Bytes are written as base64 by the encoder.
    plain = request.encoding_format == "float"
    data = [
        {"object": "embedding", "index": number, "embedding": numbers(row) if plain else row}
        for number, row in enumerate(rows(found))
    ]
    usage = {"prompt_tokens": answer.tokens, "total_tokens": answer.tokens}
    return {"object": "list", "data": data, "model": request.model, "usage": usage}


def model(name: str) -> dict[str, Any]:
    """Describe a model; the shape has a moment of making, which gateways do not know."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "slipway"}


def no_model(name: str) -> Refusal:
    """Say that there is no such model."""
    return Wrong(
        f"There is no model {name[:80]!r}.", "see GET /v1/models", param="model", status=404
    )


def endpoint_of(table: Table, name: str) -> Endpoint:
    """Find an endpoint.

    Raises:
        Refusal: with status 404.
    """
    if found := table.endpoints.get(name):
        return found
    raise no_model(name)


def error_response(error: Refusal) -> Response:
    """Answer with why there is no answer."""
    plain = {"message": str(error), "type": _INVALID, "param": None, "code": None}
    if isinstance(error, Wrong):
        plain |= {"param": error.param, "code": error.code}
    elif error.status in _CODES:
        plain["code"] = _CODES[error.status]
    elif error.status == 429:
        plain |= {"type": "rate_limit_error", "code": "rate_limit_exceeded"}
    elif error.status >= 500:
        plain["type"] = "server_error"
    return Response(
        body=encode({"error": plain}), status=error.status, headers=exchange.beside(error)
    )
