"""Has lines written: at once, or once there is room where a namespace lets its calls wait for that.

Whoever hangs up has been answered for all the same: each call has its line or is counted among
those that could have none, whether anybody still waits for it or not.
"""

import asyncio
import math
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from release.callers import Recording, WhenFull
from serving.gateway.refusing import Refusal
from serving.journal import NoRoom
from serving.keeping import PROBE_SECONDS, Keeper

Write = Callable[[], Awaitable[None] | None]
"""Writes a line, numbered as the next; gives what is to be waited for, see `Keeper.keep`."""

POLL_SECONDS = 0.02
"""How often a call that waits for room looks again."""

ENDING_SECONDS = 2 * PROBE_SECONDS
"""For how long a process that ends still waits for room: a disk that has some was tried by then."""

LEAST_SECONDS = 0.1
"""For how long the disk is waited for in any case, where the line of a call must be there: what was
computed by its deadline is not refused for the few milliseconds that a group takes."""


class Held:
    """What must end before a client is answered, and may be dropped where nobody is any more."""

    __slots__ = ("_wait",)

    def __init__(self, wait: Callable[[], Awaitable[None]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, None]:
        """Wait for it."""
        return self._wait().__await__()


class Writing:
    """Writes one gateway's lines, or refuses.

    Args:
        keeper: of its journal.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._late: set[asyncio.Task[None]] = set()
        """Calls that wait for room, or for their payload to be sealed."""

        self._said = ""
        """Why a call could have no line, as it was last told in the log."""

        self._ends = math.inf
        """Monotonic moment after which none waits any longer."""

    def write(self, write: Write, recording: Recording, until: float) -> Awaitable[None] | None:
        """Have a line written.

        Args:
            write: does it.
            recording: what its namespace wants.
            until: monotonic moment up to which it may wait for room.

        Returns:
            What must end before the client is answered; None where nothing must.

        Raises:
            Refusal: with status 503, where it cannot be.
        """
        try:
            settled = self._written(write)
        except NoRoom as error:
            if recording.when_full is WhenFull.BLOCK and until > time.monotonic():
                return self.beside(self._later(write, until, str(error)))
            raise self.refusal(str(error)) from error
        return None if settled is None else Held(lambda: _settled(settled, until))

    async def room(self, until: float) -> None:
        """Wait for room; a client that does not wait so long is counted among those refused."""
        try:
            while self._keeper.trouble and time.monotonic() < min(until, self._ends):
                await asyncio.sleep(POLL_SECONDS)
        except asyncio.CancelledError:
            self._keeper.refuse()
            raise

    def refusal(self, said: str) -> Refusal:
        """Count a call that can have no line, and say that it is not answered.

        Args:
            said: why it can have none. That is for the log: it names places on this host.
        """
        self._keeper.refuse()
        if said not in (self._said, self._keeper.trouble):  # which the keeper has told
            sys.stderr.write(f"gateway: a call cannot be recorded: {said}\n")
            self._said = said
        return _refusal("This call cannot be recorded.")

    async def close(self) -> None:
        """Give whatever still waits its line or its count; the keeper must still run."""
        self._ends = time.monotonic() + ENDING_SECONDS
        await asyncio.gather(*self._late, return_exceptions=True)

    def beside(self, work: Coroutine[Any, Any, None]) -> Held:
        """Do something in a task of its own, which nobody who hangs up stops."""
        task = asyncio.ensure_future(work)
        self._late.add(task)
        task.add_done_callback(self._ended)
        return Held(lambda: asyncio.shield(task))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # It is counted; whoever still waits is told, and nobody need be.

    async def _later(self, write: Write, until: float, why: str) -> None:
        while time.monotonic() < min(until, self._ends):
            await asyncio.sleep(POLL_SECONDS)
            if said := self._keeper.trouble:
                why = said
                continue
            try:
                settled = self._written(write)
            except NoRoom as error:
                why = str(error)
                continue
            if settled is not None:
                await _settled(settled, until)
            return
        raise self.refusal(why)

    def _written(self, write: Write) -> Awaitable[None] | None:
        try:
            return write()
        except (UnicodeEncodeError, ValueError) as error:
            self._keeper.refuse()
            raise _refusal(f"This call cannot be written down: {error}.") from error


def _refusal(said: str) -> Refusal:
    refusal = Refusal(503, said, "every call is recorded or refused", retry=1)
    refusal.recorded = True
    return refusal


async def _settled(settled: Awaitable[None], until: float) -> None:
    try:
        async with asyncio.timeout(max(until - time.monotonic(), LEAST_SECONDS)):
            await settled
    except (NoRoom, TimeoutError) as error:
        # It has its line, but nobody can say whether that would survive a power loss.
        said = str(error) or "The disk of the call record has not taken the call's line in time."
        refusal = Refusal(503, said, retry=1)
        refusal.recorded = True
        raise refusal from error
