"""Connections between gateways and replicas: multiplexed frames of `messages` over a socket."""

import asyncio
import time
from collections.abc import Callable
from typing import cast

import msgspec

from release.errors import SlipwayError, Unavailable
from serving.replica.address import Address
from serving.replica.messages import (
    LENGTH,
    LONGEST_FRAME,
    Answer,
    Ask,
    Cancel,
    Infer,
    Kind,
    Problem,
    Question,
    Reply,
    Status,
    TooLong,
    frame,
    read_reply,
)

MOST_PINGS = 4
"""Questions after its health that a replica may owe."""

MOST_LATE = 1_024
"""Answers to questions that were taken back which a replica may still send."""


class ReplicaProblem(SlipwayError):
    """A replica said why it does not answer."""

    def __init__(
        self, kind: Kind, message: str, wait_seconds: float = 0.0, *, predicted: bool = False
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.wait_seconds = wait_seconds
        self.predicted = predicted


class ReplicaGone(Unavailable):
    """The connection to a replica broke, or could not be made."""


class Frames(asyncio.Protocol):
    """Cut a stream into frames.

    Args:
        heard: called with each frame's body.
        lost: called once when the connection is gone.
    """

    def __init__(self, heard: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._heard = heard
        self._lost = lost
        self._buffer = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # A cast, because uvloop's transports are not subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand on every whole frame."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer, start)
            if length > LONGEST_FRAME:
                self.close()
                return
            end = start + LENGTH.size + length
            if len(self._buffer) < end:
                break
            self._heard(bytes(self._buffer[start + LENGTH.size : end]))
            start = end
        del self._buffer[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell it once."""
        self.transport = None
        self._lost()

    def send(self, message: Question | Reply) -> bool:
        """Send a message; False where nobody is there any more."""
        if self.transport is None or self.transport.is_closing():
            return False
        self.transport.write(frame(message))
        return True

    def close(self) -> None:
        """End the connection once everything is sent."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """End the connection, whatever is still to be sent."""
        if self.transport is not None:
            self.transport.abort()


class Connection:
    """A gateway's side: many requests under way at once on one socket."""

    def __init__(self) -> None:
        self._frames = Frames(self._heard, self._lost)
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._pings: set[int] = set()
        self._late = 0
        """Questions taken back, whose answers may be on their way all the same."""

        self._last = 0
        self._leaving = False
        self.closed = False
        self.spoilt = False
        """Whether it was ended for what the replica said."""

        self.why = "The replica is gone before it answered."
        """Why it ended, once it has."""

        self.heard_at = time.monotonic()
        """When the replica last said anything."""

        self.told: Status | None = None
        """The answer to the last ping."""

        self.gone = asyncio.Event()
        """Set once the connection is lost."""

    @classmethod
    async def connect(cls, address: str) -> "Connection":
        """Connect to a replica, at an address that `Address.parse` reads.

        Raises:
            ReplicaGone: nobody listens there.
        """
        made = cls()
        try:
            await Address.parse(address).connect(lambda: made._frames)
        except OSError as error:
            raise ReplicaGone(f"No replica listens at {address}: {error}.") from error
        return made

    @property
    def owes(self) -> bool:
        """Whether an answer is due, be it only to a ping."""
        return bool(self._waiting or self._pings)

    async def infer(
        self, texts: list[str], budget_ms: float, ids: list[list[int]] | None = None
    ) -> Answer:
        """Ask the model about texts, or about token ids.

        Raises:
            ReplicaProblem: the replica says why not.
            ReplicaGone: the connection broke before an answer, or what came was none.
        """
        reply = await self._ask(
            lambda id_: Infer(id=id_, texts=texts, budget_ms=budget_ms, ids=ids or [])
        )
        if isinstance(reply, Answer):
            return reply
        raise self._wrong(reply)

    async def status(self) -> Status:
        """Ask a replica how it is.

        Raises:
            ReplicaGone: the connection broke before an answer, or what came was none.
        """
        reply = await self._ask(lambda id_: Ask(id=id_))
        if isinstance(reply, Status):
            return reply
        raise self._wrong(reply)

    def ping(self) -> None:
        """Ask a replica how it is, and do not wait; `told` and `heard_at` tell."""
        if len(self._pings) < MOST_PINGS:
            self._last += 1
            self._pings.add(self._last)
            self._frames.send(Ask(id=self._last))

    async def _ask(self, make: Callable[[int], Question]) -> Reply:
        self._last += 1
        number = self._last
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            if self.closed or not self._frames.send(make(number)):
                raise ReplicaGone("The connection to the replica is gone.")
            reply = await waiting
        except TooLong as error:
            raise ReplicaProblem(Kind.TOO_LONG, str(error)) from error
        except asyncio.CancelledError:
            self._take_back(number)
            raise
        finally:
            self._waiting.pop(number, None)
            if self._leaving and not self._waiting:
                self.close()
        if isinstance(reply, Problem):
            raise ReplicaProblem(
                reply.kind, reply.message, reply.wait_seconds, predicted=reply.predicted
            )
        return reply

    def _take_back(self, number: int) -> None:
        self._late = min(self._late + 1, MOST_LATE)
        self._frames.send(Cancel(id=number))

    def _heard(self, body: bytes) -> None:
        if self.closed:
            return
        try:
            reply = read_reply(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.spoil("it sent what is no message")
            return
        self.heard_at = time.monotonic()
        waiting = self._waiting.get(reply.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)
        elif waiting is not None and waiting.cancelled():
            return  # it is being taken back at this very moment
        elif reply.id in self._pings and isinstance(reply, Status):
            self._pings.discard(reply.id)
            self.told = reply
        elif self._late and 0 < reply.id <= self._last:
            self._late -= 1
        else:
            self.spoil(f"it answered the question {reply.id}, which nobody has open")

    def _wrong(self, reply: Reply) -> ReplicaGone:
        self.spoil(f"it answered a question with {type(reply).__name__}")
        return ReplicaGone(f"The replica was left: {self.why}.")

    def _lost(self) -> None:
        self.closed = True
        self.gone.set()
        self._fail(self.why)

    def _fail(self, why: str) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ReplicaGone(why))

    def give_up(self, why: str) -> None:
        """Take every open request back: whoever waits learns that it is to be asked elsewhere."""
        for number, waiting in self._waiting.items():
            if not waiting.done():
                waiting.set_exception(ReplicaGone(why))
                self._take_back(number)

    def spoil(self, why: str) -> None:
        """End the connection for what the replica said."""
        if not self.closed:
            self.spoilt, self.why = True, why
            self.close()

    def close_when_idle(self) -> None:
        """End the connection as soon as everything under way is answered."""
        self._leaving = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """End the connection; whatever waits for an answer learns that it is gone.

        At once: a replica that hangs would never take what is still to be sent.
        """
        self.closed = True
        self._frames.abort()
        self._fail(f"The replica was left: {self.why}" if self.spoilt else self.why)
