"""What gateways and replicas say to each other: MessagePack bodies of tagged structs, in frames.

A frame is four bytes of length, little-endian, and the body. Nothing here opens a socket.
"""

import struct
from enum import StrEnum

import msgspec

LONGEST_FRAME = 16 * 2**20
"""Bytes; a longer frame ends the connection."""

LENGTH = struct.Struct("<I")
"""How a frame begins."""


class TooLong(ValueError):
    """A message that whoever hears it would hang up at."""

    def __init__(self, what: str, size: int) -> None:
        super().__init__(
            f"The {what} has {size} bytes, of {LONGEST_FRAME} at most; ask for less at once."
        )


class Kind(StrEnum):
    """Why a request was not answered."""

    TOO_LONG = "too_long"
    INVALID = "invalid"
    OVERLOADED = "overloaded"
    EXPIRED = "expired"
    NOT_READY = "not_ready"
    INTERNAL = "internal"


CLIENTS_FAULT = frozenset({Kind.TOO_LONG, Kind.INVALID})


class Infer(msgspec.Struct, tag="infer", frozen=True):
    """Ask the model about texts, or about token ids: one of the two is empty."""

    id: int
    texts: list[str]
    budget_ms: float
    """Time left to the deadline."""

    ids: list[list[int]] = []
    """Token ids, special ones included, of each item."""


class Cancel(msgspec.Struct, tag="cancel", frozen=True):
    """Nobody waits for this any more."""

    id: int


class Ask(msgspec.Struct, tag="ask", frozen=True):
    """How are you?"""

    id: int


class Classes(msgspec.Struct, tag="classes", frozen=True):
    """A label for each item, and the probabilities of all labels."""

    labels: list[str]
    scores: list[list[float]]
    """Of each item, in the order of the replica's labels."""


class Entity(msgspec.Struct, frozen=True):
    """A stretch of a text that the model names."""

    start: int
    """Character at which it begins; of token ids the token."""

    end: int
    """Character behind it."""

    label: str
    score: float
    """Mean probability of the label over its tokens, 0..1."""


class Entities(msgspec.Struct, tag="entities", frozen=True):
    """What is named in each item, in order."""

    found: list[list[Entity]]


class Vectors(msgspec.Struct, tag="vectors", frozen=True):
    """An embedding of each item."""

    width: int
    data: bytes
    """Items × width, fp32, little-endian."""


Found = Classes | Entities | Vectors
"""What a model says, by its task."""


class Answer(msgspec.Struct, tag="answer", frozen=True):
    """What the model found, and how long that took."""

    id: int
    found: Found
    tokens: int
    queue_ms: float
    tokenize_ms: float
    compute_ms: float


class Problem(msgspec.Struct, tag="problem", frozen=True):
    """Why there is no answer."""

    id: int
    kind: Kind
    message: str
    wait_seconds: float = 0.0
    """When it may go better, as far as is known; 0 where it is not."""

    predicted: bool = False
    """Whether there was room, and the answer would only have come too late by an estimate."""


class Load(msgspec.Struct, frozen=True):
    """What a replica has done since it began, and what it takes."""

    batches: int = 0
    texts: int = 0
    tokens: int = 0
    """Of the texts."""

    slots: int = 0
    """Tokens that were computed, padding included; `tokens` over this is the fill."""

    queued_texts: int = 0
    queued_tokens: int = 0
    """As far as they are tokenised yet; the others are estimated."""

    memory_bytes: int = 0
    cpu_seconds: float = 0.0


class Status(msgspec.Struct, tag="status", frozen=True):
    """What a replica says of itself."""

    id: int
    digest: str
    ready: bool
    pid: int
    task: str
    labels: list[str]
    """In the order of the scores; none where the task has none."""

    longest_input: int
    """Tokens."""

    width: int = 0
    """Numbers in an embedding; 0 where the task makes none."""

    load: Load = Load()


Question = Infer | Cancel | Ask
Reply = Answer | Problem | Status

_encoder = msgspec.msgpack.Encoder()
_questions: msgspec.msgpack.Decoder[Question] = msgspec.msgpack.Decoder(Question)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def frame(message: Question | Reply) -> bytes:
    """Encode one message.

    Raises:
        TooLong: it has more bytes than a frame may have.
    """
    body = _encoder.encode(message)
    if len(body) > LONGEST_FRAME:
        raise TooLong(type(message).__name__.lower(), len(body))
    return LENGTH.pack(len(body)) + body


def read_question(body: bytes) -> Question:
    """Decode what a gateway said.

    Raises:
        msgspec.DecodeError: it is not one of the questions.
    """
    return _questions.decode(body)


def read_reply(body: bytes) -> Reply:
    """Decode what a replica said.

    Raises:
        msgspec.DecodeError: it is not one of the replies; a `ValueError` too.
    """
    return _replies.decode(body)
