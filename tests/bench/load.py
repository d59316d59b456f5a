"""Ask as many clients would: in a closed loop, or in an open one.

In a closed loop each connection asks again as soon as it is answered. In an open loop requests come
when they come, whoever is still waiting, and each one's time counts from when it was due.
"""

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import uvloop

from tests.bench.asking import OK, Link, Links, Run, Target

MOST_CONNECTIONS = 1_024
"""Of an open loop; what is due beyond them waits here, and its time counts on."""

FIRST_CONNECTIONS = 64
"""That an open loop makes before it begins."""

GRACE_SECONDS = 2.0
"""How long an open loop waits for what it asked last."""


class _Closed(Links):
    """A closed loop under way.

    Args:
        target: who is asked.
        warm: answers that are not counted yet.
        answers: those that are.
    """

    def __init__(self, target: Target, warm: int, answers: int) -> None:
        super().__init__(target)
        self._warm, self._left = warm, answers
        self._began = 0.0

    def opened(self, link: Link) -> None:
        self.ask(link, time.monotonic())

    def answered(self, link: Link, status: int) -> None:
        if self.done.is_set():
            return
        now = time.monotonic()
        self._count(status, now - link.due, now)
        if link.open:
            self.ask(link, now)
        else:
            self.open_soon()

    def _count(self, status: int, seconds: float, now: float) -> None:
        if self._warm > 0:
            self._warm -= 1
            self._began = now
            return
        self.run.asked += 1
        self.note(status, seconds)
        self._left -= 1
        if not self._left:
            self.run.seconds = now - self._began
            self.done.set()


async def _closed(loop: _Closed, connections: int, patience: float) -> Run:
    try:
        async with asyncio.timeout(patience):
            for _ in range(connections):
                await loop.open()
            await loop.done.wait()
    finally:
        loop.close()
    return loop.run


def closed(
    target: Target,
    connections: int,
    answers: int,
    *,
    warm: int | None = None,
    patience: float = 120.0,
) -> Run:
    """Ask over so many connections, each anew as soon as it is answered.

    Args:
        target: who is asked.
        connections: requests under way at a time.
        answers: how many are counted. All connections ask on until the last of them, so that none
            of it is a start or an end.
        warm: answers that come before, 1 at least and twice the connections if not given.
        patience: seconds for all of it.

    Raises:
        TimeoutError: it took longer.
        OSError: nobody listens.
    """
    warm = 2 * connections if warm is None else warm

    async def work() -> Run:
        return await _closed(_Closed(target, max(1, warm), answers), connections, patience)

    return _run(work())


class _Open(Links):
    """An open loop under way.

    Args:
        target: who is asked.
        due: moments of the requests, in seconds from the beginning.
        within: seconds after which an answer is late.
        most_late: late answers with which it is lost.
    """

    def __init__(
        self, target: Target, due: Sequence[float], within: float, most_late: float
    ) -> None:
        super().__init__(target, len(due))
        self._due, self._within, self._most_late = due, within, most_late
        self._idle: list[Link] = []
        self._waiting: deque[float] = deque()
        self._late, self._left = 0, len(due)

    async def go(self, seconds: float) -> Run:
        self.run.seconds = seconds
        for _ in range(FIRST_CONNECTIONS):
            await self.open()
        began = time.monotonic()
        for due in self._due:
            if (pause := began + due - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            if self.run.gave_up:
                return self.run
            self._begin(began + due)
        # What is not answered by then is late enough to count as never answered.
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await self.done.wait()
        return self.run

    def _begin(self, due: float) -> None:
        while self._idle:
            if (link := self._idle.pop()).open:
                self.ask(link, due)
                return
        self._waiting.append(due)
        if self.count < MOST_CONNECTIONS:
            self.open_soon()

    def opened(self, link: Link) -> None:
        if self._waiting:
            self.ask(link, self._waiting.popleft())
        else:
            self._idle.append(link)

    def answered(self, link: Link, status: int) -> None:
        seconds = time.monotonic() - link.due
        self.note(status, seconds)
        self._late += status != OK or seconds > self._within
        self.run.gave_up = self.run.gave_up or self._late > self._most_late
        self._left -= 1
        if not self._left:
            self.done.set()
        if link.open:
            self.opened(link)


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Give the moments of a Poisson process, in seconds from its beginning."""
    chance, now, found = random.Random(seed), 0.0, list[float]()
    while (now := now + chance.expovariate(rate)) < seconds:
        found.append(now)
    return found


def opened(
    target: Target,
    rate: float,
    seconds: float,
    *,
    seed: int = 0,
    within: float = math.inf,
    most_late: float = math.inf,
) -> Run:
    """Ask so many times a second at random moments, however long the answers take.

    Args:
        target: who is asked.
        rate: requests a second, on average.
        seconds: for how long.
        seed: of the moments.
        within: seconds after which an answer is late.
        most_late: share of late ones with which it is lost, and ends at once.

    Raises:
        OSError: nobody listens.
    """
    due = arrivals(rate, seconds, seed)

    async def work() -> Run:
        loop = _Open(target, due, within, most_late * len(due))
        try:
            return await loop.go(seconds)
        finally:
            loop.close()

    return _run(work())


def highest(good: Callable[[float], bool], low: float, high: float, *, steps: int = 5) -> float:
    """Find the highest rate that is good, between one that is hoped to be and one that is not.

    Args:
        good: whether a rate is; tried so many times at most.
        low: where to begin; halved until it is good.
        high: beyond all hope.
        steps: tries, halvings among them.

    Returns:
        The highest that was found good; 0 where none was.
    """
    best = 0.0
    for step in range(steps):
        # The first try is the lower end itself, without which halving between is in the air.
        rate = (best * high) ** 0.5 if best else low / 2**step
        if good(rate):
            best = rate
        else:
            high = min(high, rate)
    return best


def _run(work: Coroutine[Any, Any, Run]) -> Run:
    return uvloop.run(work)
