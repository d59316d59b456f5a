"""Sends calls to where others search them, again and again until each was taken once.

Both ways name each call by an id of its own, so that what was sent twice is there once: the bulk
API refuses to create what is there, and a receiver of OTLP has `event.id`. Whoever answers as no
such receiver does has taken nothing.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from infra.calls.batches import batches
from infra.calls.formats import Exported, ecs, logs, record
from release.errors import Invalid, Refused, Unavailable

BATCH = 500
TRIES = 6
LONGEST_PAUSE = 30.0
SECONDS = 30.0
"""For one request."""

_THERE, _LARGE = 409, 413
_LATER = frozenset({429, 500, 502, 503, 504})

_encode = msgspec.json.encode
_Answer = TypeVar("_Answer")


class _TooLargeError(Refused):
    """A request is larger than the other side takes."""


class _Item(msgspec.Struct, frozen=True):
    """What became of one call."""

    status: int
    error: Any = None


class _Taken(msgspec.Struct, frozen=True):
    """Answer of the bulk API: for each call in its order, under the name of what was done."""

    items: list[dict[str, _Item]]


class _Partial(msgspec.Struct, frozen=True, rename="camel"):
    rejected_log_records: int | None = 0
    error_message: str | None = ""


class _Logged(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to logs; an empty body says the same as an empty one."""

    partial_success: _Partial | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packed:
    """A call as it is sent."""

    request: str
    """Id of its request."""

    body: bytes


def named(to: str) -> str:
    """Name an address as it may be told: without the user, password and keys in it.

    Raises:
        Invalid: it is none.
    """
    try:
        httpx.URL(to)
        parts = urlsplit(to)
        host, port = parts.hostname, parts.port
    except (ValueError, httpx.InvalidURL):
        host = port = None
    if not host or parts.scheme not in ("http", "https"):
        said = f"{to.rpartition('@')[2][:80]!r} is no address."
        raise Invalid(said, "such as http://elastic:9200/calls")
    at = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{at}{f':{port}' if port else ''}{parts.path}"


