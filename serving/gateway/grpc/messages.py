"""The protocol's gRPC messages: what a request asks for, what an answer says. No sockets."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from release.variants import Variant
from serving.gateway import tensors
from serving.gateway.dispatch import Refusal
from serving.gateway.exchange import encode
from serving.gateway.grpc import inference_pb2 as pb
from serving.gateway.inputs import IDS, MOST_TEXTS, Items, shaped_ids, shaped_texts
from serving.gateway.outputs import Output
from serving.gateway.v2 import SHARED_MEMORY, ids_among

M = TypeVar("M", bound=Message)
Input = pb.ModelInferRequest.InferInputTensor

_CONTENTS = {"INT32": "int_contents", "INT64": "int64_contents"}


def parsed(kind: type[M], body: bytes) -> M:
    """Read a message.

    Raises:
        Refusal: with status 400, where the bytes are none.
    """
    try:
        found: M = kind.FromString(body)
    except DecodeError as error:
        name = kind.DESCRIPTOR.name
        raise Refusal(400, f"The message is no {name}: {str(error)[:200]}.") from error
    return found


def items_of(request: pb.ModelInferRequest) -> Items:
    """Take what is asked about out of a request.

    Raises:
        Refusal: with status 400, naming value and limit.
    """
    inputs, raw = request.inputs, request.raw_input_contents
    if raw and len(raw) != len(inputs):
        said = f"There are {len(raw)} raw_input_contents, of {len(inputs)} inputs."
        raise Refusal(400, said, "send one for each input, or none")
    for tensor in inputs:
        _no_shared_memory(tensor)
    if len(inputs) == 1 and inputs[0].datatype == "BYTES":
        data = _texts(inputs[0], raw[0] if raw else None)
        return Items(texts=shaped_texts(data, inputs[0].shape))
    ids, mask = ids_among(inputs)
    given = {
        one.name: _whole(one, raw[number] if raw else None) for number, one in enumerate(inputs)
    }
    return Items(ids=shaped_ids(given[IDS], ids.shape, given[mask.name] if mask else None))


def _no_shared_memory(tensor: Input) -> None:
    if SHARED_MEMORY in tensor.parameters:
        raise Refusal(400, f"{tensor.name[:80]!r} lies in shared memory, which is not served.")


def _texts(tensor: Input, raw: bytes | None) -> list[str]:
    if raw is not None:
        _not_both(tensor)
        return tensors.texts_in(raw, MOST_TEXTS)
    given = tensor.contents.bytes_contents
    if len(given) > MOST_TEXTS:
        raise Refusal(400, f"{len(given)} texts in one request, of {MOST_TEXTS} at most.")
    return [tensors.decoded(one, number) for number, one in enumerate(given)]


def _whole(tensor: Input, raw: bytes | None) -> Sequence[int]:
    if raw is not None:
        _not_both(tensor)
        return tensors.whole_in(raw, tensor.datatype)
    found: Sequence[int] = getattr(tensor.contents, _CONTENTS[tensor.datatype])
    return found


def _not_both(tensor: Input) -> None:
    if tensor.HasField("contents"):
        said = f"Input {tensor.name[:80]!r} has contents, and raw_input_contents too."
        raise Refusal(400, said, "send one of them")


def response(
    request: pb.ModelInferRequest, arm: Variant, found: Sequence[Output]
) -> pb.ModelInferResponse:
    """Write the answer: raw where the question was, in contents else.

    Args:
        request: what was asked.
        arm: who answered.
        found: what it answered.
    """
    answer = pb.ModelInferResponse(
        model_name=arm.model, model_version=str(arm.version), id=request.id
    )
    for one in found:
        output = answer.outputs.add(name=one.name, datatype=one.datatype, shape=one.shape)
        if request.raw_input_contents:
            answer.raw_output_contents.append(tensors.raw_of(one))
        elif one.datatype == "BYTES":
            output.contents.bytes_contents.extend(text.encode() for text in one.data)
        else:
            output.contents.fp32_contents.extend(one.data)
    return answer


def model_metadata(found: Mapping[str, Any]) -> pb.ModelMetadataResponse:
    """Write a model's description, which is that of `describing`."""
    said = found["parameters"]
    return pb.ModelMetadataResponse(
        name=found["name"],
        versions=found["versions"],
        platform=found["platform"],
        inputs=[pb.ModelMetadataResponse.TensorMetadata(**one) for one in found["inputs"]],
        outputs=[pb.ModelMetadataResponse.TensorMetadata(**one) for one in found["outputs"]],
        properties={
            "task": said["task"],
            "labels": encode(said["labels"]).decode(),
            "longest_input": str(said["longest_input"]),
        },
    )
