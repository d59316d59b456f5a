"""The chain of a gateway's journal: each line is bound to all that came before it. Pure.

Every line of a segment is a link: calls, and beside them its header, windows and what could not be
recorded. A call's line is laid as `lines` says; of any other line the body is all of it but its
last field, `chain`. A line has exactly one form, so that no byte of it can change unseen.
"""

import re
from dataclasses import dataclass
from hashlib import sha256

EPOCH = bytes(32)
"""The chain before the first line, raw."""

CALL = b'{"call":'
WINDOW = b'{"window":'
HEADER = b'{"segment":'
REFUSED = b'{"refused":'

_CALL = re.compile(
    rb'\{"call":(\{.*\}),"chain":"([0-9a-f]{64})","sealed":"([A-Za-z0-9+/=-]*)"\}', re.DOTALL
)
_OTHER = re.compile(rb'(\{"(?:window|segment|refused)":.*),"chain":"([0-9a-f]{64})"\}', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A line taken apart."""

    body: bytes
    """What the chain covers."""

    chain: bytes
    """What the line says that its chain is, raw."""

    sealed: bytes | None = None
    """Of a call; empty where nothing was kept. None of any other line."""


def linked(before: bytes, body: bytes) -> bytes:
    """Give the chain of a line, raw, by that of its predecessor."""
    return sha256(before + body).digest()


def call_line(body: bytes, chain: bytes, sealed: bytes) -> bytes:
    """Lay a call's line, its end included."""
    return b'{"call":%b,"chain":"%b","sealed":"%b"}\n' % (body, chain.hex().encode(), sealed)


def other_line(body: bytes, chain: bytes) -> bytes:
    """Lay any other line, its end included; the body is a JSON object."""
    return b'%b,"chain":"%b"}\n' % (body[:-1], chain.hex().encode())


def taken_apart(line: bytes) -> Link | None:
    """Take a line apart, without its end; None where it has not the form of one."""
    if found := _CALL.fullmatch(line):
        body, chain, sealed = found.groups()
        return Link(body=body, chain=bytes.fromhex(chain.decode()), sealed=sealed)
    if found := _OTHER.fullmatch(line):
        body, chain = found.groups()
        return Link(body=body + b"}", chain=bytes.fromhex(chain.decode()))
    return None
