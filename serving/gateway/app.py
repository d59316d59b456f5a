"""The gateway as a raw ASGI application: which address is answered by what."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from release.callers import Action
from serving.gateway import openai
from serving.gateway.bodies import Gone, Headers, Message, Receive
from serving.gateway.callers import Callers
from serving.gateway.dispatch import Dispatcher, Refusal
from serving.gateway.exchange import Ask, Response, WrongMethod, error_response
from serving.gateway.inference import Inference
from serving.gateway.metrics import Metrics
from serving.gateway.pages import About, Pages
from serving.gateway.passes import NOBODY, Pass
from serving.gateway.pool import Pool
from serving.gateway.readiness import Readiness
from serving.gateway.recording import CallRecorder
from serving.gateway.table import Table

Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[Ask], Awaitable[Response]]

PUBLIC = ("/v2/health/live", "/v2/health/ready", "/openapi.json")
"""Answered to whoever asks: none of it says anything of an endpoint or a caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Something that is served."""

    path: str
    """As OpenAPI writes it, such as `/v2/models/{model}`."""

    method: str
    """GET, which allows HEAD as well, or POST."""

    handler: Handler
    protocol: str = ""
    """In which a model is asked here; empty where none is."""

    public: bool = False
    """Whether it is answered to whoever asks; else only to a proven caller."""

    @property
    def pattern(self) -> re.Pattern[str]:
        """What the path must match; a named part is anything without a slash."""
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path))

    def allow(self, method: str) -> None:
        """Refuse other methods.

        Raises:
            Refusal: with status 405.
        """
        allowed = ("GET", "HEAD") if self.method == "GET" else (self.method,)
        if method not in allowed:
            raise WrongMethod(method, allowed)


class Gateway:
    """Routes requests to endpoints; knows nothing of processes, files or ledgers.

    Args:
        table: what is served.
        pool: connections to replicas.
        dispatcher: answers calls.
        metrics: counts.
        about: what else a gateway says of itself.
        recorder: keeps a line of calls that are refused before they are dispatched.
        callers: prove who calls.
    """

    def __init__(
        self,
        table: Table,
        pool: Pool,
        dispatcher: Dispatcher,
        metrics: Metrics,
        about: About,
        recorder: CallRecorder,
        callers: Callers,
    ) -> None:
        self._metrics = metrics
        self._callers = callers
        self._table = table
        self._recorder = recorder
        pages = Pages(table, pool, about, Readiness(table, pool, recorder))
        self.addresses = _addresses(Inference(table, pool, dispatcher), pages)
        self._plain = {one.path: one for one in self.addresses if "{" not in one.path}
        self._patterns = [(one.pattern, one) for one in self.addresses if "{" in one.path]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        headers = Headers(scope["headers"])
        draw = headers.request_id()
        started, who = time.monotonic(), NOBODY
        try:
            address, named = self._find(scope["path"])
            if not address.public:
                who = self._callers.prove(headers)
            address.allow(scope["method"])
            _let_in(who, address, named)
            ask = Ask(draw=draw, headers=headers, receive=receive, named=named, who=who)
            found = await address.handler(ask)
        except Refusal as error:
            self._metrics.refused(error.status)
            await self._record(scope["path"], error, headers, who, started)
            found = _refused(scope["path"], error)
        except Gone:
            return
        found_headers = (
            (b"content-type", found.kind),
            (b"content-length", str(len(found.body)).encode()),
            (b"x-request-id", headers.request_id().encode()),
            *found.headers,
        )
        await send(
            {"type": "http.response.start", "status": found.status, "headers": found_headers}
        )
        await send({"type": "http.response.body", "body": found.body})

    async def _record(
        self, path: str, error: Refusal, headers: Headers, who: Pass, started: float
    ) -> None:
        """Keep a line of a call of a model that was refused."""
        try:
            address, named = self._find(path)
        except Refusal:
            return
        if not address.protocol:
            return
        endpoint = error.about or named.get("model") or named.get("endpoint", "")
        await self._recorder.refused(
            error,
            endpoint=endpoint,
            known=endpoint in self._table.endpoints,
            id=headers.request_id(),
            protocol=address.protocol,
            caller=None if who is NOBODY else who.caller,
            started=started,
        )

    def _find(self, path: str) -> tuple[Address, Mapping[str, str]]:
        if plain := self._plain.get(path):
            return plain, {}
        for pattern, address in self._patterns:
            if match := pattern.fullmatch(path):
                return address, match.groupdict()
        raise Refusal(404, f"There is nothing at {path[:200]!r}.", "see GET /openapi.json")


def _let_in(who: Pass, address: Address, named: Mapping[str, str]) -> None:
    """Refuse a caller what its grant does not have, before anything of its body is read.

    Where the address names no endpoint, its handler asks.
    """
    if endpoint := named.get("model") or named.get("endpoint"):
        if address.protocol:
            who.enter(endpoint)
        else:
            who.need(endpoint, Action.READ)


def _refused(path: str, error: Refusal) -> Response:
    """Say why there is no answer, in the shape of the protocol that was spoken."""
    return openai.error_response(error) if path.startswith("/v1/") else error_response(error)


def _addresses(inference: Inference, pages: Pages) -> tuple[Address, ...]:
    """Everything that is served; what is asked most comes first."""
    model, version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    posts: tuple[tuple[str, Handler, str], ...] = (
        (f"{model}/infer", inference.infer, "v2"),
        ("/predict/{endpoint}", inference.predict, "predict"),
        (f"{version}/infer", inference.infer, "v2"),
        ("/v1/embeddings", inference.embed, "openai"),
        ("/v2/repository/index", pages.index, ""),
    )
    gets: tuple[tuple[str, Handler], ...] = (
        ("/v2", pages.server),
        ("/v2/health/live", pages.live),
        ("/v2/health/ready", pages.ready),
        (model, pages.model),
        (f"{model}/ready", pages.model_ready),
        (version, pages.model),
        (f"{version}/ready", pages.model_ready),
        ("/v1/models", pages.models),
        ("/v1/models/{model}", pages.one_model),
        ("/metrics", pages.metrics),
        ("/openapi.json", pages.openapi),
        ("/-/status", pages.status),
    )
    return (
        *(
            Address(path=path, method="POST", handler=handler, protocol=protocol)
            for path, handler, protocol in posts
        ),
        *(
            Address(path=path, method="GET", handler=handler, public=path in PUBLIC)
            for path, handler in gets
        ),
    )
