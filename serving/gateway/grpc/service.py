"""The Open Inference Protocol, V2 gRPC: what each call does."""

from importlib.metadata import version as version_of_package
from typing import Any

import grpc

from release.callers import Action
from serving.gateway import describing, outputs
from serving.gateway.dispatch import Call, Dispatcher, Refusal
from serving.gateway.exchange import (
    Pairs,
    arm_of,
    endpoint_of,
    status_of,
    told,
    version_of,
)
from serving.gateway.grpc import inference_pb2 as pb
from serving.gateway.grpc.calls import Asking, Prove, Refused, unary
from serving.gateway.grpc.messages import items_of, model_metadata, response
from serving.gateway.metrics import Metrics
from serving.gateway.passes import NOBODY
from serving.gateway.pool import Pool
from serving.gateway.readiness import Readiness
from serving.gateway.recording import CallRecorder
from serving.gateway.refusing import RECORDED
from serving.gateway.table import Endpoint, Table

NAME = "inference.GRPCInferenceService"

PUBLIC = ("ServerLive", "ServerReady")
"""Answered to whoever asks."""


class Service:
    """Answers the protocol's calls.

    Args:
        table: what is served.
        pool: connections to replicas.
        dispatcher: answers calls.
        metrics: counts refusals.
        recorder: keeps a line of calls that are refused before they are dispatched.
        prove: says who calls.
        readiness: says what can be asked.
    """

    def __init__(
        self,
        table: Table,
        pool: Pool,
        dispatcher: Dispatcher,
        metrics: Metrics,
        recorder: CallRecorder,
        prove: Prove,
        readiness: Readiness,
    ) -> None:
        self._table = table
        self._pool = pool
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._recorder = recorder
        self._prove = prove
        self._readiness = readiness
        self._version = version_of_package("slipway")

    def handlers(self) -> Any:
        """Give the handlers of all calls, for a server."""
        calls = {
            "ModelInfer": (pb.ModelInferRequest, self._infer),
            "ModelReady": (pb.ModelReadyRequest, self._model_ready),
            "ModelMetadata": (pb.ModelMetadataRequest, self._model_metadata),
            "ServerLive": (pb.ServerLiveRequest, self._live),
            "ServerReady": (pb.ServerReadyRequest, self._ready),
            "ServerMetadata": (pb.ServerMetadataRequest, self._server_metadata),
            "RepositoryIndex": (pb.RepositoryIndexRequest, self._index),
        }
        made = {
            name: unary(kind, work, self._metrics, _open(self._prove, name), *self._kept(name))
            for name, (kind, work) in calls.items()
        }
        return grpc.method_handlers_generic_handler(NAME, made)

    async def _infer(
        self, request: pb.ModelInferRequest, asking: Asking
    ) -> tuple[pb.ModelInferResponse, Pairs]:
        # What divides calls is never the body's id: clients often give all requests the same.
        key, by = asking.who.key(asking.headers, asking.id)
        asking.headers.name(request.id)
        asking.who.enter(request.model_name)
        endpoint = endpoint_of(self._table, request.model_name, asking.who)
        version = version_of(request.model_version or None)
        names = [one.name for one in request.outputs]
        if names:
            status = status_of(self._pool, endpoint)
            outputs.allow(names, status.task if status else "")
        items = items_of(request)
        call = Call(
            id=asking.id,
            key=key,
            by=by,
            texts=items.texts,
            ids=items.ids,
            deadline_ms=asking.deadline_ms(),
            version=version,
            caller=asking.who.caller,
            protocol="grpc",
        )
        reply = await self._dispatcher.answer(endpoint, call)
        asking.who.spend(reply.answer.tokens)
        with RECORDED:
            found = outputs.outputs(names, reply.answer, items.texts)
            return response(request, reply.arm, found), told(reply)

    async def _refused(self, request: pb.ModelInferRequest, asking: Asking, error: Refusal) -> None:
        await self._recorder.refused(
            error,
            endpoint=request.model_name,
            known=request.model_name in self._table.endpoints,
            id=asking.id,
            protocol="grpc",
            caller=None if asking.who is NOBODY else asking.who.caller,
            started=asking.started,
        )

    def _kept(self, name: str) -> tuple[Refused, ...]:
        return (self._refused,) if name == "ModelInfer" else ()

    def _seen(self, name: str, asking: Asking) -> Endpoint:
        asking.who.need(name, Action.READ)
        return endpoint_of(self._table, name, asking.who)

    async def _model_ready(
        self, request: pb.ModelReadyRequest, asking: Asking
    ) -> tuple[pb.ModelReadyResponse, Pairs]:
        endpoint = self._seen(request.name, asking)
        arm = arm_of(endpoint, version_of(request.version or None))
        why = self._readiness.hindrance(request.name, arm)
        return pb.ModelReadyResponse(ready=not why), ()

    async def _model_metadata(
        self, request: pb.ModelMetadataRequest, asking: Asking
    ) -> tuple[pb.ModelMetadataResponse, Pairs]:
        endpoint = self._seen(request.name, asking)
        arm = arm_of(endpoint, version_of(request.version or None))
        versions = sorted({one.version for one in endpoint.route.variants})
        found = describing.model_metadata(arm, versions, self._pool.status(arm.digest))
        return model_metadata(found), ()

    async def _live(
        self, _request: pb.ServerLiveRequest, _asking: Asking
    ) -> tuple[pb.ServerLiveResponse, Pairs]:
        return pb.ServerLiveResponse(live=True), ()

    async def _ready(
        self, _request: pb.ServerReadyRequest, _asking: Asking
    ) -> tuple[pb.ServerReadyResponse, Pairs]:
        return pb.ServerReadyResponse(ready=self._readiness.all()), ()

    async def _server_metadata(
        self, _request: pb.ServerMetadataRequest, _asking: Asking
    ) -> tuple[pb.ServerMetadataResponse, Pairs]:
        return pb.ServerMetadataResponse(**describing.server_metadata(self._version)), ()

    async def _index(
        self, request: pb.RepositoryIndexRequest, asking: Asking
    ) -> tuple[pb.RepositoryIndexResponse, Pairs]:
        entries = self._readiness.listed(asking.who, only_ready=request.ready)
        models = [pb.RepositoryIndexResponse.ModelIndex(**one) for one in entries]
        return pb.RepositoryIndexResponse(models=models), ()


def _open(prove: Prove, name: str) -> Prove:
    return (lambda _headers: NOBODY) if name in PUBLIC else prove
