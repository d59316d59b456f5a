"""How HTTP is served: connections that end when a client keeps them waiting or piles things up.

The body's own time and size are in `bodies`; here is the rest, which uvicorn leaves open: heads
that never end or come byte by byte, trailers, requests sent ahead, connections on which nothing
comes, and clients that do not read what they asked for.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.gateway.bodies import BODY_SECONDS

DRAIN_SECONDS = 10
"""How long what is under way may take once the process shall end."""

GRACE_SECONDS = 0.3
"""From the end of listening until idle connections are closed: some were made a moment ago."""

HEAD_SECONDS = 10.0
"""From a request's first byte to the end of its headers."""

IDLE_SECONDS = 75
"""Without a request, at first or between two."""

READ_SECONDS = 60.0
"""How long a client may leave an answer unread."""

MOST_HEAD = 64 * 2**10
"""Bytes of a request that are no body: its line and headers, what is between chunks, trailers."""

MOST_AHEAD = 64
"""Requests that may be sent before the first of them is answered."""

IDLE, HEAD, BODY = range(3)


class Joined:
    """A transport that sends an answer's head together with what follows it.

    uvicorn writes them apart, and each writing is a call of the system, which costs as much as all
    the rest of sending, and another waking of the client. What nothing follows leaves by itself
    before the loop waits again.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        """Whatever else is asked of a transport."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send, or hold until more comes or nothing does."""
        if self._transport.is_closing():
            self._held = b""
        elif self._held:
            held, self._held = self._held, b""
            self._transport.writelines((held, data))
        else:
            self._held = data
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def get_write_buffer_size(self) -> int:
        """Bytes that are not sent yet."""
        return len(self._held) + self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Send what is held, and end."""
        self._flush()
        self._transport.close()


class Connection(HttpToolsProtocol):
    """A connection that knows how long its client has kept it waiting.

    Requests pay for three stores and a look at the clock; `overdue` is asked once a second.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._phase = IDLE
        self._since = self._read_at = self.loop.time()
        self._beside = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        # Casts, because uvloop's transports are not subclasses of asyncio's, nor is ours.
        joined = Joined(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(cast("asyncio.Transport", joined))

    def data_received(self, data: bytes) -> None:
        """Parse, and end what is too large outside of bodies."""
        self._beside += len(data)
        super().data_received(data)
        if self._beside > MOST_HEAD:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Note when."""
        super().on_message_begin()
        self._phase, self._since = HEAD, self.loop.time()

    def on_headers_complete(self) -> None:
        """Begin to answer, unless too much waits to be answered already."""
        self._phase, self._beside = BODY, 0
        if len(self.pipeline) >= MOST_AHEAD:
            self.transport.abort()
            said = "too many requests were sent ahead"
            raise RuntimeError(said)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._beside = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note when."""
        super().on_message_complete()
        self._phase, self._beside, self._since = IDLE, 0, self.loop.time()

    def overdue(self, now: float) -> bool:
        """Say whether the client has had its time.

        Args:
            now: on the loop's clock.
        """
        waited = now - self._since
        if not self.transport.get_write_buffer_size():
            self._read_at = now
        elif min(waited, now - self._read_at) > READ_SECONDS:
            return True
        if self._phase == HEAD:
            return waited > HEAD_SECONDS
        cycle = cast("RequestResponseCycle | None", self.cycle)
        answered = cycle is None or cycle.response_complete
        if self._phase == BODY:
            # Nobody reads the rest of a body that was refused; while somebody does, `bodies` sees.
            return answered and waited > BODY_SECONDS
        return answered and self.timeout_keep_alive_task is None and waited > IDLE_SECONDS

    def end(self) -> None:
        """End the connection, whatever has not been sent or read."""
        self.transport.abort()


def sweep(connections: Iterable[Connection], now: float) -> None:
    """End the connections whose clients have had their time."""
    for one in [one for one in connections if one.overdue(now)]:
        one.end()


def configured(app: Any) -> uvicorn.Config:
    """Say how an application is served.

    Args:
        app: raw ASGI.
    """
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        access_log=False,
        proxy_headers=False,
        # A line for each thing that is no HTTP would let anybody fill the disk.
        log_level="error",
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=2048,
    )


class Server(uvicorn.Server):
    """Serves HTTP until SIGTERM, and drains together with what else serves in this process."""

    drain_too: Callable[[float], Awaitable[None]] | None = None
    """Called with seconds of grace."""

    async def on_tick(self, counter: int) -> bool:
        """Look at connections once a second; uvicorn ticks ten times as often."""
        if counter % 10 == 0:
            here = cast("set[Connection]", self.server_state.connections)
            sweep(here, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, let those just made ask what they came for, and drain."""
        for listening in self.servers:
            listening.close()
        await asyncio.sleep(GRACE_SECONDS)
        other = self.drain_too(DRAIN_SECONDS) if self.drain_too else asyncio.sleep(0)
        await asyncio.gather(super().shutdown(sockets), other)