@dataclass(slots=True)
class Shipper:
    """Sends calls to one address.

    Args:
        to: such as `http://elastic:9200/calls`, the index last, or `http://loki:3100/otlp`; what is
            asked of it, such as `?pipeline=calls`, is asked each time.
        authorization: value of the header, where one is wanted.
        pause: waits; for tests.

    Raises:
        Invalid: it is no address, or no header has such a value.
    """

    to: str
    authorization: str = ""
    pause: Callable[[float], None] = time.sleep
    sent: int = field(default=0, init=False)
    """Calls that were taken."""

    refused: int = field(default=0, init=False)
    """Calls that are not taken, however often they are sent."""

    _oversized: int = field(default=0, init=False)
    """Of these, those that are too large by themselves."""

    _too_large: int = field(default=sys.maxsize, init=False)
    """Bytes of the smallest request that was."""

    _why: str = field(default="", init=False)
    """Why the first of those that are refused is."""

    _where: str = field(default="", init=False)
    """Its address as it may be told."""

    def __post_init__(self) -> None:
        self._where = named(self.to)
        plain = self.authorization.isascii() and self.authorization.isprintable()
        if self.authorization and not plain:
            said = "SLIPWAY_EXPORT_AUTHORIZATION can be no header."
            raise Invalid(said, "one line of printable ASCII, such as ApiKey …")

    def bulk(self, calls: Iterable[Exported]) -> None:
        """Send calls to the bulk API of Elasticsearch or OpenSearch.

        Raises:
            Unavailable: it cannot be reached, or is too busy for too long.
            Refused: it does not take some calls, and was sent the others all the same; says which
                the first was, and why. At once where it takes none of a batch.
        """
        for batch in _packed(calls, _document):
            before = self._barred
            left: Sequence[_Packed] = batch
            for turn in range(TRIES):
                left = self._halved(left, self._bulk)
                if not left:
                    break
                self.pause(_pause(turn))
            if left:
                said = f"{self._where} is too busy for {len(left)} of {len(batch)} calls."
                raise Unavailable(said, "export again: what is there is not sent twice")
            if self._barred - before == len(batch):
                break
        self._tell_refused()

    @property
    def _barred(self) -> int:
        """Calls that are not taken for another reason than their size."""
        return self.refused - self._oversized

    def _halved(
        self, calls: Sequence[_Packed], send: Callable[[Sequence[_Packed]], list[_Packed]]
    ) -> list[_Packed]:
        """Send calls, by halves where they are too large together; gives those to send again."""
        size = sum(len(one.body) for one in calls)
        if len(calls) == 1 or size < self._too_large:
            try:
                return send(calls)
            except _TooLargeError as error:
                self._too_large = min(size, self._too_large)
                if len(calls) == 1:
                    self._oversized += 1
                    self._refuse(1, f"{calls[0].request}, has {size} bytes: {error.message}")
                    return []
        half = len(calls) // 2
        return [*self._halved(calls[:half], send), *self._halved(calls[half:], send)]

    def _refuse(self, many: int, why: str) -> None:
        self._why = self._why or why
        self.refused += many

    def _tell_refused(self) -> None:
        if self.refused:
            said = f"{self._where} does not take {self.refused} calls, and took {self.sent}."
            raise Refused(said, f"the first of them, {self._why}")

    def _bulk(self, calls: Sequence[_Packed]) -> list[_Packed]:
        """Send one batch; gives those that are to be sent again."""
        body = b"".join(one.body for one in calls)
        content = self._post("/_bulk", body, "application/x-ndjson")
        items = [list(one.values()) for one in self._read(content, _Taken).items]
        if [len(one) for one in items] != [1] * len(calls):
            raise self._strange(content)
        again = list[_Packed]()
        # Each call has an answer of its own: a request that succeeds may have taken none.
        for call, (item,) in zip(calls, items, strict=True):
            if item.status in _LATER:
                again.append(call)
            elif 200 <= item.status < 300 or item.status == _THERE:
                self.sent += 1
            else:
                self._refuse(1, f"{call.request}: {_why(item)}")
        return again

    def otlp(self, calls: Iterable[Exported]) -> None:
        """Send calls as OTLP logs over HTTP.

        Raises:
            Unavailable: it cannot be reached, or is too busy for too long.
            Refused: it does not take some of them, and was sent the others all the same. At once
                where it takes none of a batch.
        """
        for batch in _packed(calls, lambda call: _encode(record(call))):
            before = self._barred
            self._halved(batch, self._log)
            if self._barred - before == len(batch):
                break
        self._tell_refused()

    def _log(self, calls: Sequence[_Packed]) -> list[_Packed]:
        """Send one batch of logs, whole or not at all."""
        body = _encode(logs([msgspec.Raw(one.body) for one in calls]))
        content = self._post("/v1/logs", body, "application/json")
        partial = self._read(content or b"{}", _Logged).partial_success or _Partial()
        refused = partial.rejected_log_records or 0
        if not 0 <= refused <= len(calls):
            raise self._strange(content)
        self.sent += len(calls) - refused
        if refused:
            why = partial.error_message or "it does not say why"
            self._refuse(refused, f"from {calls[0].request} on: {why[:200]}")
        return []

    def _read(self, content: bytes, kind: type[_Answer]) -> _Answer:
        try:
            # OTLP writes whole numbers as strings.
            return msgspec.json.decode(content, type=kind, strict=False)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._strange(content) from error

    def _strange(self, content: bytes) -> Refused:
        told = content[:80].decode(errors="replace")
        said = f"{self._where} answers {told!r}, which does not say that it took any call."
        return Refused(
            said, "see its address and the format; ecs is for the bulk API, otlp for OTLP"
        )

    def _post(self, path: str, body: bytes, kind: str) -> bytes:
        parts = urlsplit(self.to)
        to = parts._replace(path=parts.path.rstrip("/") + path, fragment="").geturl()
        headers = {"content-type": kind}
        if self.authorization:
            headers["authorization"] = self.authorization
        said = ""
        for turn in range(TRIES):
            try:
                found = httpx.post(to, content=body, headers=headers, timeout=SECONDS)
            except httpx.HTTPError as error:
                said = str(error) or type(error).__name__
            else:
                if found.status_code < 300:
                    return found.content
                said = f"{found.status_code} {found.text[:200]}"
                if found.status_code not in _LATER:
                    barred = _TooLargeError if found.status_code == _LARGE else Refused
                    raise barred(f"{self._where}{path} refuses calls: {said}.")
            if turn + 1 < TRIES:
                self.pause(_pause(turn))
        raise Unavailable(f"{self._where}{path} takes no calls: {said}.")


def _packed(
    calls: Iterable[Exported], pack: Callable[[Exported], bytes]
) -> Iterator[list[_Packed]]:
    packed = (_Packed(request=one.line.id, body=pack(one)) for one in calls)
    return batches(packed, lambda one: len(one.body), BATCH)


def _document(call: Exported) -> bytes:
    """Give a call as the two lines that the bulk API wants of it."""
    lines = (_encode({"create": {"_id": call.id}}), _encode(ecs(call)))
    return b"".join(line + b"\n" for line in lines)


def _pause(turn: int) -> float:
    return float(min(LONGEST_PAUSE, 0.5 * 2**turn))


def _why(item: _Item) -> str:
    match item.error:
        case {"reason": str(reason)}:
            return reason
        case None:
            return f"it does not say why, but {item.status}"
        case error:
            return _encode(error).decode()[:200]
