"""Replicas that speak the wire and have no model, and a gateway before them in this process."""

import asyncio
import re
import struct
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from infra.callers.snapshot import CallersSnapshot
from infra.calls.lines import CallLine
from infra.calls.vault import Vault
from release.callers import Capture, Recording
from release.routes import Guard, Route
from release.variants import Variant
from serving.gateway.app import Gateway
from serving.gateway.callers import Callers
from serving.gateway.dispatch import Dispatcher
from serving.gateway.metrics import Metrics
from serving.gateway.outputs import CLASSIFIES, EMBEDS, TAGS
from serving.gateway.pages import About
from serving.gateway.pool import Pool
from serving.gateway.readiness import Readiness
from serving.gateway.recording import CallRecorder
from serving.gateway.siblings import Siblings
from serving.gateway.table import Table
from serving.journal import JournalWriter
from serving.keeping import Keeper
from serving.replica.messages import (
    Answer,
    Ask,
    Cancel,
    Classes,
    Entities,
    Entity,
    Found,
    Infer,
    Kind,
    Load,
    Problem,
    Reply,
    Status,
    Vectors,
    read_question,
)
from serving.replica.wire import Frames
from tests.fakes.call_lines import calls_in

LABELS = ["alpha", "beta"]
LONGEST = 16
LOAD = Load(
    batches=3, texts=5, tokens=40, slots=64, queued_tokens=7, memory_bytes=2**20, cpu_seconds=1.5
)
WIDTH = 3
BETA = 7
"""The token id of the word `beta`; every other is 1."""


def variant(version: int, model: str = "tiny") -> Variant:
    return Variant(model=model, version=version, recipe="onnx-int8", digest=f"sha256:{version:064}")


class WireReplica:
    """Finds `beta` in what holds it and `alpha` elsewhere; more than 16 words are too long.

    A tagger names every `beta`; an embedder counts tokens, betas, and adds a quarter. `fails` says
    how it fails at everything, if it does; `slow` how many seconds it takes.
    """

    def __init__(
        self, digest: str, fails: Kind | None = None, *, task: str = CLASSIFIES, slow: float = 0.0
    ) -> None:
        self.digest = digest
        self.fails = fails
        self.task = task
        self.slow = slow
        self.asked: list[list[str]] = []
        self.budgets: list[float] = []
        self.cancelled: list[int] = []
        self.frames = Frames(self._heard, lambda: None)

    def _heard(self, body: bytes) -> None:
        question = read_question(body)
        if isinstance(question, Infer):
            self.budgets.append(question.budget_ms)
        if isinstance(question, Cancel):
            self.cancelled.append(question.id)
        elif self.slow and isinstance(question, Infer):
            asyncio.get_running_loop().call_later(
                self.slow, lambda: self.frames.send(self._reply(question))
            )
        else:
            self.frames.send(self._reply(question))

    def _reply(self, question: Infer | Ask) -> Reply:
        if isinstance(question, Ask):
            return Status(
                id=question.id,
                digest=self.digest,
                ready=True,
                pid=1,
                task=self.task,
                labels=[] if self.task == EMBEDS else LABELS,
                longest_input=LONGEST,
                width=WIDTH if self.task == EMBEDS else 0,
                load=LOAD,
            )
        self.asked.append(question.texts)
        if self.fails:
            return Problem(id=question.id, kind=self.fails, message="It fails, as it should.")
        ids = question.ids or [_ids(text) for text in question.texts]
        if (most := max(len(row) for row in ids)) > LONGEST:
            said = f"A text has {most} tokens, of {LONGEST} at most."
            return Problem(id=question.id, kind=Kind.TOO_LONG, message=said)
        return Answer(
            id=question.id,
            found=self._found(ids, question.texts),
            tokens=sum(len(row) for row in ids),
            queue_ms=2.0,
            tokenize_ms=0.5,
            compute_ms=20.0,
        )

    def _found(self, ids: list[list[int]], texts: list[str]) -> Found:
        if self.task == TAGS:
            places = [[one.span() for one in re.finditer("beta", text)] for text in texts] or [
                [(at, at + 1) for at, one in enumerate(row) if one == BETA] for row in ids
            ]
            named = partial(Entity, label="GREEK", score=0.75)
            return Entities(found=[[named(start=a, end=b) for a, b in row] for row in places])
        if self.task == EMBEDS:
            flat = [one for row in ids for one in (len(row), row.count(BETA), 0.25)]
            return Vectors(width=WIDTH, data=struct.pack(f"<{len(flat)}f", *flat))
        return Classes(
            labels=["beta" if BETA in row else "alpha" for row in ids],
            scores=[[0.25, 0.75] if BETA in row else [0.75, 0.25] for row in ids],
        )


