"""The Open Inference Protocol, V2 REST: bodies in, bodies out. No sockets.

Source: the protocol's REST specification (kserve/open-inference-protocol), with `{"error": …}` and
an HTTP status that is not 200 for every error; of its extensions the binary tensors, in `tensors`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from release.variants import Variant
from serving.gateway import tensors
from serving.gateway.dispatch import Refusal
from serving.gateway.exchange import Response, encode
from serving.gateway.inputs import (
    IDS,
    MASK,
    MOST_TEXTS,
    Items,
    decoded,
    shaped_ids,
    shaped_texts,
)
from serving.gateway.outputs import Output, allow

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
    hint = '{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["…"]}]}'
    return decoded(_requests, body, "The body is not a V2 request", f"such as {hint}")


def read_index(body: bytes) -> IndexRequest:
    """Read what an index is asked for; nothing at all asks for everything.

    Raises:
        Refusal: with status 400, saying what is wrong.
    """
    if not body.strip():
        return IndexRequest()
    return decoded(_indexes, body, "The body does not ask for an index", 'such as {"ready": true}')


def items_of(request: InferRequest, raw: bytes = b"") -> Items:
    """Take what is asked about out of a request's inputs.

    Args:
        request: the JSON.
        raw: what came after it, by the binary tensor extension.

    Raises:
        Refusal: with status 400, naming value and limit.
    """
    inputs = request.inputs
    for tensor in inputs:
        _no_shared_memory(tensor)
    first = inputs[0] if inputs else None
    if first is not None and len(inputs) == 1 and first.datatype == "BYTES":
        data = _data(first, _whole(first, raw))
        return Items(texts=shaped_texts(data, first.shape))
    ids, mask = ids_among(inputs)
    parts = _parts(inputs, raw)
    found = [_data(one, parts[one.name]) for one in (ids, mask) if one]
    return Items(ids=shaped_ids(found[0], ids.shape, found[1] if mask else None))


T = TypeVar("T", bound="Named")


class Named(Protocol):
    """What REST's and gRPC's tensors have in common."""

    @property
    def name(self) -> str:
        """As the client calls it."""

    @property
    def datatype(self) -> str:
        """Such as INT64."""

    @property
    def shape(self) -> Sequence[int]:
        """Of the tensor."""


def ids_among(inputs: Sequence[T]) -> tuple[T, T | None]:
    """Find token ids, and their mask where there is one, among inputs.

    Raises:
        Refusal: with status 400, where there is anything else.
    """
    named = {one.name: one for one in inputs}
    if IDS not in named or len(named) != len(inputs) or named.keys() - {IDS, MASK}:
        given = (
            ", ".join(f"{one.name[:40]!r} {one.datatype[:10]!r}" for one in inputs[:4]) or "none"
        )
        said = f"The inputs are {given}."
        raise Refusal(400, said, f"send one BYTES, or {IDS} with or without {MASK}, INT64 or INT32")
    for one in inputs:
        if one.datatype not in tensors.WHOLE:
            said = f"Input {one.name!r} must be INT64 or INT32, not {one.datatype[:20]!r}."
            raise Refusal(400, said)
    ids, mask = named[IDS], named.get(MASK)
    if mask is not None and list(mask.shape) != list(ids.shape):
        said = f"{MASK} has shape {list(mask.shape[:8])}, and {IDS} {list(ids.shape[:8])}."
        raise Refusal(400, said, "they must be the same")
    return ids, mask


def _parts(inputs: Sequence[Tensor], raw: bytes) -> dict[str, bytes | None]:
    """Part what came after the JSON among the inputs, in their order."""
    found: dict[str, bytes | None] = {}
    at = 0
    for tensor in inputs[:-1]:
        size = tensor.parameters.get("binary_data_size")
        found[tensor.name] = None
        if size is not None:
            if type(size) is not int or not 0 <= size <= len(raw) - at:
                said = f"binary_data_size is {_shown(size)}, of {len(raw) - at} bytes left."
                raise Refusal(400, said)
            found[tensor.name], at = raw[at : at + size], at + size
    found[inputs[-1].name] = _whole(inputs[-1], raw[at:])
    return found


def _shown(size: object) -> str:
    """Give a size as a sentence shows it: what is no number is the client's words, and quoted."""
    return str(size)[:40] if isinstance(size, int) else repr(str(size)[:40])


