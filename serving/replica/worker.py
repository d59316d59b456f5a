"""The replica process: verify, load, warm, answer, drain."""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from infra.settings import silence_telemetry
from release.errors import SlipwayError, Unsafe
from release.variants import Manifest
from serving.replica.address import Address
from serving.replica.batching import Job, Scheduler
from serving.replica.engines import Engine, Tokens, load, translating
from serving.replica.messages import (
    Answer,
    Ask,
    Cancel,
    Infer,
    Kind,
    Load,
    Problem,
    Question,
    Status,
    read_question,
)
from serving.replica.verify import verify
from serving.replica.wire import Frames

UNFIT = 3
"""Exit code of a variant that cannot be verified or loaded."""

DRAIN_SECONDS = 10.0


@dataclass(slots=True)
class Replica:
    """One variant, served."""

    manifest: Manifest
    scheduler: Scheduler | None = None
    """None until the model is loaded and warm."""

    peers: set["Peer"] = field(default_factory=set)

    def status(self, number: int) -> Status:
        """Say how it is."""
        return Status(
            id=number,
            digest=self.manifest.digest,
            ready=self.scheduler is not None and self.scheduler.alive,
            pid=os.getpid(),
            task=self.manifest.task,
            labels=list(self.manifest.labels),
            longest_input=self.manifest.longest_input,
            load=Load(
                queued_texts=self.scheduler.queued if self.scheduler else 0,
                memory_bytes=int(psutil.Process().memory_info().rss),
            ),
        )


class Peer:
    """One connection of a gateway."""

    def __init__(self, replica: Replica, loop: asyncio.AbstractEventLoop) -> None:
        self._replica = replica
        self._loop = loop
        self._jobs: dict[int, Job] = {}
        self.frames = Frames(self._heard, self._lost)
        replica.peers.add(self)

    def _heard(self, body: bytes) -> None:
        try:
            question = read_question(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.frames.send(Problem(id=0, kind=Kind.INVALID, message=f"Not a frame: {error}."))
            self.frames.close()
            return
        self._take(question)

    def _take(self, question: Question) -> None:
        match question:
            case Ask():
                self.frames.send(self._replica.status(question.id))
            case Cancel():
                if job := self._jobs.pop(question.id, None):
                    job.cancelled = True
            case Infer():
                self._infer(question)

    def _infer(self, question: Infer) -> None:
        if not question.texts:
            said = Problem(id=question.id, kind=Kind.INVALID, message="There is no text.")
            self.frames.send(said)
            return
        if self._replica.scheduler is None:
            said = Problem(id=question.id, kind=Kind.NOT_READY, message="The model is loading.")
            self.frames.send(said)
            return
        job = Job(
            id=question.id,
            texts=question.texts,
            deadline=time.monotonic() + question.budget_ms / 1e3,
            answer=self._answer_soon,
        )
        self._jobs[question.id] = job
        if refused := self._replica.scheduler.submit(job):
            self._answer(refused)

    def _answer_soon(self, reply: Answer | Problem) -> None:
        with suppress(RuntimeError):  # the loop may have ended while the engine was computing
            self._loop.call_soon_threadsafe(self._answer, reply)

    def _answer(self, reply: Answer | Problem) -> None:
        if self._jobs.pop(reply.id, None) is not None:
            self.frames.send(reply)

    def _lost(self) -> None:
        self._replica.peers.discard(self)
        for job in self._jobs.values():
            job.cancelled = True
        self._jobs.clear()


async def serve(
    folder: Path, manifest: Manifest, address: Address, threads: int, parent: int = 0
) -> None:
    """Listen at once, load, and answer until SIGTERM; then finish what is under way.

    With a parent's pid, its death is as good as SIGTERM.

    Raises:
        Unsafe: the variant cannot be loaded.
        Unavailable: its engine is not installed.
    """
    loop = asyncio.get_running_loop()
    replica = Replica(manifest)
    stopping = asyncio.Event()
    for told in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(told, stopping.set)
    server = await address.listen(lambda: Peer(replica, loop).frames)
    started = time.monotonic()
    loading = asyncio.create_task(asyncio.to_thread(_load, folder, manifest, threads))
    waiting = asyncio.create_task(stopping.wait())
    watching = asyncio.create_task(_follow(parent, stopping))
    await asyncio.wait({loading, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        try:
            replica.scheduler = loading.result()
        except SlipwayError:
            address.forget()
            raise
        _say(f"ready after {time.monotonic() - started:.1f} s")
        await waiting
    watching.cancel()
    server.close()
    if replica.scheduler is not None:
        await asyncio.to_thread(replica.scheduler.drain, DRAIN_SECONDS)
    await asyncio.sleep(0)
    for peer in list(replica.peers):
        peer.frames.close()
    address.forget()
    _say("stopped")


async def _follow(parent: int, stopping: asyncio.Event) -> None:
    """End with the process that asked for us, where that is how it was meant."""
    while parent and os.getppid() == parent:
        await asyncio.sleep(0.5)
    if parent:
        stopping.set()


def _load(folder: Path, manifest: Manifest, threads: int) -> Scheduler:
    with translating(f"{manifest.recipe} in {folder}"):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tokens = Tokens(folder, config, manifest.longest_input, manifest.rows)
        engine = load(folder, manifest, threads)
        _warm(engine, tokens, len(manifest.labels))
    return Scheduler(engine, tokens, manifest.labels)


def _warm(engine: Engine, tokens: Tokens, labels: int) -> None:
    """Ask once for each shape, so that no request pays for the first time."""
    for inputs in tokens.probes():
        found = engine.predict(inputs)[:1]
        if found.shape != (1, labels):
            said = f"The model gives logits of shape {found.shape}, not (1, {labels})."
            raise Unsafe(said, "the manifest names one label for each")


def _say(what: str) -> None:
    sys.stderr.write(f"replica {os.getpid()} {what}\n")
    sys.stderr.flush()


def main() -> int:
    """Serve one variant until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", type=Path, required=True, help="folder of the variant")
    parser.add_argument("--digest", required=True, help="content digest that was approved")
    parser.add_argument("--listen", required=True, help="path of a Unix socket, or tcp://host:port")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parent", type=int, default=0, help="pid of whom to end with")
    given = parser.parse_args()
    silence_telemetry()
    try:
        manifest = verify(given.variant, given.digest)
        address = Address.parse(given.listen)
        asyncio.run(serve(given.variant, manifest, address, given.threads, given.parent))
    except SlipwayError as error:
        _say(f"is unfit: {error}")
        return UNFIT
    return 0


if __name__ == "__main__":
    # The engine's threads may outlive a drain that ran out of time; nobody waits for them.
    code = main()
    sys.stderr.flush()
    os._exit(code)
