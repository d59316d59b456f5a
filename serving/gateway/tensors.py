"""The binary tensor extension: texts and numbers beside the JSON instead of in it. Pure.

Source: Triton's extension of the Open Inference Protocol (extension_binary_data.md). First comes
JSON, as long as `Inference-Header-Content-Length` says; then each tensor's bytes, in order, as long
as its parameter `binary_data_size` says. BYTES are elements of four bytes of length, little-endian,
and as many bytes.
"""

import struct
from collections.abc import Sequence

from serving.gateway.dispatch import Refusal
from serving.gateway.outputs import Output

_LENGTH = struct.Struct("<I")

LAYOUT = "each element is 4 bytes of length, little-endian, and that many bytes of UTF-8"


def split(body: bytes, length: int | None) -> tuple[bytes, bytes]:
    """Part a body into its JSON and the tensors' bytes.

    Args:
        body: as it came, inflated.
        length: bytes of JSON by the header; None where all of it is.

    Raises:
        Refusal: with status 400, where the header promises more than there is.
    """
    if length is None:
        return body, b""
    if length > len(body):
        said = f"Inference-Header-Content-Length is {length}, of {len(body)} bytes that came."
        raise Refusal(400, said)
    return body[:length], body[length:]


def texts_in(raw: bytes, most: int) -> list[str]:
    """Read a BYTES tensor of UTF-8 texts.

    Nothing is taken on trust: no more than `most` texts are made, and none longer than what came.

    Raises:
        Refusal: with status 400, saying which element is wrong.
    """
    texts: list[str] = []
    at = 0
    while at < len(raw):
        if len(texts) == most:
            raise Refusal(400, f"More than {most} texts in one request.")
        text = _element(raw, at, len(texts))
        texts.append(decoded(text, len(texts)))
        at += _LENGTH.size + len(text)
    return texts


def _element(raw: bytes, at: int, number: int) -> bytes:
    start = at + _LENGTH.size
    if start > len(raw):
        raise Refusal(400, f"Element {number} ends within its length.", LAYOUT)
    (length,) = _LENGTH.unpack_from(raw, at)
    if length > len(raw) - start:
        said = f"Element {number} claims {length} bytes, of {len(raw) - start} that are left."
        raise Refusal(400, said, LAYOUT)
    return raw[start : start + length]


def decoded(text: bytes, number: int) -> str:
    """Read a text.

    Args:
        text: UTF-8.
        number: of the element, from 0.

    Raises:
        Refusal: with status 400, where it is not UTF-8.
    """
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise Refusal(400, f"Element {number} is not UTF-8: {error}.", LAYOUT) from error


WHOLE = {"INT32": "i", "INT64": "q"}
"""Types of whole numbers that are read, to what `struct` calls them."""


def whole_in(raw: bytes, datatype: str) -> Sequence[int]:
    """Read a tensor of whole numbers.

    Raises:
        Refusal: with status 400, where the bytes are no multiple of the type's size.
    """
    code = WHOLE[datatype]
    size = struct.calcsize(f"<{code}")
    if len(raw) % size:
        said = f"{len(raw)} bytes are no whole number of {datatype}."
        raise Refusal(400, said, f"each is {size} bytes, little-endian")
    return struct.unpack(f"<{len(raw) // size}{code}", raw)


def raw_of(output: Output) -> bytes:
    """Write an output's bytes."""
    if output.raw is not None:
        return output.raw
    return (from_texts if output.datatype == "BYTES" else from_numbers)(output.data)


def from_texts(texts: Sequence[str]) -> bytes:
    """Write a BYTES tensor."""
    coded = [text.encode() for text in texts]
    return b"".join(_LENGTH.pack(len(one)) + one for one in coded)


def from_numbers(numbers: Sequence[float]) -> bytes:
    """Write an FP32 tensor."""
    return struct.pack(f"<{len(numbers)}f", *numbers)