def _whole(tensor: Tensor, raw: bytes) -> bytes | None:
    """Give the bytes of the last input, which are all that are left; None where it has none."""
    size = tensor.parameters.get("binary_data_size")
    if size is None and raw:
        said = f"{len(raw)} bytes come after the JSON, and no input has binary_data_size."
        raise Refusal(400, said)
    if size is not None and size != len(raw):
        said = f"binary_data_size is {_shown(size)}, of {len(raw)} bytes after the JSON."
        raise Refusal(400, said, "Inference-Header-Content-Length says where the JSON ends")
    return None if size is None else raw


def _data(tensor: Tensor, raw: bytes | None) -> Sequence[Any]:
    if raw is None:
        return _flat(tensor.data or [])
    if tensor.data is not None:
        raise Refusal(400, "The input has both data and binary_data_size.", "send one of them")
    if tensor.datatype == "BYTES":
        return tensors.texts_in(raw, MOST_TEXTS)
    return tensors.whole_in(raw, tensor.datatype)


def _no_shared_memory(tensor: "Tensor | Wanted") -> None:
    if SHARED_MEMORY in tensor.parameters:
        raise Refusal(400, f"{tensor.name[:80]!r} lies in shared memory, which is not served.")


def _flat(data: list[Any]) -> list[Any]:
    if not data or not isinstance(data[0], list):
        return data
    return [one for row in data for one in (row if isinstance(row, list) else [row])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which outputs are asked for, and how they shall be written."""

    names: Mapping[str, bool]
    """Each to whether it shall be binary; empty leaves the choice to the task."""

    binary: bool
    """Whether one that is not named shall be binary."""


def wished(request: InferRequest, task: str) -> Wish:
    """Say which outputs are asked for.

    Args:
        request: the JSON.
        task: of the model; empty where it is not known yet.

    Raises:
        Refusal: with status 400, for an unknown one.
    """
    binary = _flag(request.parameters, "binary_data_output", otherwise=False)
    names = {}
    for one in request.outputs or ():
        _no_shared_memory(one)
        names[one.name] = _flag(one.parameters, "binary_data", otherwise=binary)
    if names:
        allow(names, task)
    return Wish(names=names, binary=binary)


def _flag(parameters: Mapping[str, Any], name: str, *, otherwise: bool) -> bool:
    given = parameters.get(name, otherwise)
    if not isinstance(given, bool):
        raise Refusal(400, f"{name} must be true or false, not {str(given)[:40]!r}.")
    return given


def response(request: InferRequest, wish: Wish, arm: Variant, found: Sequence[Output]) -> Response:
    """Write the answer.

    Args:
        request: what was asked.
        wish: how each output shall be written.
        arm: who answered.
        found: what it answered.
    """
    written, raw = [], []
    for one in found:
        output = {"name": one.name, "datatype": one.datatype, "shape": one.shape}
        if wish.names.get(one.name, wish.binary):
            raw.append(tensors.raw_of(one))
            written.append({**output, "parameters": {"binary_data_size": len(raw[-1])}})
        else:
            written.append({**output, "data": one.data})
    body = {"model_name": arm.model, "model_version": str(arm.version), "outputs": written}
    plain = encode({**body, "id": request.id} if request.id is not None else body)
    if not raw:
        return Response(body=plain)
    return Response(
        body=b"".join([plain, *raw]),
        kind=b"application/octet-stream",
        headers=((JSON_LENGTH, str(len(plain)).encode()),),
    )
