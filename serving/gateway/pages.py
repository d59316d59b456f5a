"""What a gateway says of itself and of what it serves."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version as version_of_package
from pathlib import Path
from typing import Any

from release.callers import Action
from serving.gateway import describing, openai, v2
from serving.gateway.bodies import read_body
from serving.gateway.exchange import (
    Ask,
    Response,
    arm_of,
    endpoint_of,
    json_response,
    version_of,
)
from serving.gateway.metrics import CONTENT_TYPE
from serving.gateway.pool import Pool
from serving.gateway.readiness import Readiness
from serving.gateway.table import Table

OPENAPI = Path(__file__).with_name("openapi.json")
"""What is served, as an OpenAPI 3.1 document; a test holds it against what is answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What only a whole gateway can say of itself."""

    status: Callable[[], Mapping[str, Any]]
    """What `/-/status` shows."""

    metrics: Callable[[], Awaitable[bytes]]
    """What all gateways of this host have counted, in Prometheus' text format."""


class Pages:
    """Answers whatever is no prediction.

    Args:
        table: what is served.
        pool: connections to replicas.
        about: the gateway.
        readiness: says what can be asked.
    """

    def __init__(self, table: Table, pool: Pool, about: About, readiness: Readiness) -> None:
        self._table = table
        self._pool = pool
        self._about = about
        self._readiness = readiness
        self._version = version_of_package("slipway")
        self._openapi = OPENAPI.read_bytes()

    async def server(self, _ask: Ask) -> Response:
        """Describe the server."""
        return json_response(describing.server_metadata(self._version))

    async def live(self, _ask: Ask) -> Response:
        """Say that the process runs."""
        return json_response({"live": True})

    async def ready(self, _ask: Ask) -> Response:
        """Say whether every champion can be asked, and calls be recorded."""
        ready = self._readiness.all()
        # The specification says `live` here and its clients read `ready`.
        return json_response({"ready": ready, "live": True}, 200 if ready else 503)

    async def model(self, ask: Ask) -> Response:
        """Describe a model, or one version of it."""
        endpoint = endpoint_of(self._table, ask.named["model"], ask.who)
        arm = arm_of(endpoint, version_of(ask.named.get("version")))
        versions = sorted({one.version for one in endpoint.route.variants})
        status = self._pool.status(arm.digest)
        return json_response(describing.model_metadata(arm, versions, status))

    async def model_ready(self, ask: Ask) -> Response:
        """Say whether a model, or one version of it, can be asked."""
        endpoint = endpoint_of(self._table, ask.named["model"], ask.who)
        arm = arm_of(endpoint, version_of(ask.named.get("version")))
        name = ask.named["model"]
        if why := self._readiness.hindrance(name, arm):
            return json_response({"name": name, "ready": False, "reason": why}, 503)
        return json_response({"name": name, "ready": True})

    async def index(self, ask: Ask) -> Response:
        """List every version that is kept ready or should be."""
        only_ready = v2.read_index(await read_body(ask.receive, ask.headers)).ready
        return json_response(self._readiness.listed(ask.who, only_ready=only_ready))

    async def models(self, ask: Ask) -> Response:
        """List the endpoints that have a version in production, in OpenAI's shape."""
        serving = (
            name
            for name, one in self._table.endpoints.items()
            if one.route.stable and ask.who.may(name, Action.READ)
        )
        data = [openai.model(name) for name in sorted(serving)]
        return json_response({"object": "list", "data": data})

    async def one_model(self, ask: Ask) -> Response:
        """Describe an endpoint that has a version in production, in OpenAI's shape."""
        name = ask.named["model"]
        if openai.endpoint_of(self._table, name).route.stable is None:
            raise openai.no_model(name)
        return json_response(openai.model(name))

    async def metrics(self, ask: Ask) -> Response:
        """Give what this host's gateways counted: it names endpoints and tenants."""
        ask.who.need_all(Action.METRICS)
        return Response(body=await self._about.metrics(), kind=CONTENT_TYPE)

    async def openapi(self, _ask: Ask) -> Response:
        """Give the OpenAPI document."""
        return Response(body=self._openapi)

    async def status(self, ask: Ask) -> Response:
        """Show what this gateway serves, as the agent sees it, to whoever may see everything."""
        ask.who.need_all(Action.READ)
        return json_response(self._about.status())
