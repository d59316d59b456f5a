"""One request and what goes back, whatever protocol it speaks."""

import math
from collections.abc import Mapping

import msgspec

from release.callers import Action
from release.variants import Variant
from serving.gateway.bodies import Headers, Receive
from serving.gateway.dispatch import Refusal, Reply
from serving.gateway.passes import Pass
from serving.gateway.pool import Pool
from serving.gateway.table import Endpoint, Table
from serving.replica.messages import Status

encode = msgspec.json.Encoder().encode

Pairs = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json"
UNPROVEN = 401


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks."""

    draw: str
    """What divides calls where nothing else does: the id, but never one that a body gives: clients
    of V2 often give all their requests the same."""

    headers: Headers
    receive: Receive
    named: Mapping[str, str]
    """The parts of the path that have names, such as `model`; a part that is left out is absent."""

    who: Pass
    """Who asks, as proven."""


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What goes back. A struct, since a frozen dataclass costs each request more."""

    body: bytes
    status: int = 200
    kind: bytes = JSON
    """Content type."""

    headers: Pairs = ()


class WrongMethod(Refusal):
    """A refusal of a method, which names those that there are."""

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        said = f"{method[:20]!r} is not allowed here."
        super().__init__(405, said, f"use {' or '.join(allowed)}")
        self.allowed = ", ".join(allowed)


def json_response(value: object, status: int = 200, headers: Pairs = ()) -> Response:
    """Answer with plain data."""
    return Response(body=encode(value), status=status, headers=headers)


def error_response(error: Refusal) -> Response:
    """Answer with why there is no answer."""
    return Response(body=encode({"error": str(error)}), status=error.status, headers=beside(error))


def beside(error: Refusal) -> Pairs:
    """Say in headers when to try again, which methods there are, or how to prove who one is."""
    if isinstance(error, WrongMethod):
        return ((b"allow", error.allowed.encode()),)
    if error.status == UNPROVEN:
        return ((b"www-authenticate", b'Bearer realm="slipway"'),)
    # Whole seconds, and never none.
    return ((b"retry-after", str(math.ceil(error.retry)).encode()),) if error.retry else ()


def told(reply: Reply) -> Pairs:
    """Name in headers who answered, and by which routes."""
    arm = reply.arm
    headers = (
        (b"x-slipway-model", arm.model.encode()),
        (b"x-slipway-version", str(arm.version).encode()),
        (b"x-slipway-variant", arm.recipe.encode()),
        (b"x-slipway-generation", str(reply.generation).encode()),
    )
    return (*headers, (b"x-slipway-rescued", b"1")) if reply.rescued else headers


def endpoint_of(table: Table, name: str, who: Pass) -> Endpoint:
    """Find an endpoint.

    Raises:
        Refusal: with status 404, naming those that there are and that this caller may see.
    """
    if found := table.endpoints.get(name):
        return found
    known = ", ".join(sorted(one for one in table.endpoints if who.may(one, Action.READ)))
    known = known or "none yet"
    raise Refusal(404, f"There is no model {name[:80]!r}.", f"served are: {known}")


def version_of(given: str | None) -> int | None:
    """Read a version out of a path; None where it names none.

    Raises:
        Refusal: with status 404, for what is no number.
    """
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise Refusal(404, f"There is no version {given[:40]!r}.", "a version is a number")
    return int(given)


def arm_of(endpoint: Endpoint, version: int | None) -> Variant:
    """Find the arm that is meant: a version's, or the champion where none is named.

    Raises:
        Refusal: with status 404, where it is not served.
    """
    arm = endpoint.route.stable if version is None else endpoint.version(version)
    if arm is None:
        said = f"{endpoint.route.endpoint} serves no version {version or 'yet'}."
        raise Refusal(404, said)
    return arm


def status_of(pool: Pool, endpoint: Endpoint) -> Status | None:
    """Give what a replica of an endpoint's model says of itself; None where none is ready.

    An endpoint's versions have one task, so that any of them speaks for it.
    """
    for arm in (endpoint.route.stable, endpoint.route.canary):
        if arm is not None and (status := pool.status(arm.digest)):
            return status
    return None
