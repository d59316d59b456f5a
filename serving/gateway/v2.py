"""The Open Inference Protocol, V2 REST: bodies in, bodies out. No sockets.

Source: the protocol's REST specification (kserve/open-inference-protocol), with `{"error": …}` and
an HTTP status that is not 200 for every error; of its extensions the binary tensors, in `tensors`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from release.variants import Variant
from serving.gateway import tensors
from serving.gateway.dispatch import Refusal
from serving.gateway.exchange import Response, encode
from serving.replica.messages import Answer, Classes

MOST_TEXTS = 64
"""Texts in one request."""

MOST_CHARACTERS = 100_000
"""Characters in one text; no tokenizer is asked to look at more."""

LABEL, SCORE, PROBABILITIES = "label", "score", "probabilities"
OUTPUTS = (LABEL, SCORE, PROBABILITIES)

JSON_LENGTH = b"inference-header-content-length"
SHARED_MEMORY = "shared_memory_region"


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


class IndexRequest(msgspec.Struct):
    """What a repository's index shall hold."""

    ready: bool = False
    """Only what is ready."""


_requests = msgspec.json.Decoder(InferRequest)
_indexes = msgspec.json.Decoder(IndexRequest)


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


def read_index(body: bytes) -> IndexRequest:
    """Read what an index is asked for; nothing at all asks for everything.

    Raises:
        Refusal: with status 400, saying what is wrong.
    """
    try:
        return _indexes.decode(body) if body.strip() else IndexRequest()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        said = f"The body does not ask for an index: {error}."
        raise Refusal(400, said, 'such as {"ready": true}') from error


def texts_of(request: InferRequest, raw: bytes = b"") -> list[str]:
    """Take the texts out of a request's one input.

    Args:
        request: the JSON.
        raw: what came after it, by the binary tensor extension.

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
    texts = _data(tensor, raw)
    shape = tensor.shape
    fits = shape in ([len(texts)], [len(texts), 1])
    if not fits or not texts:
        raise Refusal(
            400,
            f"Shape {shape[:8]} does not fit {len(texts)} texts.",
            f"it must be [n] or [n, 1], n within 1..{MOST_TEXTS}",
        )
    return checked(texts)


def _data(tensor: Tensor, raw: bytes) -> list[Any]:
    _no_shared_memory(tensor)
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        if raw:
            said = f"{len(raw)} bytes come after the JSON, and no input has binary_data_size."
            raise Refusal(400, said)
        return _flat(tensor.data or [])
    if tensor.data is not None:
        raise Refusal(400, "The input has both data and binary_data_size.", "send one of them")
    if size != len(raw):
        said = f"binary_data_size is {str(size)[:40]}, of {len(raw)} bytes after the JSON."
        raise Refusal(400, said, "Inference-Header-Content-Length says where the JSON ends")
    return tensors.texts_in(raw, MOST_TEXTS)


def _no_shared_memory(tensor: "Tensor | Wanted") -> None:
    if SHARED_MEMORY in tensor.parameters:
        raise Refusal(400, f"{tensor.name[:80]!r} lies in shared memory, which is not served.")


def checked(texts: list[Any]) -> list[str]:
    """Give the texts, if a model may be asked about each.

    Raises:
        Refusal: with status 400, naming value and limit.
    """
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


def wanted(request: InferRequest) -> dict[str, bool]:
    """Name the outputs that are asked for, and whether each shall be binary.

    Raises:
        Refusal: with status 400, for an unknown one.
    """
    binary = _flag(request.parameters, "binary_data_output", otherwise=False)
    if not request.outputs:
        return {LABEL: binary, SCORE: binary}
    for one in request.outputs:
        _no_shared_memory(one)
        if one.name not in OUTPUTS:
            raise Refusal(
                400, f"There is no output {one.name[:80]!r}.", f"there is {', '.join(OUTPUTS)}"
            )
    return {
        one.name: _flag(one.parameters, "binary_data", otherwise=binary) for one in request.outputs
    }


def _flag(parameters: Mapping[str, Any], name: str, *, otherwise: bool) -> bool:
    given = parameters.get(name, otherwise)
    if not isinstance(given, bool):
        raise Refusal(400, f"{name} must be true or false, not {str(given)[:40]!r}.")
    return given


def response(
    request: InferRequest, names: Mapping[str, bool], arm: Variant, answer: Answer
) -> Response:
    """Write the answer.

    Args:
        request: what was asked.
        names: each output to whether it shall be binary.
        arm: who answered.
        answer: what it answered.
    """
    outputs, raw = [], []
    for name, binary in names.items():
        datatype, shape, data = _output(name, answer)
        output = {"name": name, "datatype": datatype, "shape": shape}
        if binary:
            write: Any = tensors.from_texts if datatype == "BYTES" else tensors.from_numbers
            raw.append(write(data))
            outputs.append({**output, "parameters": {"binary_data_size": len(raw[-1])}})
        else:
            outputs.append({**output, "data": data})
    body = {"model_name": arm.model, "model_version": str(arm.version), "outputs": outputs}
    written = encode({**body, "id": request.id} if request.id is not None else body)
    if not raw:
        return Response(body=written)
    return Response(
        body=b"".join([written, *raw]),
        kind=b"application/octet-stream",
        headers=((JSON_LENGTH, str(len(written)).encode()),),
    )


def _output(name: str, answer: Answer) -> tuple[str, list[int], list[Any]]:
    found = classes(answer)
    count = len(found.labels)
    if name == LABEL:
        return "BYTES", [count], found.labels
    if name == SCORE:
        return "FP32", [count], [max(row) for row in found.scores]
    rows = found.scores
    return "FP32", [count, len(rows[0])], [one for row in rows for one in row]


def classes(answer: Answer) -> Classes:
    """Give what a classifier found.

    Raises:
        Refusal: with status 501, where the model is none.
    """
    if isinstance(answer.found, Classes):
        return answer.found
    raise Refusal(501, "This model does not classify texts.")


def server_metadata(version: str) -> Mapping[str, Any]:
    """Describe the server."""
    return {"name": "slipway", "version": version, "extensions": ["binary_tensor_data"]}


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
            {"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, len(labels) or -1]},
        ],
        "parameters": {"labels": labels, "longest_input": longest},
    }


def index_entry(name: str, arm: Variant, *, ready: bool) -> Mapping[str, str]:
    """Describe one version in a repository's index."""
    return {
        "name": name,
        "version": str(arm.version),
        "state": "READY" if ready else "UNAVAILABLE",
        "reason": "" if ready else "no replica of it is ready",
    }
