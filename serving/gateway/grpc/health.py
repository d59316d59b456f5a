"""`grpc.health.v1`: whether the server, or one model of it, can be asked.

The empty name and the inference service's mean the server; any other is an endpoint's.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2 as pb

from release.callers import Action
from serving.gateway.bodies import Headers
from serving.gateway.dispatch import Refusal
from serving.gateway.exchange import Pairs, beside
from serving.gateway.grpc.calls import (
    CODES,
    Asking,
    Context,
    Prove,
    abort,
    asked_by,
    metadata,
    unary,
)
from serving.gateway.grpc.messages import parsed
from serving.gateway.grpc.service import NAME
from serving.gateway.metrics import Metrics
from serving.gateway.passes import NOBODY, Pass
from serving.gateway.readiness import Readiness
from serving.gateway.table import Table

LOOK_SECONDS = 0.25
"""How often a watch looks whether something has changed."""

MOST_WATCHES = 256
"""Watches under way at once: each is a call that does not end, of the few that a server has."""

Response = pb.HealthCheckResponse


def _later(_headers: Headers) -> Pass:
    """Ask nobody who they are before it is known what for."""
    return NOBODY


class Health:
    """Answers health checks.

    Args:
        table: what is served.
        metrics: counts refusals.
        prove: says who calls.
        readiness: says what can be asked.
    """

    def __init__(
        self,
        table: Table,
        metrics: Metrics,
        prove: Prove,
        readiness: Readiness,
    ) -> None:
        self._table = table
        self._metrics = metrics
        self._prove = prove
        self._readiness = readiness
        self._leaving = asyncio.Event()
        self._watches = 0

    def leave(self) -> None:
        """Say from now on that nothing can be asked here, and end every watch."""
        self._leaving.set()

    def handlers(self) -> Any:
        """Give the handlers of all calls, for a server."""
        calls = {
            "Check": unary(pb.HealthCheckRequest, self._check, self._metrics, _later),
            "List": unary(pb.HealthListRequest, self._list, self._metrics, self._prove),
            "Watch": grpc.unary_stream_rpc_method_handler(
                self._watch, response_serializer=Response.SerializeToString
            ),
        }
        return grpc.method_handlers_generic_handler("grpc.health.v1.Health", calls)

    async def _check(self, request: Any, asking: Asking) -> tuple[Any, Pairs]:
        self._let_in(request.service, asking)
        found = self._status(request.service)
        if found == Response.SERVICE_UNKNOWN:
            raise Refusal(404, f"There is no service {request.service[:80]!r}.")
        return Response(status=found), ()

    async def _list(self, _request: Any, asking: Asking) -> tuple[Any, Pairs]:
        seen = (one for one in self._table.endpoints if asking.who.may(one, Action.READ))
        names = ("", NAME, *sorted(seen))
        statuses = {name: Response(status=self._status(name)) for name in names}
        return pb.HealthListResponse(statuses=statuses), ()

    async def _watch(self, body: bytes, context: Context) -> AsyncIterator[Any]:
        """Tell the status now, and again whenever it has changed, to who may still see it."""
        asking = asked_by(context)
        try:
            service = parsed(pb.HealthCheckRequest, body).service
            self._let_in(service, asking)
            async for found in self._counted(service, asking):
                yield found
        except Refusal as error:
            self._metrics.refused(error.status)
            code = CODES.get(error.status, grpc.StatusCode.INTERNAL)
            await abort(context, code, str(error), metadata(asking.id, beside(error)))

    async def _counted(self, service: str, asking: Asking) -> AsyncIterator[Any]:
        if self._watches >= MOST_WATCHES:
            said = f"There are {self._watches} watches, of {MOST_WATCHES} at most; use Check."
            raise Refusal(501, said)
        self._watches += 1
        try:
            async for found in self._changes(service, asking):
                yield found
        finally:
            self._watches -= 1

    async def _changes(self, service: str, asking: Asking) -> AsyncIterator[Any]:
        told = None
        while not self._leaving.is_set():
            # Each time: a key that is revoked or expires sees nothing more.
            self._let_in(service, asking)
            if (found := self._status(service)) != told:
                yield Response(status=found)
                told = found
            await asyncio.sleep(LOOK_SECONDS)
        yield Response(status=self._status(service))

    def _let_in(self, service: str, asking: Asking) -> None:
        """Say of a model how it is only to who may see it; of the server, to whoever asks."""
        if service not in ("", NAME):
            self._prove(asking.headers).need(service, Action.READ)

    def _status(self, service: str) -> int:
        if service in ("", NAME):
            good = self._readiness.all()
        elif endpoint := self._table.endpoints.get(service):
            arm = endpoint.route.stable
            good = arm is not None and not self._readiness.hindrance(service, arm)
        else:
            return int(Response.SERVICE_UNKNOWN)
        serves = good and not self._leaving.is_set()
        return int(Response.SERVING if serves else Response.NOT_SERVING)
