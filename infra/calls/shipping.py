"""Sends calls to where others search them, again and again until each was taken once.

Both ways name each call by an id of its own, so that what was sent twice is there once: the bulk
API refuses to create what is there, and a receiver of OTLP has `event.id`.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from infra.calls.formats import Exported, ecs, otlp
from release.errors import Invalid, Refused, Unavailable

BATCH = 500
TRIES = 6
LONGEST_PAUSE = 30.0
SECONDS = 30.0
"""For one request."""

_THERE = 409
_LATER = frozenset({429, 500, 502, 503, 504})

_encode = msgspec.json.encode


def named(to: str) -> str:
    """Name an address as it may be told: without the user, password and keys in it.

    Raises:
        Invalid: it is none.
    """
    try:
        parts = urlsplit(to)
        host, port = parts.hostname, parts.port
    except ValueError:
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
        to: such as `http://elastic:9200/calls`, the index last, or `http://loki:3100/otlp`.
        authorization: value of the header, where one is wanted.
        pause: waits; for tests.

    Raises:
        Invalid: it is no address.
    """

    to: str
    authorization: str = ""
    pause: Callable[[float], None] = time.sleep
    sent: int = field(default=0, init=False)
    """Calls that were taken."""

    _where: str = field(default="", init=False)
    """Its address as it may be told."""

    def __post_init__(self) -> None:
        self._where = named(self.to)

    def bulk(self, calls: Iterable[Exported]) -> None:
        """Send calls to the bulk API of Elasticsearch or OpenSearch.

        Raises:
            Unavailable: it cannot be reached, or is too busy for too long.
            Refused: it does not take a call; says which, and why.
        """
        for batch in _batches(calls):
            left: Sequence[Exported] = batch
            for turn in range(TRIES):
                left = self._bulk(left)
                if not left:
                    break
                self.pause(_pause(turn))
            if left:
                said = f"{self._where} is too busy for {len(left)} of {len(batch)} calls."
                raise Unavailable(said, "export again: what is there is not sent twice")
            self.sent += len(batch)

    def _bulk(self, calls: Sequence[Exported]) -> list[Exported]:
        """Send one batch; gives those that are to be sent again."""
        lines = [
            part
            for call in calls
            for part in (_encode({"create": {"_id": call.id}}), _encode(ecs(call)))
        ]
        answer = self._post("/_bulk", b"\n".join(lines) + b"\n", "application/x-ndjson")
        again = []
        # Each call has an answer of its own: a request that succeeds may have taken none.
        for call, item in zip(calls, _items(answer), strict=True):
            status = int(item.get("status", 0))
            if status in _LATER:
                again.append(call)
            elif status >= 300 and status != _THERE:
                why = item.get("error", {}).get("reason", "it does not say why")
                raise Refused(f"{self._where} does not take the call {call.line.id}: {why}.")
        return again

    def otlp(self, calls: Iterable[Exported]) -> None:
        """Send calls as OTLP logs over HTTP.

        Raises:
            Unavailable: it cannot be reached, or is too busy for too long.
            Refused: it does not take some of them.
        """
        for batch in _batches(calls):
            answer = self._post("/v1/logs", _encode(otlp(batch)), "application/json")
            partial = answer.get("partialSuccess") or {}
            if refused := int(partial.get("rejectedLogRecords") or 0):
                why = partial.get("errorMessage") or "it does not say why"
                raise Refused(f"{self._where} refuses {refused} of {len(batch)} calls: {why}.")
            self.sent += len(batch)

    def _post(self, path: str, body: bytes, kind: str) -> dict[str, Any]:
        headers = {"content-type": kind}
        if self.authorization:
            headers["authorization"] = self.authorization
        said = ""
        for turn in range(TRIES):
            try:
                found = httpx.post(
                    self.to.rstrip("/") + path, content=body, headers=headers, timeout=SECONDS
                )
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                said = str(error) or type(error).__name__
            else:
                if found.status_code < 300:
                    return _read(found.content)
                said = f"{found.status_code} {found.text[:200]}"
                if found.status_code not in _LATER:
                    raise Refused(f"{self._where}{path} refuses calls: {said}.")
            if turn + 1 < TRIES:
                self.pause(_pause(turn))
        raise Unavailable(f"{self._where}{path} takes no calls: {said}.")


def _batches(calls: Iterable[Exported]) -> Iterator[list[Exported]]:
    rest = iter(calls)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _pause(turn: int) -> float:
    return float(min(LONGEST_PAUSE, 0.5 * 2**turn))


def _read(content: bytes) -> dict[str, Any]:
    try:
        read = msgspec.json.decode(content) if content else {}
    except msgspec.DecodeError:
        read = {}
    return read if isinstance(read, dict) else {}


def _items(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [next(iter(one.values())) for one in answer.get("items", [])]
