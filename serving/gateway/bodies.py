"""What a client sends: the few headers that matter, and a body that is never larger than allowed.

Compressed bodies are inflated no further than the same limit, whatever they claim to hold.
"""

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from secrets import token_hex
from typing import Any

from serving.gateway.dispatch import Refusal

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

MOST_BODY = 2**20
"""Bytes of one request, as they come and once inflated."""

MOST_COMING = 64 * 2**20
"""Bytes of all bodies that are still coming in, in one process."""

BODY_SECONDS = 30.0
"""How long a client may take to send its body."""

WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": zlib.MAX_WBITS}
"""Each content coding to what zlib calls it; `deflate` is the zlib format, as HTTP has it."""

_SANE_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Room:
    """How much of bodies that are still coming in is held, by all clients of this process."""

    def __init__(self, most: int = MOST_COMING) -> None:
        self._most = most
        self.taken = 0

    def take(self, size: int) -> None:
        """Hold so many bytes more; they must be given back in any case.

        Raises:
            Refusal: with status 503, where that is too much.
        """
        self.taken += size
        if self.taken > self._most:
            said = f"Bodies of {self.taken} bytes are coming in, of {self._most} at most."
            raise Refusal(503, said, retry=1)

    def give_back(self, size: int) -> None:
        """Hold so many bytes less."""
        self.taken -= size


ROOM = Room()

LOOK_SECONDS = 0.1


class Patience:
    """Stops tasks that wait for a body for too long.

    Looks at all of them now and then: a timer for each costs a request more than all the rest of
    reading its body, which nearly always is there already.
    """

    def __init__(self) -> None:
        self._under_way: dict[asyncio.Task[Any], float] = {}
        self._over: set[asyncio.Task[Any]] = set()
        self._looking: asyncio.AbstractEventLoop | None = None

    def begin(self, task: asyncio.Task[Any], deadline: float) -> None:
        """Stop a task at a moment on the loop's clock, unless it ends before."""
        if self._looking is not (loop := asyncio.get_running_loop()):
            self._under_way.clear()
            self._looking = loop
            loop.call_later(LOOK_SECONDS, self._look)
        self._under_way[task] = deadline

    def end(self, task: asyncio.Task[Any]) -> None:
        """Leave it alone from now on."""
        self._under_way.pop(task, None)
        self._over.discard(task)

    def stopped(self, task: asyncio.Task[Any]) -> bool:
        """Whether it was this that cancelled the task; it may go on then."""
        return task in self._over and not task.uncancel()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        for task, deadline in list(self._under_way.items()):
            if deadline <= loop.time():
                del self._under_way[task]
                self._over.add(task)
                task.cancel()
        self._looking = loop if self._under_way else None
        if self._under_way:
            loop.call_later(LOOK_SECONDS, self._look)


PATIENCE = Patience()


class Gone(Exception):
    """The client has hung up."""


class Headers:
    """The few request headers that matter."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._found = dict(raw)
        self._id = ""

    def text(self, name: bytes) -> str:
        """Give a header as it came; empty where there is none."""
        return self._found.get(name, b"").decode("latin-1")

    def request_id(self) -> str:
        """The client's own id if it is plain and short, else one of ours."""
        if not self._id:
            given = self.text(b"x-request-id")
            self._id = given if _SANE_ID.fullmatch(given) else token_hex(16)
        return self._id

    def name(self, id: str | None) -> None:  # noqa: A002 - the protocol's own field is called so
        """Call the request what its body calls it, where its headers do not and that is plain."""
        if id and not self.text(b"x-request-id") and _SANE_ID.fullmatch(id):
            self._id = id

    def deadline_ms(self) -> float | None:
        """How long the client will wait, in milliseconds; None where it does not say.

        Raises:
            Refusal: with status 400, naming value and limit.
        """
        given = self.text(b"x-slipway-deadline-ms")
        if not given:
            return None
        try:
            limit = float(given)
        except ValueError:
            limit = 0.0
        if not 1 <= limit <= 3_600_000:
            said = f"x-slipway-deadline-ms must be within 1..3600000, not {given[:40]!r}."
            raise Refusal(400, said)
        return limit

    def length(self) -> int:
        """Bytes of the body by its header; 0 where it does not say."""
        return _number(self.text(b"content-length")) or 0

    def json_length(self) -> int | None:
        """Bytes of JSON before the tensors' own bytes; None where the whole body is JSON.

        Raises:
            Refusal: with status 400, for what is no number.
        """
        given = self.text(b"inference-header-content-length")
        if not given:
            return None
        found = _number(given)
        if found is None:
            said = f"Inference-Header-Content-Length must be a number of bytes, not {given[:40]!r}."
            raise Refusal(400, said, "it is the length of the JSON at the start of the body")
        return found

    def coding(self) -> str:
        """How the body is compressed; empty where it is not.

        Raises:
            Refusal: with status 415, for a coding that is not read here.
        """
        given = self.text(b"content-encoding").strip().lower()
        if given in ("", "identity"):
            return ""
        if given not in WINDOWS:
            said = f"The body is encoded as {given[:40]!r}."
            raise Refusal(415, said, "send it plain, as gzip or as deflate")
        return given


def _number(given: str) -> int | None:
    sane = given.isascii() and given.isdigit() and len(given) <= 15
    return int(given) if sane else None


async def read_body(receive: Receive, headers: Headers) -> bytes:
    """Take a request's body, inflated.

    Raises:
        Refusal: too large, too slow, or not what its header says.
        Gone: the client has hung up.
    """
    if headers.length() > MOST_BODY:
        raise Refusal(413, f"The body has {headers.length()} bytes, of {MOST_BODY} at most.")
    coding, task = headers.coding(), asyncio.current_task()
    if task is None:
        raise RuntimeError("a body is read in a task")
    PATIENCE.begin(task, asyncio.get_running_loop().time() + BODY_SECONDS)
    try:
        body = await _whole(receive)
    except asyncio.CancelledError:
        if PATIENCE.stopped(task):
            raise Refusal(408, f"The body did not come within {BODY_SECONDS:g} s.") from None
        raise
    finally:
        PATIENCE.end(task)
    return inflate(body, coding) if coding else body


async def _whole(receive: Receive) -> bytes:
    parts, size, more = [], 0, True
    try:
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            part, more = message.get("body", b""), bool(message.get("more_body"))
            size += len(part)
            ROOM.take(len(part))
            if size > MOST_BODY:
                raise Refusal(413, f"The body has more than {MOST_BODY} bytes.")
            parts.append(part)
    finally:
        ROOM.give_back(size)
    return b"".join(parts)


def inflate(body: bytes, coding: str, most: int = MOST_BODY) -> bytes:
    """Undo a content coding, but make no more than `most` bytes.

    Raises:
        Refusal: it would be larger (413), or is not whole or not of that coding (400).
    """
    machine = zlib.decompressobj(WINDOWS[coding])
    try:
        plain = machine.decompress(body, most + 1)
    except zlib.error as error:
        raise Refusal(400, f"The body is not {coding}: {error}.") from error
    if len(plain) > most:
        raise Refusal(413, f"The body has more than {most} bytes once inflated.")
    # Whoever chains many streams makes us copy the rest for each: one is enough for any client.
    if not machine.eof or machine.unused_data:
        said = "goes on after its end" if machine.eof else "ends before its end"
        raise Refusal(400, f"The body's {coding} {said}.", "send one whole stream")
    return plain
