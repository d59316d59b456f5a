"""One replica as a gateway sees it: met, admitted, watched, ejected, met again."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from release.errors import Invalid
from serving.gateway.balance import Rest
from serving.replica.messages import Load, Status
from serving.replica.wire import Connection, ReplicaGone, ReplicaProblem

RETRY_SECONDS = 0.1
LOOK_SECONDS = 0.1
PING_SECONDS = 0.25
"""How often a replica is asked how it is, on the connection that requests take."""

SILENT_SECONDS = 0.75
"""One that owes an answer and says nothing for so long hangs."""

ALONE_SECONDS = 2.0
"""The same where no other replica could answer instead: then haste only costs."""

MOST_FAILURES = 5
"""Failures in a row after which a replica is left, where another can answer."""


class Link:
    """The connection to one replica.

    Args:
        digest: content digest of the variant that it must serve.
        address: where it listens.
        number: which of its variant's; free again once it is gone.
        changed: called when it can be asked again.
        elsewhere: whether another replica of the variant can be asked.
    """

    def __init__(
        self,
        digest: str,
        address: str,
        number: int,
        changed: Callable[["Link"], None],
        elsewhere: Callable[["Link"], bool],
    ) -> None:
        self.address = address
        self.number = number
        self.connection: Connection | None = None
        self.outstanding = 0
        """Tokens, by our guess, that it owes an answer about."""

        self.trouble = ""
        """Why it was ejected last."""

        self._digest = digest
        self._changed = changed
        self._elsewhere = elsewhere
        self._admitted = False
        self._failures = 0
        self._rest = Rest()
        self._status: Status | None = None
        self._keeper = asyncio.create_task(self._keep())

    @property
    def ready(self) -> bool:
        """Whether it can be asked."""
        return self._admitted and self.connection is not None and not self.connection.closed

    @property
    def status(self) -> Status | None:
        """What it said of itself last; None before it was ever ready."""
        return self._status

    @property
    def load(self) -> Load:
        """What it does, as it said last."""
        return self._status.load if self._status else Load()

    def set_aside(self, why: str) -> None:
        """Ask it no more until it says again that it is ready."""
        self._admitted, self.trouble = False, why

    def note(self, *, failed: bool) -> None:
        """Count failures in a row: one that fails at once owes the least, and would draw all."""
        self._failures = self._failures + 1 if failed else 0
        if self._failures >= MOST_FAILURES and self._elsewhere(self):
            self._failures = 0
            self.set_aside(f"it failed {MOST_FAILURES} times in a row")

    def spoil(self, why: str) -> None:
        """Eject it for what it answered: whatever else it says on this connection is worth no more.

        Everything that it owes is asked elsewhere.
        """
        if self.connection is not None:
            self.connection.spoil(why)

    def close(self) -> None:
        """Let go of it as soon as everything under way is answered, or it hangs."""
        self._keeper.cancel()
        self._admitted = False
        here = self.connection
        if here is not None:
            here.close_when_idle()
            if not here.closed:
                self._keeper = asyncio.create_task(self._see_off(here))

    async def _see_off(self, here: Connection) -> None:
        """Watch it while it owes answers; those of one that hangs are asked the new way."""
        here.heard_at = time.monotonic()
        if why := await self._listen(here, lambda now: _silent(here, now, ALONE_SECONDS)):
            here.give_up(f"The replica was left: {why}.")

    async def _keep(self) -> None:
        while True:
            try:
                pause = await self._stay()
            except Exception as error:  # whatever it was, it must be met again
                self._admitted, self.trouble = False, repr(error)
                self._give_up()
                pause = self._rest.ejected(time.monotonic())
            await asyncio.sleep(pause)

    async def _stay(self) -> float:
        """Meet it and stay with it while it is well; give for how long it is left alone then."""
        if not await self._met():
            return RETRY_SECONDS
        self._admitted = True
        self._rest.admitted(time.monotonic())
        self._changed(self)
        self.trouble = await self._watch() or self.trouble
        self._admitted = False
        return self._leave()

    async def _met(self) -> bool:
        """Connect if need be, and hear whether it is who it should be and ready."""
        with suppress(ReplicaGone, ReplicaProblem, TimeoutError, Invalid):
            async with asyncio.timeout(SILENT_SECONDS):
                if self.connection is None or self.connection.closed:
                    self.connection = await Connection.connect(self.address)
                status = await self.connection.status()
            if status.ready and status.digest == self._digest:
                self._status = status
                return True
        self._give_up()
        return False

    async def _watch(self) -> str:
        """Look at it until it must be ejected; say why."""
        here = self.connection
        if here is None:
            return "it is gone"
        here.heard_at, here.told = time.monotonic(), None
        why = await self._listen(here, lambda now: self._wrong(here, now))
        return here.why if here.closed and not why else why

    async def _listen(self, here: Connection, wrong: Callable[[float], str | None]) -> str:
        """Ask it how it is until something is wrong; say what, or nothing where it is gone.

        Args:
            here: the connection.
            wrong: says what is wrong at a moment on the monotonic clock; None ends the listening.
        """
        ping_at, looked = 0.0, time.monotonic()
        while not here.closed:
            await asyncio.sleep(LOOK_SECONDS)
            now = time.monotonic()
            # Where this process was the one that slept, the replica was not heard for that reason.
            here.heard_at = min(now, here.heard_at + max(0.0, now - looked - 2 * LOOK_SECONDS))
            looked = now
            if (why := wrong(now)) != "":
                return why or ""
            if now >= ping_at:
                here.ping()
                ping_at = now + PING_SECONDS
        return ""

    def _wrong(self, here: Connection, now: float) -> str | None:
        if not self._admitted:
            return None
        if here.told is not None:
            self._status = here.told
            if not here.told.ready or here.told.digest != self._digest:
                return "it is not ready any more"
        limit = SILENT_SECONDS if self._elsewhere(self) else ALONE_SECONDS
        return _silent(here, now, limit)

    def _leave(self) -> float:
        """Leave it alone; give for how long.

        A process that died is met again as soon as there is another in its place: whoever starts it
        makes the pauses. One that lives and does wrong rests longer each time.
        """
        self._give_up()
        here = self.connection
        if here is not None and here.closed and not here.spoilt:
            return RETRY_SECONDS
        return self._rest.ejected(time.monotonic())

    def _give_up(self) -> None:
        """Have what it owes asked elsewhere, if anybody else can answer; else it may still come."""
        if self.connection is not None and self._elsewhere(self):
            self.connection.give_up(f"The replica was left: {self.trouble or 'it is silent'}.")


def _silent(here: Connection, now: float, limit: float) -> str:
    """Say so where it owes an answer and has said nothing for longer than so many seconds."""
    owes = here.owes and now - here.heard_at > limit
    return f"it has said nothing for {limit:g} s" if owes else ""
