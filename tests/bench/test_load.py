import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.bench import load
from tests.bench.asking import Run, Target, end_of
from tests.bench.load import arrivals, closed, highest, opened

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
FULL = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@contextmanager
def answering(answer: Callable[[int], tuple[float, bytes]]) -> Iterator[Target]:
    """A server in a thread: the number of a request to how long it takes and what it gives."""
    count = 0
    ready = threading.Event()
    known: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                count += 1
                seconds, said = answer(count)
                await asyncio.sleep(seconds)
                if not said:
                    break
                writer.write(said)
        writer.close()

    async def run() -> None:
        stopping = asyncio.Event()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        known.append((port, asyncio.get_running_loop(), stopping))
        ready.set()
        await stopping.wait()
        server.close()
        # Clients have gone; what served them ends by itself.
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(5)
    (port, loop, stopping), *_ = known
    try:
        yield Target(port=port, requests=[REQUEST])
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (OK, (200, len(OK))),
        (OK + OK, (200, len(OK))),
        (OK[:-1], None),
        (OK[:20], None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, 27)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", (200, 59)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (200, 52)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", None),
    ],
)
def test_the_end_of_an_answer_is_found(data: bytes, found: tuple[int, int] | None) -> None:
    assert end_of(data) == found


def test_a_closed_loop_keeps_its_connections_busy() -> None:
    with answering(lambda _: (0.02, OK)) as target:
        run = closed(target, 4, 40)
    assert (run.asked, len(run.latencies), run.refused) == (40, 40, [])
    assert 0.02 <= run.quantile(0.5) < 0.1
    # Four at a time: a fortieth of what one after the other would take is out of reach.
    assert 40 < run.rate <= 4 / 0.02 + 1


def test_a_closed_loop_counts_refusals_apart_and_connects_again() -> None:
    said = {2: FULL, 3: b""}
    with answering(lambda number: (0.0, said.get(number % 4, OK))) as target:
        run = closed(target, 2, 80)
    assert run.asked == 80
    # Of four requests one is refused, and one meets a connection that ends.
    assert len(run.refused) == pytest.approx(40, abs=2)
    assert len(run.latencies) == 80 - len(run.refused)


@pytest.mark.parametrize(("first", "most"), [(64, 1_024), (1, 1), (0, 1)])
def test_an_open_loop_counts_from_when_a_request_was_due(
    monkeypatch: pytest.MonkeyPatch, first: int, most: int
) -> None:
    """One answer at a time, 20 ms each, asked twice as often: the last waits for all before it.

    Whether it waits there or here, for want of a connection, makes no difference.
    """
    monkeypatch.setattr(load, "FIRST_CONNECTIONS", first)
    monkeypatch.setattr(load, "MOST_CONNECTIONS", most)

    def slow(_: int) -> tuple[float, bytes]:
        time.sleep(0.02)
        return 0.0, OK

    with answering(slow) as target:
        run = opened(target, 100, 0.5)
    assert run.asked == len(run.latencies) == len(arrivals(100, 0.5, 0))
    assert run.quantile(1.0) > 0.3
    assert run.goodput(0.1) < run.goodput(10)


def test_an_open_loop_that_is_lost_ends_early() -> None:
    with answering(lambda _: (0.05, OK)) as target:
        began = time.monotonic()
        run = opened(target, 200, 20, within=0.01, most_late=0.01)
    assert run.gave_up
    assert run.quantile(0.99) == math.inf
    assert time.monotonic() - began < 5


def test_what_was_never_answered_is_infinitely_late() -> None:
    run = Run(seconds=1.0, asked=4, latencies=[0.3, 0.1, 0.2])
    assert [run.quantile(share) for share in (0.25, 0.5, 0.75, 0.76)] == [0.1, 0.2, 0.3, math.inf]
    assert (run.rate, run.goodput(0.2)) == (3.0, 2.0)


def test_arrivals_are_as_many_as_asked_and_the_same_for_a_seed() -> None:
    found = arrivals(1_000, 10, 3)
    assert found == arrivals(1_000, 10, 3) != arrivals(1_000, 10, 4)
    assert found == sorted(found)
    assert len(found) == pytest.approx(10_000, rel=0.05)


def test_the_highest_good_rate_is_closed_in_on() -> None:
    tried: list[float] = []

    def good(rate: float) -> bool:
        tried.append(rate)
        return rate <= 70

    assert 60 < highest(good, 50, 100, steps=5) <= 70
    assert tried[0] == 50
    assert len(tried) == 5
    assert 30 < highest(lambda rate: rate <= 40, 100, 200, steps=5) <= 40
    assert highest(lambda rate: False, 100, 200, steps=3) == 0.0