def _ids(text: str) -> list[int]:
    return [BETA if "beta" in word else 1 for word in text.split()]


class Stand:
    """A gateway in this process, and replicas without models behind real sockets."""

    def __init__(self, folder: Path, clock: Callable[[], float], capture: Capture) -> None:
        self.folder = folder
        self.table, self.pool = Table(), Pool()
        keeper = Keeper(JournalWriter(folder / "journal", "test/g1"))
        self._said: dict[str, Any] = {"fallback": Recording(capture=capture)}
        self.callers = Callers(folder, folder / "pepper", open_to_all=True, **self._said)
        self.recorder = CallRecorder(keeper, Vault(folder / "secrets"), self._policy)
        self.status: dict[str, Any] = {}
        self.replicas: dict[str, WireReplica] = {}
        self.metrics = Metrics(self.table, self._ready, self.pool.standing, clock=clock)
        self.app = self._app()
        transport = httpx.ASGITransport(app=self._asked)
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
        task: str = CLASSIFIES,
        slow: float = 0.0,
        **more: Any,
    ) -> None:
        """Serve a champion and, all requests' first choice, a canary."""
        loop = asyncio.get_running_loop()
        for arm in (stable, canary):
            if arm is None or arm.digest in self.replicas:
                continue
            failing = fails if arm == canary else None
            replica = self.replicas[arm.digest] = WireReplica(
                arm.digest, failing, task=task, slow=slow
            )
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
        self.table.take(
            {**{k: v.route for k, v in self.table.endpoints.items()}, stable.model: route}
        )
        self.pool.follow({digest: (str(self.folder / digest[-6:]),) for digest in self.replicas})
        while not all(self._ready(arm) for arm in route.variants):
            await asyncio.sleep(0.005)

    def _app(self) -> Gateway:
        dispatcher = Dispatcher(self.pool, self.recorder, self.metrics)
        parts = (self.table, self.pool, dispatcher, self.metrics)
        siblings = Siblings("test/g1", self.folder / "g1.sock", self.metrics.render)
        about = About(status=lambda: self.status, metrics=siblings.collect)
        return Gateway(*parts, about, self.recorder, self.callers)

    def ready(self) -> bool:
        """Say whether calls are answered."""
        return Readiness(self.table, self.pool, self.recorder).all()

    async def _asked(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def _policy(self, endpoint: str) -> tuple[str, Recording]:
        return self.callers.policy(endpoint)

    def ask_who(self, snapshot: CallersSnapshot) -> None:
        """Let only those in who are in this snapshot, from here on."""
        snapshot.save(self.folder)
        self.callers = Callers(self.folder, self.folder / "pepper", **self._said)
        assert self.callers.look()
        self.app = self._app()

    def record(self, recorder: CallRecorder) -> None:
        """Record otherwise from here on."""
        self.recorder = recorder
        self.app = self._app()

    @property
    def records(self) -> list[CallLine]:
        """Every call that was written down."""
        return calls_in(self.folder / "journal")

    async def text(self, path: str) -> str:
        return (await self.client.get(path)).text

    async def close(self) -> None:
        await self.client.aclose()
        self.pool.close()
        for server in self._servers:
            server.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def standing(
    clock: Callable[[], float] = lambda: 0.0, capture: Capture = Capture.NONE
) -> AsyncIterator[Stand]:
    """A gateway with nothing to serve yet."""
    with tempfile.TemporaryDirectory(prefix="slipway-test-") as folder:
        stand = Stand(Path(folder), clock, capture)
        try:
            yield stand
        finally:
            await stand.close()


async def _serve(address: str, digest: str, task: str) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_unix_server(lambda: WireReplica(digest, task=task).frames, address)
    await loop.create_future()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
