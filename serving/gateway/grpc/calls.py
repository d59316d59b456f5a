"""What every call has in common: its metadata and deadline in, its status and metadata out."""

import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote

import grpc
from google.protobuf.message import Message

from serving.gateway.bodies import Headers
from serving.gateway.dispatch import Refusal
from serving.gateway.exchange import Pairs, beside
from serving.gateway.grpc.messages import parsed
from serving.gateway.metrics import Metrics
from serving.gateway.passes import NOBODY, Pass

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""Each HTTP status of a refusal to gRPC's own; any other is INTERNAL."""

MOST_DETAILS = 1000
"""Characters of a sentence: it travels as a header, and clients limit those."""

Context = Any
"""grpc.aio's servicer context; the library ships no types."""

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What a call says beside its message, and who is proven to make it."""

    headers: Headers
    remaining: float | None
    """Seconds to the client's deadline; None where it has none."""

    who: Pass = NOBODY
    started: float = field(default_factory=time.monotonic)

    @property
    def id(self) -> str:
        """Of the request."""
        return self.headers.request_id()

    def deadline_ms(self) -> float | None:
        """How long the client will wait, by its deadline or its header, in milliseconds.

        Raises:
            Refusal: with status 400, for a header that is no sane number.
        """
        said = self.headers.deadline_ms()
        if self.remaining is None:
            return said
        left = max(1.0, self.remaining * 1e3)
        return left if said is None else min(said, left)


Work = Callable[[Any, Asking], Awaitable[tuple[Message, Pairs]]]
"""Takes a request and who calls; gives the answer, and what to tell in metadata."""

Prove = Callable[[Headers], Pass]
Refused = Callable[[Any, Asking, Refusal], Awaitable[None]]
"""Takes a request that was refused, and why."""


async def _unrecorded(_request: Any, _asking: Asking, _error: Refusal) -> None:
    """Keep no line of it."""


def unary(
    kind: type[M], work: Work, metrics: Metrics, prove: Prove, refused: Refused = _unrecorded
) -> Any:
    """Make a handler of a call with one message each way.

    Args:
        kind: of the request.
        work: what the call does.
        metrics: counts refusals.
        prove: says who calls.
        refused: keeps a line of a refusal.
    """

    async def handle(body: bytes, context: Context) -> Message:
        asking, request = asked_by(context), None
        try:
            # The message first: a refusal of its caller is recorded with what it was about.
            request = parsed(kind, body)
            asking = replace(asking, who=prove(asking.headers))
            answer, told = await work(request, asking)
        except Refusal as error:
            metrics.refused(error.status)
            if request is not None:
                await refused(request, asking, error)
            code = CODES.get(error.status, grpc.StatusCode.INTERNAL)
            pairs = metadata(asking.id, beside(error))
            return await abort(context, code, str(error), pairs)
        except Exception:
            metrics.refused(500)
            traceback.print_exc(file=sys.stderr)
            said = "The gateway failed; its log says how."
            return await abort(context, grpc.StatusCode.INTERNAL, said, metadata(asking.id))
        context.set_trailing_metadata(metadata(asking.id, told))
        return answer

    # Messages are read by `parsed`: what the library cannot read, it would call INTERNAL.
    return grpc.unary_unary_rpc_method_handler(
        handle, response_serializer=lambda message: message.SerializeToString()
    )


async def abort(
    context: Context, code: Any, details: str, trailing: tuple[tuple[str, str], ...]
) -> Message:
    """End a call with a status, a sentence and metadata; it does not return."""
    await context.abort(code, details[:MOST_DETAILS], trailing)
    raise AssertionError("abort does not return")


def asked_by(context: Context) -> Asking:
    """Take what a call says beside its message."""
    given = context.invocation_metadata() or ()
    headers = Headers(
        [(name.encode(), value.encode()) for name, value in given if isinstance(value, str)]
    )
    return Asking(headers=headers, remaining=context.time_remaining())


def metadata(request_id: str, pairs: Pairs = ()) -> tuple[tuple[str, str], ...]:
    """Give HTTP's headers as gRPC's metadata, which is ASCII."""
    plain = ((name.decode(), value.decode()) for name, value in pairs)
    return (
        ("x-request-id", request_id),
        *((name, value if value.isascii() else quote(value)) for name, value in plain),
    )
