"""Clients that are slow, silent or greedy, on real sockets."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from serving.gateway import bodies, connections
from serving.gateway.connections import MOST_HEAD, Joined, Server, configured
from tests.fakes.wire_replica import Stand, standing, variant

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LINE = b"POST /predict/tiny HTTP/1.1\r\nhost: gateway\r\n"
BODY = b'{"text": "has beta"}'
WHOLE = LINE + b"content-length: %d\r\n\r\n" % len(BODY) + BODY


def with_server(work: Callable[[Stand, Callable[[], Awaitable[Streams]]], Awaitable[Any]]) -> Any:
    """Serve version 1 on a real socket; the work is given a way to connect."""

    async def whole() -> Any:
        async with standing() as stand:
            await stand.serve(variant(1))
            listening = socket.socket()
            listening.bind(("127.0.0.1", 0))
            server = Server(configured(stand.app))
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            while not server.started:
                await asyncio.sleep(0.01)
            address = listening.getsockname()
            made: list[asyncio.StreamWriter] = []

            async def connect() -> Streams:
                streams = await asyncio.open_connection(*address)
                made.append(streams[1])
                return streams

            try:
                return await work(stand, connect)
            finally:
                for writer in made:
                    writer.transport.abort()
                server.should_exit = True
                await serving

    return asyncio.run(whole())


async def closed(reader: asyncio.StreamReader, within: float = 8.0) -> float:
    """Wait until the other side is gone; give how many seconds that took."""
    began = time.monotonic()
    async with asyncio.timeout(within):
        try:
            while await reader.read(2**16):
                pass
        except ConnectionError:
            return time.monotonic() - began
    return time.monotonic() - began


async def answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(8):
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = [int(one.split()[1]) for one in head.splitlines() if b"content-length" in one]
        return head.split()[1] + b" " + await reader.readexactly(length)


@pytest.mark.parametrize(
    ("sent", "limit"),
    [
        (b"", "IDLE_SECONDS"),
        (b"\r\n", "IDLE_SECONDS"),
        (b"G", "HEAD_SECONDS"),
        (LINE, "HEAD_SECONDS"),
        (WHOLE + LINE, "HEAD_SECONDS"),
    ],
)
def test_who_sends_no_request_is_closed(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, limit: str
) -> None:
    monkeypatch.setattr(connections, limit, 0.5)

    async def work(_stand: Stand, connect: Any) -> None:
        reader, writer = await connect()
        writer.write(sent)
        assert await closed(reader) >= 0.4

    with_server(work)


def test_who_drips_the_rest_of_a_refused_body_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.5)

    async def work(_stand: Stand, connect: Any) -> None:
        reader, writer = await connect()
        writer.write(LINE + b"content-length: 9999999\r\n\r\nx")
        assert (await answer(reader)).startswith(b"413 ")
        assert await closed(reader) >= 0.2

    with_server(work)


def test_who_sends_a_slow_body_is_told_so_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.3)

    async def work(_stand: Stand, connect: Any) -> None:
        reader, writer = await connect()
        writer.write(LINE + b"content-length: 20\r\n\r\n{")
        assert (await answer(reader)).startswith(b"408 ")
        await closed(reader)

    with_server(work)


def test_who_does_not_read_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "READ_SECONDS", 0.5)

    async def work(stand: Stand, connect: Any) -> None:
        # Larger than the socket's own buffers take.
        stand.status = {"padding": "x" * 2**25}
        reader, writer = await connect()
        writer.transport.pause_reading()
        writer.write(b"GET /-/status HTTP/1.1\r\nhost: g\r\n\r\n")
        await asyncio.sleep(3)
        writer.transport.resume_reading()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(2**25)

    with_server(work)


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (LINE, b"x-more: " + b"y" * 900 + b"\r\n"),
        (LINE + b"x-more: ", b"y" * 1000),
        (b"GET /", b"y" * 1000),
        (LINE + b"transfer-encoding: chunked\r\n\r\n1;", b"y" * 1000),
        (LINE + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: " + b"y" * 900 + b"\r\n"),
        (b"", b"\r\n" * 500),
    ],
)
def test_what_never_ends_beside_a_body_ends_the_connection(head: bytes, part: bytes) -> None:
    async def work(_stand: Stand, connect: Any) -> None:
        reader, writer = await connect()
        writer.write(head)
        sent = 0
        try:
            while sent < 20 * MOST_HEAD and not reader.at_eof():
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
                sent += len(part)
        except ConnectionError:
            sent += 0
        assert sent < 20 * MOST_HEAD
        await closed(reader)

    with_server(work)


def test_large_bodies_are_no_heads() -> None:
    async def work(_stand: Stand, connect: Any) -> None:
        reader, writer = await connect()
        padded = BODY + b" " * (2**20 - len(BODY))
        whole = LINE + b"content-length: %d\r\n\r\n" % len(padded) + padded
        for _ in range(2):
            writer.write(whole)
            assert (await answer(reader)).startswith(b"200 ")
        chunks = b"".join(b"1;x=y\r\n%c\r\n" % one for one in BODY)
        writer.write(LINE + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\nt: r\r\n\r\n")
        assert b"beta" in await answer(reader)

    with_server(work)


def test_some_requests_may_be_sent_ahead_but_not_thousands() -> None:
    async def work(_stand: Stand, connect: Any) -> None:
        reader, writer = await connect()
        writer.write(WHOLE * 60)
        for _ in range(60):
            assert b"beta" in await answer(reader)
        writer.write(WHOLE * 1000)
        await closed(reader)

    with_server(work)


def test_an_upgrade_is_ignored_and_the_connection_goes_on() -> None:
    async def work(_stand: Stand, connect: Any) -> None:
        for kind in (b"h2c", b"websocket"):
            reader, writer = await connect()
            upgrade = b"GET /v2 HTTP/1.1\r\nhost: g\r\nconnection: upgrade\r\nupgrade: %s\r\n\r\n"
            writer.write(upgrade % kind)
            assert (await answer(reader)).startswith(b"200 ")
            writer.write(WHOLE)
            assert b"beta" in await answer(reader)

    with_server(work)


class Written:
    """A transport that remembers each call of the system that it would make."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.calls.append(b"".join(parts))

    def get_write_buffer_size(self) -> int:
        return 3

    def is_closing(self) -> bool:
        return b"closed" in self.calls

    def close(self) -> None:
        self.calls.append(b"closed")


def test_a_head_leaves_together_with_its_body_or_by_itself_in_time() -> None:
    async def work() -> list[bytes]:
        below = Written()
        joined = Joined(below, asyncio.get_running_loop())  # type: ignore[arg-type]
        joined.write(b"head ")
        joined.write(b"body")
        await asyncio.sleep(0)
        joined.write(b"100 Continue")
        assert below.calls == [b"head body"] and joined.get_write_buffer_size() == 15
        await asyncio.sleep(0)
        assert below.calls[1:] == [b"100 Continue"]
        joined.write(b"last")
        joined.close()
        joined.write(b"too late")
        await asyncio.sleep(0)
        return below.calls

    assert asyncio.run(work()) == [b"head body", b"100 Continue", b"last", b"closed"]
