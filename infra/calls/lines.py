"""One line a call: what it says, and how it lies in a gateway's segment.

A segment is `<journals>/<gateway>/<number>.jsonl`. A call's line in it is

    {"call":{…},"chain":"<hex>","sealed":"<base64>"}

`call` is the canonical JSON (RFC 8785) of a `CallLine`: its fields are in the order of the alphabet
and its numbers are whole, so that what msgspec writes is canonical as it stands. `chain` is the
SHA-256 of the line's predecessor's chain, raw, followed by the canonical bytes. `sealed` is the
encrypted payload, empty where nothing was kept. The chain does not cover it but `commitment`, a
salted hash of it whose salt is sealed too. So a payload can be erased where it stands, by
overwriting `sealed` with as many dashes, and every later line still verifies; nor does anything
move.

Beside calls lie other lines, in the same chain: `{"segment":…}` heads each segment, `{"window":…}`
sums up what came since the window before, `{"refused":…}` counts calls that could have no line or,
with `unproven`, those of each endpoint that proved nobody.
"""

from collections.abc import Sequence

import msgspec


class Payload(msgspec.Struct, frozen=True):
    """What was asked and answered, as it is sealed."""

    input: Sequence[str | list[int]]
    """Texts, or token ids, as they were asked; redacted where the namespace says so."""

    output: msgspec.Raw
    """The answer, as JSON: what the model found, in the form of `POST /predict`."""

    salt: str
    """Of the commitment, in hex."""


class Share(msgspec.Struct, frozen=True):
    """What a call adds to the counts of one arm."""

    digest: str
    failures: int = 0
    requests: int = 0
    rescued: int = 0
    slow: int = 0


class CallLine(msgspec.Struct, frozen=True, kw_only=True):
    """One call. Times are whole microseconds; `at_us` is since the epoch."""

    arm: str
    """`champion`, `canary`, `pinned`, `shadow`, or empty where none was asked."""

    at_us: int
    """When it arrived."""

    caller: str = ""
    """Id of the key, or issuer and subject of the token; empty in the open mode."""

    capture: str = "none"
    """What was kept of its payload: `none`, `hash`, `redacted`, `full`."""

    commitment: str = ""
    """Salted SHA-256 of the payload, in hex; empty where the capture is `none`."""

    compute_us: int = 0
    counted: tuple[Share, ...] = ()
    digest: str = ""
    """Content digest of the variant that answered, or was asked last."""

    endpoint: str
    error: str = ""
    """Why it was not answered, or why the canary was not; without a client's words."""

    generation: int = 0
    id: str
    """Of the request."""

    items: int = 0
    key: str = ""
    """Name of the key that the payload is sealed with: `<namespace>/<day>`."""

    model: str = ""
    namespace: str = "default"
    outcome: str
    """`ok`, or the kind of the error."""

    protocol: str = ""
    """`predict`, `v2`, `grpc`, `openai`."""

    queue_us: int = 0
    rule: str = ""
    """By which rule the variant was chosen: `pinned`, `sole`, `split:user`, `split:call`,
    `split:header`, `hurried`, `lapsed`, `tripped`, `shadow`; empty where none was."""

    sequence: int
    """1, 2, 3, … within the gateway's journal, for ever."""

    shadow: bool = False
    """Whether it is a copy of a request, whose client the champion has answered."""

    status: int = 0
    """HTTP status, or its like."""

    tenant: str = ""
    tokenize_us: int = 0
    tokens: int = 0
    total_us: int = 0
    user: str = ""
    variant: str = ""
    """Recipe of the variant."""

    version: int = 0
    """Of the model that answered, or was asked last, as `outcome` says; 0 where none was asked, and
    in lines of before it was told of calls that failed."""


read_call = msgspec.json.Decoder(CallLine).decode
"""Reads the canonical JSON of a call."""


class Entry(msgspec.Struct, frozen=True):
    """A line of a segment as it lies there."""

    call: msgspec.Raw
    """Canonical JSON of a `CallLine`."""

    chain: str
    sealed: str = ""


def erased(sealed: str) -> bool:
    """Whether a payload was there once and is no more."""
    return bool(sealed) and not sealed.strip("-")
