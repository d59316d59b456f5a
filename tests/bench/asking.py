"""Keep-alive connections that ask over HTTP and cost little: what `load` has its loops of.

Requests are bytes made beforehand; of an answer only its status and its end are looked for.
"""

import asyncio
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import cast

OK = 200
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Who is asked, and what."""

    port: int
    """On this machine."""

    requests: Sequence[bytes]
    """Whole requests, headers included; asked in turn, again and again."""


@dataclass(slots=True, kw_only=True)
class Run:
    """What came of asking."""

    seconds: float = 0.0
    asked: int = 0
    """Requests that were due, or were answered within the window of a closed loop."""

    latencies: list[float] = field(default_factory=list)
    """Seconds of each that was answered with 200."""

    refused: list[float] = field(default_factory=list)
    """Seconds of each that was answered with anything else."""

    gave_up: bool = False
    """An open loop ended early, because too many were late already."""

    @property
    def rate(self) -> float:
        """Answers with 200 a second."""
        return len(self.latencies) / self.seconds

    def goodput(self, within: float) -> float:
        """Answers with 200 a second that came within so many seconds."""
        return sum(one <= within for one in self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """Give the latency that this share of what was asked kept; infinite where it had none."""
        place = math.ceil(share * self.asked) - 1
        found = sorted(self.latencies)
        return found[place] if place < len(found) else math.inf


def end_of(data: bytes | bytearray) -> tuple[int, int] | None:
    """Find the end of the answer at the start of some bytes.

    Returns:
        Its status and its length in bytes; None while it is not whole.
    """
    body = data.find(b"\r\n\r\n") + 4
    if body < 4:
        return None
    status = int(data[9:12])
    if found := _LENGTH.search(data, 0, body):
        end = body + int(found[1])
        return (status, end) if len(data) >= end else None
    if _CHUNKED.search(data, 0, body):
        if data.startswith(b"0\r\n\r\n", body):
            return status, body + 5
        last = data.find(b"\r\n0\r\n\r\n", body)
        return None if last < 0 else (status, last + 7)
    return status, body


class Link(asyncio.Protocol):
    """A connection that asks one thing at a time.

    Args:
        answered: called with the link and the status; 0 where the connection broke instead.
    """

    def __init__(self, answered: Callable[["Link", int], None]) -> None:
        self._answered = answered
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._waiting = False
        self.due = 0.0
        """When what it asks now was due, on the monotonic clock."""

    @property
    def open(self) -> bool:
        """Whether anything can be asked."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes, due: float) -> None:
        """Send a request; what was due at `due` is told when it is answered."""
        self.due, self._waiting = due, True
        if self._transport is None or self._transport.is_closing():
            self._told(0)
            return
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Tell a whole answer."""
        self._buffer += data
        if found := end_of(self._buffer):
            status, end = found
            del self._buffer[:end]
            self._told(status)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell what will never be answered."""
        self._transport = None
        self._told(0)

    def _told(self, status: int) -> None:
        if self._waiting:
            self._waiting = False
            self._answered(self, status)

    def close(self) -> None:
        """End the connection; nothing is told any more."""
        self._waiting = False
        if self._transport is not None:
            self._transport.abort()


class Links:
    """Connections to one target, and what came of asking over them.

    Args:
        target: who is asked.
        asked: how many requests there are, where that is known beforehand.
    """

    def __init__(self, target: Target, asked: int = 0) -> None:
        self._target = target
        self._requests = cycle(target.requests)
        self._links: set[Link] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self.run = Run(asked=asked)
        self.done = asyncio.Event()

    @property
    def count(self) -> int:
        """Connections, those that are being made among them."""
        return len(self._links) + len(self._opening)

    async def open(self) -> None:
        """Make a connection, and ask over it.

        Raises:
            OSError: nobody listens.
        """
        loop = asyncio.get_running_loop()
        made = loop.create_connection(lambda: Link(self._told), "127.0.0.1", self._target.port)
        _, link = await made
        self._links.add(link)
        self.opened(link)

    def open_soon(self) -> None:
        """Make a connection while others go on."""
        opening = asyncio.ensure_future(self.open())
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    def ask(self, link: Link, due: float) -> None:
        """Ask what comes next."""
        link.ask(next(self._requests), due)

    def _told(self, link: Link, status: int) -> None:
        if not link.open:
            self._links.discard(link)
        self.answered(link, status)

    def opened(self, link: Link) -> None:
        """Use a new connection."""
        raise NotImplementedError

    def answered(self, link: Link, status: int) -> None:
        """Note an answer, and go on."""
        raise NotImplementedError

    def note(self, status: int, seconds: float) -> None:
        """Keep how long an answer took."""
        (self.run.latencies if status == OK else self.run.refused).append(seconds)

    def close(self) -> None:
        """End every connection."""
        for opening in self._opening:
            opening.cancel()
        for link in self._links:
            link.close()
