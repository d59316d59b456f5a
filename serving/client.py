"""Replicas for whoever wants to ask one directly, as the evaluation does."""

import asyncio
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from infra.files import tail
from infra.processes import Process, alive, start, stop
from infra.settings import inherited_by_serving
from release.errors import Unavailable, Unsafe
from serving.replica.messages import Answer, Classes, Entities, Entity, Vectors
from serving.replica.wire import Connection, ReplicaGone

T = TypeVar("T")

BUDGET_MS = 60_000.0
"""How long one request of an evaluation may take."""

SLACK_SECONDS = 5.0
"""After a request's time is over, until its replica counts as silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A label, and the probability of every label in the manifest's order."""

    label: str
    scores: tuple[float, ...]
    probability: float
    """Of the label; not the highest of all where another needs more than it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What is named in one text."""

    entities: tuple[Entity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """The vector of one text."""

    data: bytes
    """fp32, little-endian."""


Result = Prediction | Naming | Embedding
"""What a model finds in one text, by its task."""


def replica_command(
    folder: Path, digest: str, address: Path | str, threads: int, device: str = ""
) -> list[str]:
    """Command of a replica process; the address is as `Address.parse` reads it."""
    named = ["--variant", str(folder), "--digest", digest, "--listen", str(address)]
    how = ["--threads", str(threads), *(["--device", device] if device else [])]
    return [sys.executable, "-m", "serving.replica.worker", *named, *how]


class ReplicaSession:
    """A running replica, asked from blocking code."""

    def __init__(self, process: Process, address: Path, log: Path) -> None:
        self._process = process
        self._log = log
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._address = address
        self._connection: Connection | None = None
        self._labels: list[str] = []

    def wait_ready(self, seconds: float) -> None:
        """Wait until it has verified, loaded and warmed its variant.

        Raises:
            Unsafe: it ended; with its last words.
            Unavailable: it was not ready in time.
        """
        deadline = time.monotonic() + seconds
        while not self._ready(deadline):
            words = " ".join(tail(self._log, 2))
            if not alive(self._process):
                raise Unsafe(f"A replica cannot load the variant, and ended: {words}")
            if time.monotonic() >= deadline:
                raise Unavailable(f"A replica was not ready within {seconds:g} s: {words}")
            time.sleep(0.02)

    def _ready(self, deadline: float) -> bool:
        try:
            if self._connection is None:
                connecting = Connection.connect(str(self._address))
                self._connection = self._await(connecting, deadline - time.monotonic())
            asking = self._connection.status()
            status = self._await(asking, deadline - time.monotonic())
        except ReplicaGone:
            self._connection = None
            return False
        except Unavailable:  # it is silent; whether for too long, the deadline says
            return False
        self._labels = status.labels
        return status.ready

    def ask(self, texts: Sequence[str]) -> list[Result]:
        """Ask about texts in one request.

        Raises:
            ReplicaProblem: the replica says why not.
            ReplicaGone: it died.
            Unavailable: it says nothing.
            Unsafe: it answers another question.
        """
        return results(self._await(self._infer(list(texts))), len(texts), self._labels)

    def ask_many(self, texts: Sequence[str], concurrency: int) -> list[Result]:
        """Ask about texts, each in a request of its own, so many at once; in order.

        Raises:
            ReplicaProblem: the replica says why not.
            ReplicaGone: it died.
            Unavailable: it says nothing.
            Unsafe: it answers another question.
        """

        async def all_of_them() -> list[Answer]:
            gate = asyncio.Semaphore(concurrency)

            async def one(text: str) -> Answer:
                async with gate:
                    return await self._infer([text])

            return await asyncio.gather(*map(one, texts))

        answers = self._await(all_of_them())
        return [one for answer in answers for one in results(answer, 1, self._labels)]

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Classify texts in one request; `ask` of a classifier."""
        return _predictions(self.ask(texts))

    def predict_many(self, texts: Sequence[str], concurrency: int) -> list[Prediction]:
        """Classify texts, each in a request of its own; `ask_many` of a classifier."""
        return _predictions(self.ask_many(texts, concurrency))

    async def _infer(self, texts: list[str]) -> Answer:
        if self._connection is None:
            raise ReplicaGone("The replica was never ready.")
        try:
            within = BUDGET_MS / 1e3 + SLACK_SECONDS
            return await asyncio.wait_for(self._connection.infer(texts, BUDGET_MS), within)
        except TimeoutError as error:
            raise _silent(within) from error

    def memory_bytes(self) -> int:
        """Resident memory of its process."""
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def _await(self, work: Coroutine[Any, Any, T], within: float | None = None) -> T:
        """Wait for what ends by itself, or at most so many seconds."""

        async def bounded() -> T:
            try:
                return await asyncio.wait_for(work, within)
            except TimeoutError as error:
                raise _silent(within or 0.0) from error

        return asyncio.run_coroutine_threadsafe(bounded(), self._loop).result()

    async def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            # The transport lets go of its socket in the loop's next turn.
            await asyncio.sleep(0)

    def close(self) -> None:
        """Let go of the connection; the process is its starter's."""
        self._await(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _silent(seconds: float) -> Unavailable:
    return Unavailable(f"A replica said nothing for {max(0.0, seconds):.3g} s.")


def results(answer: Answer, count: int, labels: Sequence[str]) -> list[Result]:
    """Tell an answer's texts apart.

    Args:
        answer: of any task.
        count: how many texts it was asked about.
        labels: of the replica, in the order of its scores.

    Raises:
        Unsafe: it answers about another number of texts, or with a label that it has not.
    """
    found = _results(answer.found, labels)
    if len(found) != count:
        raise Unsafe(f"The replica answers about {len(found)} texts, not {count}.")
    return found


def _results(found: Classes | Entities | Vectors, labels: Sequence[str]) -> list[Result]:
    if isinstance(found, Classes):
        return [
            _prediction(label, scores, labels)
            for label, scores in zip(found.labels, found.scores, strict=True)
        ]
    if isinstance(found, Entities):
        return [Naming(entities=tuple(one)) for one in found.found]
    size = 4 * found.width
    starts = range(0, len(found.data), size) if size else ()
    return [Embedding(data=found.data[start : start + size]) for start in starts]


def _prediction(label: str, scores: Sequence[float], labels: Sequence[str]) -> Prediction:
    places = {name: place for place, name in enumerate(labels[: len(scores)])}
    if label not in places:
        raise Unsafe(f"The replica answers with {label!r:.80}, which is none of its labels.")
    return Prediction(label=label, scores=tuple(scores), probability=scores[places[label]])


def _predictions(found: Sequence[Result]) -> list[Prediction]:
    made = [one for one in found if isinstance(one, Prediction)]
    if len(made) != len(found):
        raise Unsafe(f"The replica answered with {type(found[0]).__name__}, not with classes.")
    return made


@contextmanager
def replica_sessions(
    served: Mapping[str, Path], *, threads: int = 1, device: str = "", start_seconds: float = 60.0
) -> Iterator[list[ReplicaSession]]:
    """Serve variants, each in a process of its own, while the body runs.

    Args:
        served: digest to folder; they start all at once.
        threads: compute threads of each.
        device: where they compute; empty leaves it to each variant.
        start_seconds: how long each may take until it is ready.

    Raises:
        Unavailable: a process did not become ready.
    """
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(_starting(folder, digest, threads, device))
            for digest, folder in served.items()
        ]
        for session in sessions:
            session.wait_ready(start_seconds)
        yield sessions


@contextmanager
def _starting(folder: Path, digest: str, threads: int, device: str) -> Iterator[ReplicaSession]:
    # A socket's path may have 107 bytes, and a home folder may be deep.
    place = Path(tempfile.mkdtemp(prefix="slipway-"))
    address, log = place / "replica", place / "log"
    command = replica_command(folder, digest, address, threads, device)
    command += ["--parent", str(os.getpid())]
    process = start("replica", command, env=inherited_by_serving(), log=log)
    try:
        session = ReplicaSession(process, address, log)
        try:
            yield session
        finally:
            session.close()
    finally:
        stop([process], grace=5)
        shutil.rmtree(place, ignore_errors=True)
