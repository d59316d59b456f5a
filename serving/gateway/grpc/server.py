"""The gRPC server of a gateway: listens, answers, drains."""

from typing import Any

import grpc

from release.errors import Unavailable
from serving.gateway.bodies import MOST_BODY
from serving.gateway.callers import Callers
from serving.gateway.dispatch import Dispatcher
from serving.gateway.grpc.health import Health
from serving.gateway.grpc.service import Service
from serving.gateway.metrics import Metrics
from serving.gateway.pool import Pool
from serving.gateway.readiness import Readiness
from serving.gateway.recording import CallRecorder
from serving.gateway.table import Table

MOST_CALLS = 4096
"""Calls under way at once; more are RESOURCE_EXHAUSTED."""

MOST_ANSWER = 16 * 2**20
"""Bytes of one answer."""

OPTIONS = (
    # A gateway that takes over listens before its predecessor has left.
    ("grpc.so_reuseport", 1),
    ("grpc.max_receive_message_length", MOST_BODY),
    ("grpc.max_send_message_length", MOST_ANSWER),
    ("grpc.max_metadata_size", 16 * 2**10),
    ("grpc.server_handshake_timeout_ms", 10_000),
    # Connections without calls are closed, and those whose client is gone without a word.
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


class GrpcServer:
    """A server that runs.

    Args:
        server: the library's.
        health: told when it ends.
        address: where it listens, HOST:PORT.
    """

    def __init__(self, server: Any, health: Health, address: str) -> None:
        self._server = server
        self._health = health
        self.address = address

    @classmethod
    async def start(
        cls,
        address: str,
        table: Table,
        pool: Pool,
        dispatcher: Dispatcher,
        metrics: Metrics,
        recorder: CallRecorder,
        callers: Callers,
    ) -> "GrpcServer":
        """Listen.

        Args:
            address: HOST:PORT; port 0 finds a free one.
            table: what is served.
            pool: connections to replicas.
            dispatcher: answers calls.
            metrics: counts refusals.
            recorder: keeps a line of calls that are refused before they are dispatched.
            callers: prove who calls.

        Raises:
            Unavailable: nothing can listen there.
        """
        server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=MOST_CALLS)
        readiness = Readiness(table, pool, recorder)
        health = Health(table, metrics, callers.prove, readiness)
        service = Service(table, pool, dispatcher, metrics, recorder, callers.prove, readiness)
        server.add_generic_rpc_handlers((service.handlers(), health.handlers()))
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as error:
            said = f"No gRPC server can listen at {address}: {error}."
            raise Unavailable(said, "see --grpc HOST:PORT") from error
        await server.start()
        return cls(server, health, f"{address.rpartition(':')[0]}:{port}")

    async def stop(self, grace: float) -> None:
        """Take no more calls, and finish those under way.

        Args:
            grace: seconds after which they are cut off.
        """
        self._health.leave()
        await self._server.stop(grace)
