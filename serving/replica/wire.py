"""Connections between gateways and replicas: multiplexed frames of `messages` over a socket."""

import asyncio
from collections.abc import Callable
from typing import cast

import msgspec

from release.errors import SlipwayError, Unavailable
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
    frame,
    read_reply,
)


class ReplicaProblem(SlipwayError):
    """A replica said why it does not answer."""

    def __init__(self, kind: Kind, message: str, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.kind = kind
        self.wait_seconds = wait_seconds


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
        """End the connection."""
        if self.transport is not None:
            self.transport.close()


class Connection:
    """A gateway's side: many requests under way at once on one socket."""

    def __init__(self) -> None:
        self._frames = Frames(self._heard, self._lost)
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._last = 0
        self._leaving = False
        self.closed = False
        self.gone = asyncio.Event()
        """Set once the connection is lost."""

    @classmethod
    async def connect(cls, address: str) -> "Connection":
        """Connect to a Unix socket.

        Raises:
            ReplicaGone: nobody listens there.
        """
        made = cls()
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: made._frames, address)
        except OSError as error:
            raise ReplicaGone(f"No replica listens at {address}: {error}.") from error
        return made

    async def infer(
        self, texts: list[str], budget_ms: float, ids: list[list[int]] | None = None
    ) -> Answer:
        """Ask the model about texts, or about token ids.

        Raises:
            ReplicaProblem: the replica says why not.
            ReplicaGone: the connection broke before an answer.
        """
        reply = await self._ask(
            lambda id_: Infer(id=id_, texts=texts, budget_ms=budget_ms, ids=ids or [])
        )
        if isinstance(reply, Answer):
            return reply
        raise ReplicaProblem(Kind.INTERNAL, f"The replica answered with {reply!r}.")

    async def status(self) -> Status:
        """Ask a replica how it is.

        Raises:
            ReplicaGone: the connection broke before an answer.
        """
        reply = await self._ask(lambda id_: Ask(id=id_))
        if isinstance(reply, Status):
            return reply
        raise ReplicaProblem(Kind.INTERNAL, f"The replica answered with {reply!r}.")

    async def _ask(self, make: Callable[[int], Question]) -> Reply:
        self._last += 1
        number = self._last
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            if self.closed or not self._frames.send(make(number)):
                raise ReplicaGone("The connection to the replica is gone.")
            reply = await waiting
        except asyncio.CancelledError:
            self._frames.send(Cancel(id=number))
            raise
        finally:
            self._waiting.pop(number, None)
            if self._leaving and not self._waiting:
                self.close()
        if isinstance(reply, Problem):
            raise ReplicaProblem(reply.kind, reply.message, reply.wait_seconds)
        return reply

    def _heard(self, body: bytes) -> None:
        try:
            reply = read_reply(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.close()
            return
        waiting = self._waiting.get(reply.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    def _lost(self) -> None:
        self.closed = True
        self.gone.set()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ReplicaGone("The replica is gone before it answered."))

    def close_when_idle(self) -> None:
        """End the connection as soon as everything under way is answered."""
        self._leaving = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """End the connection; whatever waits for an answer learns that it is gone."""
        self.closed = True
        self._frames.close()
