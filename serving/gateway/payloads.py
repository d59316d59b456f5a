"""What is kept of a call's input and output: hashes, both redacted, or both as they were."""

import os
from hashlib import sha256
from typing import Any

import msgspec

from infra.calls.lines import Payload
from release.callers import Capture
from release.redaction import redacted
from serving.gateway.calling import Call
from serving.gateway.predict import found_rows
from serving.replica.messages import Answer, Vectors

NOTHING = msgspec.Raw(b"null")

_encode = msgspec.json.Encoder().encode


def payload_of(capture: Capture, call: Call, answer: Answer | None) -> tuple[Capture, Payload]:
    """Give what is sealed of a call, and which capture that is.

    Args:
        capture: what is wanted, not `none`.
        call: what was asked.
        answer: what was found; None where nothing was.
    """
    salt = os.urandom(16).hex()
    if capture is Capture.REDACTED and (call.ids or _is_vectors(answer)):
        # What token ids or embeddings tell of a person no recogniser can find.
        capture = Capture.HASH
    if capture is Capture.REDACTED:
        texts = [redacted(one) for one in call.texts]
        return capture, Payload(input=texts, output=_output(answer, []), salt=salt)
    output = _output(answer, call.texts)
    if capture is Capture.FULL:
        return capture, Payload(input=call.texts or call.ids, output=output, salt=salt)
    hashes = [_hashed(salt, one.encode()) for one in call.texts]
    hashes += [_hashed(salt, _encode(one)) for one in call.ids]
    hashed = msgspec.Raw(_encode(_hashed(salt, bytes(output))))
    return Capture.HASH, Payload(input=hashes, output=hashed, salt=salt)


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
