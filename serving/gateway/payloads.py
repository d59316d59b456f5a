"""What is kept of a call's input and output: hashes, both redacted, or both as they were."""

import os
from hashlib import sha256
from typing import Any

import msgspec

from infra.calls.lines import Payload
from release.callers import Capture
from serving.gateway.calling import Call
from serving.gateway.predict import found_rows
from serving.replica.messages import Answer, Vectors

NOTHING = msgspec.Raw(b"null")

_encode = msgspec.json.Encoder().encode


def capture_of(wanted: Capture, call: Call, answer: Answer | None) -> Capture:
    """Give how a payload can be kept: what token ids or embeddings tell no recogniser can find."""
    if wanted is Capture.REDACTED and (call.ids or _is_vectors(answer)):
        return Capture.HASH
    return wanted


def payload_of(capture: Capture, call: Call, answer: Answer | None, texts: list[str]) -> Payload:
    """Give what is sealed of a call.

    Args:
        capture: how, not `none`.
        call: what was asked.
        answer: what was found; None where nothing was.
        texts: that were asked; redacted, where that is how.
    """
    salt = os.urandom(16).hex()
    if capture is Capture.REDACTED:
        return Payload(input=texts, output=_output(answer, []), salt=salt)
    output = _output(answer, texts)
    if capture is Capture.FULL:
        return Payload(input=texts or call.ids, output=output, salt=salt)
    hashes = [_hashed(salt, one.encode()) for one in texts]
    hashes += [_hashed(salt, _encode(one)) for one in call.ids]
    hashed = msgspec.Raw(_encode(_hashed(salt, bytes(output))))
    return Payload(input=hashes, output=hashed, salt=salt)


def _is_vectors(answer: Answer | None) -> bool:
    return answer is not None and isinstance(answer.found, Vectors)


def _output(answer: Answer | None, texts: list[str]) -> msgspec.Raw:
    if answer is None:
        return NOTHING
    rows: Any = found_rows(answer.found, texts, [])
    return msgspec.Raw(_encode(rows))


def _hashed(salt: str, content: bytes) -> str:
    """Whoever has the content and the salt can prove that it was this."""
    return sha256(salt.encode() + content).hexdigest()
