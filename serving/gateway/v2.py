"""The Open Inference Protocol, V2 REST: bodies in, bodies out. No sockets.

Source: the protocol's REST specification (kserve/open-inference-protocol), with `{"error": …}` and
an HTTP status that is not 200 for every error.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from release.variants import Variant
from serving.gateway.dispatch import Refusal
from serving.replica.wire import Answer

MOST_TEXTS = 64
"""Texts in one request."""

MOST_CHARACTERS = 100_000
"""Characters in one text; no tokenizer is asked to look at more."""

LABEL, SCORE, PROBABILITIES = "label", "score", "probabilities"
OUTPUTS = (LABEL, SCORE, PROBABILITIES)


class Tensor(msgspec.Struct):
    """An input tensor."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class Wanted(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct):
    """An inference request."""

    inputs: list[Tensor]
    id: str | None = None
    outputs: list[Wanted] | None = None
    parameters: dict[str, Any] = {}


_requests = msgspec.json.Decoder(InferRequest)
encode = msgspec.json.Encoder().encode


def read(body: bytes) -> InferRequest:
    """Read a request.

    Raises:
        Refusal: with status 400, saying what is wrong.
    """
    try:
        return _requests.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = '{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["…"]}]}'
        raise Refusal(400, f"The body is not a V2 request: {error}.", f"such as {hint}") from error


def texts_of(request: InferRequest) -> list[str]:
    """Take the texts out of a request's one input.

    Raises:
        Refusal: with status 400, naming value and limit.
    """
    if len(request.inputs) != 1:
        raise Refusal(400, f"There must be one input, not {len(request.inputs)}.")
    tensor = request.inputs[0]
    if tensor.datatype != "BYTES":
        raise Refusal(
            400, f"Input {tensor.name[:80]!r} must be BYTES, not {tensor.datatype[:20]!r}."
        )
    texts = _flat(tensor.data or [])
    shape = tensor.shape
    fits = shape in ([len(texts)], [len(texts), 1])
    if not fits or not texts:
        raise Refusal(
            400,
            f"Shape {shape[:8]} does not fit {len(texts)} texts.",
            f"it must be [n] or [n, 1], n within 1..{MOST_TEXTS}",
        )
    if len(texts) > MOST_TEXTS:
        raise Refusal(400, f"{len(texts)} texts in one request, of {MOST_TEXTS} at most.")
    for text in texts:
        _check(text)
    return texts


def _flat(data: list[Any]) -> list[Any]:
    return [one[0] if isinstance(one, list) and len(one) == 1 else one for one in data]


def _check(text: object) -> None:
    if not isinstance(text, str):
        raise Refusal(400, f"Each text must be a string, not {type(text).__name__}.")
    if len(text) > MOST_CHARACTERS:
        raise Refusal(400, f"A text has {len(text)} characters, of {MOST_CHARACTERS} at most.")
    if not text.strip():
        raise Refusal(400, "A text is empty.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refusal(400, f"A text is not Unicode: {error}.") from error


def wanted(request: InferRequest) -> tuple[str, ...]:
    """Name the outputs that are asked for.

    Raises:
        Refusal: with status 400, for an unknown one.
    """
    if not request.outputs:
        return (LABEL, SCORE)
    names = tuple(dict.fromkeys(one.name for one in request.outputs))
    for name in names:
        if name not in OUTPUTS:
            raise Refusal(
                400, f"There is no output {name[:80]!r}.", f"there is {', '.join(OUTPUTS)}"
            )
    return names


def response(request: InferRequest, names: tuple[str, ...], arm: Variant, answer: Answer) -> bytes:
    """Write the answer."""
    count = len(answer.labels)
    tensors = {
        LABEL: ("BYTES", [count], answer.labels),
        SCORE: ("FP32", [count], [max(row) for row in answer.scores]),
        PROBABILITIES: (
            "FP32",
            [count, len(answer.scores[0])],
            [one for row in answer.scores for one in row],
        ),
    }
    outputs = [
        {
            "name": name,
            "datatype": tensors[name][0],
            "shape": tensors[name][1],
            "data": tensors[name][2],
        }
        for name in names
    ]
    body = {"model_name": arm.model, "model_version": str(arm.version), "outputs": outputs}
    return encode({**body, "id": request.id} if request.id is not None else body)


def server_metadata(version: str) -> Mapping[str, Any]:
    """Describe the server."""
    return {"name": "slipway", "version": version, "extensions": []}


def model_metadata(arm: Variant, versions: list[int], labels: list[str], longest: int) -> Any:
    """Describe a model."""
    return {
        "name": arm.model,
        "versions": [str(version) for version in versions],
        "platform": arm.recipe,
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": LABEL, "datatype": "BYTES", "shape": [-1]},
            {"name": SCORE, "datatype": "FP32", "shape": [-1]},
            {"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, len(labels)]},
        ],
        "parameters": {"labels": labels, "longest_input": longest},
    }
