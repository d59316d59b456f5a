"""The gateway as a raw ASGI application."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Any
from uuid import uuid4

from release.variants import Variant
from serving.gateway import v2
from serving.gateway.dispatch import Call, Dispatcher, Refusal, Reply
from serving.gateway.pool import Pool
from serving.gateway.table import Endpoint, Table

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOST_BODY = 2**20
"""Bytes of one request."""

BODY_SECONDS = 30.0
"""How long a client may take to send its body."""

_SANE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_MODEL = re.compile(
    r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<verb>ready|infer))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What goes back."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Gone(Exception):
    """The client has hung up."""


class Gateway:
    """Routes requests to endpoints; knows nothing of processes, files or ledgers.

    Args:
        table: what is served.
        pool: connections to replicas.
        dispatcher: answers calls.
        status: gives what `/-/status` shows.
    """

    def __init__(
        self,
        table: Table,
        pool: Pool,
        dispatcher: Dispatcher,
        status: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._table = table
        self._pool = pool
        self._dispatcher = dispatcher
        self._status = status
        self._version = version_of("slipway")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        headers = _Headers(scope["headers"])
        request_id = headers.request_id()
        try:
            found = await self._answer(scope, headers, request_id, receive)
        except Refusal as error:
            found = _error(error)
        except Gone:
            return
        found_headers = (
            (b"content-type", b"application/json"),
            (b"content-length", str(len(found.body)).encode()),
            (b"x-request-id", request_id.encode()),
            *found.headers,
        )
        await send(
            {"type": "http.response.start", "status": found.status, "headers": found_headers}
        )
        await send({"type": "http.response.body", "body": found.body})

    async def _answer(
        self, scope: Message, headers: "_Headers", request_id: str, receive: Receive
    ) -> Response:
        path, method = scope["path"], scope["method"]
        match = _MODEL.fullmatch(path)
        if match and match["verb"] == "infer":
            _allow(method, "POST")
            endpoint = self._endpoint(match["model"])
            version = _version(match["version"])
            return await self._infer(endpoint, version, headers, request_id, receive)
        _allow(method, "GET", "HEAD")
        if match:
            return self._describe(match["model"], _version(match["version"]), match["verb"])
        if plain := self._plain(path):
            return plain
        raise Refusal(404, f"There is nothing at {path[:200]!r}.", "see GET /v2")

    def _plain(self, path: str) -> Response | None:
        match path:
            case "/v2":
                return _json(v2.server_metadata(self._version))
            case "/v2/health/live":
                return _json({"live": True})
            case "/v2/health/ready":
                # An endpoint whose first release is still warming makes nobody else unready.
                stable = [one.route.stable for one in self._table.endpoints.values()]
                ready = all(self._ready(arm) for arm in stable if arm is not None)
                # The specification says `live` here and its clients read `ready`.
                return _json({"ready": ready, "live": True}, 200 if ready else 503)
            case "/-/status":
                return _json(self._status())
            case _:
                return None

    def _ready(self, arm: Variant | None) -> bool:
        return arm is not None and self._pool.status(arm.digest) is not None

    def _endpoint(self, name: str) -> Endpoint:
        if found := self._table.endpoints.get(name):
            return found
        known = ", ".join(sorted(self._table.endpoints)) or "none yet"
        raise Refusal(404, f"There is no model {name[:80]!r}.", f"served are: {known}")

    def _describe(self, name: str, version: int | None, verb: str | None) -> Response:
        endpoint = self._endpoint(name)
        arm = endpoint.route.stable if version is None else endpoint.version(version)
        if arm is None:
            raise Refusal(404, f"{name} serves no version {version or 'yet'}.")
        status = self._pool.status(arm.digest)
        if verb == "ready":
            ready = status is not None
            return _json({"name": name, "ready": ready}, 200 if ready else 503)
        versions = sorted({one.version for one in endpoint.route.variants})
        labels, longest = (status.labels, status.longest_input) if status else ([], 0)
        return _json(v2.model_metadata(arm, versions, labels, longest))

    async def _infer(
        self,
        endpoint: Endpoint,
        version: int | None,
        headers: "_Headers",
        request_id: str,
        receive: Receive,
    ) -> Response:
        request = v2.read(await _body(receive, headers))
        names = v2.wanted(request)
        call = Call(
            id=request_id,
            key=headers.text(b"x-slipway-key") or request_id,
            texts=v2.texts_of(request),
            deadline_ms=headers.deadline_ms(),
            version=version,
        )
        reply = await _unless_gone(self._dispatcher.answer(endpoint, call), receive)
        return Response(
            body=v2.response(request, names, reply.arm, reply.answer), headers=_told(reply)
        )


def _told(reply: Reply) -> tuple[tuple[bytes, bytes], ...]:
    arm = reply.arm
    headers = (
        (b"x-slipway-model", arm.model.encode()),
        (b"x-slipway-version", str(arm.version).encode()),
        (b"x-slipway-variant", arm.recipe.encode()),
        (b"x-slipway-generation", str(reply.generation).encode()),
    )
    return (*headers, (b"x-slipway-rescued", b"1")) if reply.rescued else headers


class _Headers:
    """The few request headers that matter."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._found = dict(raw)

    def text(self, name: bytes) -> str:
        return self._found.get(name, b"").decode("latin-1")

    def request_id(self) -> str:
        """The client's own id if it is plain and short, else one of ours."""
        given = self.text(b"x-request-id")
        return given if _SANE_ID.fullmatch(given) else uuid4().hex

    def deadline_ms(self) -> float | None:
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
        given = self.text(b"content-length")
        return int(given) if given.isascii() and given.isdigit() else 0


async def _body(receive: Receive, headers: _Headers) -> bytes:
    if headers.length() > MOST_BODY:
        raise Refusal(413, f"The body has {headers.length()} bytes, of {MOST_BODY} at most.")
    if (coded := headers.text(b"content-encoding")) not in ("", "identity"):
        raise Refusal(415, f"The body is encoded as {coded[:40]!r}.", "send it plain")
    parts, size, deadline = [], 0, time.monotonic() + BODY_SECONDS
    while True:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                message = await receive()
        except TimeoutError:
            said = f"The body did not come within {BODY_SECONDS:g} s."
            raise Refusal(408, said) from None
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size > MOST_BODY:
            raise Refusal(413, f"The body has more than {MOST_BODY} bytes.")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


async def _unless_gone(work: Awaitable[Reply], receive: Receive) -> Reply:
    """Do the work, but stop it when the client hangs up."""
    answering = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(receive())
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        raise Gone
    finally:
        leaving.cancel()
        if not answering.done():
            answering.cancel()


def _allow(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise Refusal(405, f"{method} is not allowed here.", f"use {' or '.join(allowed)}")


def _version(given: str | None) -> int | None:
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise Refusal(404, f"There is no version {given[:40]!r}.", "a version is a number")
    return int(given)


def _json(value: object, status: int = 200) -> Response:
    return Response(body=v2.encode(value), status=status)


def _error(error: Refusal) -> Response:
    headers = ((b"retry-after", str(round(error.retry)).encode()),) if error.retry else ()
    return Response(body=v2.encode({"error": str(error)}), status=error.status, headers=headers)
