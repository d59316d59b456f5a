"""Replicas that speak the wire and have no model, and a gateway before them in this process."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from release.routes import Guard, Route
from release.variants import Variant
from serving.gateway.app import Gateway
from serving.gateway.dispatch import Dispatcher
from serving.gateway.metrics import Metrics
from serving.gateway.pool import Pool
from serving.gateway.table import Table
from serving.journal import Record
from serving.replica.messages import (
    Answer,
    Ask,
    Cancel,
    Classes,
    Infer,
    Kind,
    Problem,
    Reply,
    Status,
    read_question,
)
from serving.replica.wire import Frames

LABELS = ["alpha", "beta"]
LONGEST = 16


def variant(version: int, model: str = "tiny") -> Variant:
    return Variant(model=model, version=version, recipe="onnx-int8", digest=f"sha256:{version:064}")


class WireReplica:
    """Finds `beta` in what holds it and `alpha` elsewhere; more than 16 words are too long.

    `fails` says how it fails at everything, if it does.
    """

    def __init__(self, digest: str, fails: Kind | None = None) -> None:
        self.digest = digest
        self.fails = fails
        self.asked: list[list[str]] = []
        self.frames = Frames(self._heard, lambda: None)

    def _heard(self, body: bytes) -> None:
        question = read_question(body)
        if not isinstance(question, Cancel):
            self.frames.send(self._reply(question))

    def _reply(self, question: Infer | Ask) -> Reply:
        if isinstance(question, Ask):
            return Status(
                id=question.id,
                digest=self.digest,
                ready=True,
                pid=1,
                task="text-classification",
                labels=LABELS,
                longest_input=LONGEST,
            )
        self.asked.append(question.texts)
        if self.fails:
            return Problem(id=question.id, kind=self.fails, message="It fails, as it should.")
        if (most := max(len(text.split()) for text in question.texts)) > LONGEST:
            said = f"A text has {most} tokens, of {LONGEST} at most."
            return Problem(id=question.id, kind=Kind.TOO_LONG, message=said)
        return Answer(
            id=question.id,
            found=Classes(
                labels=["beta" if "beta" in text else "alpha" for text in question.texts],
                scores=[
                    [0.25, 0.75] if "beta" in text else [0.75, 0.25] for text in question.texts
                ],
            ),
            tokens=sum(len(text.split()) for text in question.texts),
            queue_ms=2.0,
            tokenize_ms=0.5,
            compute_ms=20.0,
        )


class Stand:
    """A gateway in this process, and replicas without models behind real sockets."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self.folder = folder
        self.table, self.pool = Table(), Pool()
        self.records: list[Record] = []
        self.status: dict[str, Any] = {}
        self.replicas: dict[str, WireReplica] = {}
        self.metrics = Metrics(self.table, self._ready, clock=clock)
        dispatcher = Dispatcher(self.pool, self.records.append, self.metrics)
        self.app = Gateway(self.table, self.pool, dispatcher, self.metrics, lambda: self.status)
        transport = httpx.ASGITransport(app=self.app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://gateway")
        self._servers: list[asyncio.Server] = []

    def _ready(self, arm: Variant) -> bool:
        return self.pool.status(arm.digest) is not None

    async def serve(
        self,
        stable: Variant,
        canary: Variant | None = None,
        *,
        generation: int = 1,
        fails: Kind | None = None,
        **more: Any,
    ) -> None:
        """Serve a champion and, all requests' first choice, a canary."""
        loop = asyncio.get_running_loop()
        for arm in (stable, canary):
            if arm is None or arm.digest in self.replicas:
                continue
            failing = fails if arm == canary else None
            replica = self.replicas[arm.digest] = WireReplica(arm.digest, failing)
            address = str(self.folder / arm.digest[-6:])
            self._servers.append(
                await loop.create_unix_server(lambda one=replica: one.frames, address)  # type: ignore[misc]
            )
        route = Route(
            endpoint=stable.model,
            generation=generation,
            stable=stable,
            canary=canary,
            canary_percent=100.0 if canary else 0.0,
            lease_until=2e10,
            guard=Guard(**more),
        )
        self.table.take({**{k: v.route for k, v in self.table.endpoints.items()}, "tiny": route})
        self.pool.follow({digest: (str(self.folder / digest[-6:]),) for digest in self.replicas})
        while not all(self._ready(arm) for arm in route.variants):
            await asyncio.sleep(0.005)

    async def text(self, path: str) -> str:
        return (await self.client.get(path)).text

    async def close(self) -> None:
        await self.client.aclose()
        self.pool.close()
        for server in self._servers:
            server.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def standing(clock: Callable[[], float] = lambda: 0.0) -> AsyncIterator[Stand]:
    """A gateway with nothing to serve yet."""
    with tempfile.TemporaryDirectory(prefix="slipway-test-") as folder:
        stand = Stand(Path(folder), clock)
        try:
            yield stand
        finally:
            await stand.close()
