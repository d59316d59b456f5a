"""The replica process: verify, load, warm, answer, drain."""

import argparse
import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil
import uvloop

from infra.settings import silence_telemetry
from release.errors import SlipwayError
from release.variants import Manifest
from serving.replica.address import Address
from serving.replica.batching import Scheduler
from serving.replica.jobs import Job
from serving.replica.loading import How, schedule
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
    TooLong,
    read_question,
)
from serving.replica.tuning import Aim
from serving.replica.verify import verify
from serving.replica.wire import Frames

T = TypeVar("T")

UNFIT = 3
"""Exit code of a variant that cannot be verified or loaded."""

DRAIN_SECONDS = 10.0

PROCESS = psutil.Process()

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter while another waits for it. The default is ten times
that; a batch would wait as long before it begins."""


@dataclass(slots=True)
class Replica:
    """One variant, served."""

    manifest: Manifest
    scheduler: Scheduler | None = None
    """None until the model is loaded and warm."""

    peers: set["Peer"] = field(default_factory=set)

    def status(self, number: int) -> Status:
        """Say how it is."""
        took = PROCESS.cpu_times()
        load = self.scheduler.load() if self.scheduler else Load()
        return Status(
            id=number,
            digest=self.manifest.digest,
            ready=self.scheduler is not None and self.scheduler.alive,
            pid=os.getpid(),
            task=self.manifest.task,
            labels=list(self.manifest.labels),
            longest_input=self.manifest.longest_input,
            width=self.manifest.width,
            load=msgspec.structs.replace(
                load,
                memory_bytes=int(PROCESS.memory_info().rss),
                cpu_seconds=took.user + took.system,
            ),
        )


class Peer:
    """One connection of a gateway."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
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
        if bool(question.texts) == bool(question.ids):
            one = "There are both texts and ids." if question.texts else "There is no text."
            self.frames.send(Problem(id=question.id, kind=Kind.INVALID, message=one))
            return
        if self._replica.scheduler is None:
            said = Problem(id=question.id, kind=Kind.NOT_READY, message="The model is loading.")
            self.frames.send(said)
            return
        job = Job(
            id=question.id,
            texts=question.texts,
            ids=question.ids,
            deadline=time.monotonic() + question.budget_ms / 1e3,
            answer=self._answer,
        )
        self._jobs[question.id] = job
        if refused := self._replica.scheduler.submit(job):
            self._answer(refused)

    def _answer(self, reply: Answer | Problem) -> None:
        if self._jobs.pop(reply.id, None) is None:
            return
        try:
            self.frames.send(reply)
        except TooLong as error:
            self.frames.send(Problem(id=reply.id, kind=Kind.TOO_LONG, message=str(error)))

    def _lost(self) -> None:
        self._replica.peers.discard(self)
        for job in self._jobs.values():
            job.cancelled = True
        self._jobs.clear()


async def serve(
    folder: Path, manifest: Manifest, address: Address, how: How, parent: int = 0
) -> None:
    """Listen at once, load, and answer until SIGTERM; then finish what is under way.

    With a parent's pid, its death is as good as SIGTERM.

    Raises:
        Unsafe: the variant cannot be loaded.
        Unavailable: its engine or its device is not there.
    """
    loop = asyncio.get_running_loop()
    replica = Replica(manifest)
    stopping = asyncio.Event()
    for told in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(told, stopping.set)
    server = await address.listen(lambda: Peer(replica).frames)
    mine = address.mark()
    started = time.monotonic()

    def hand(work: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop may have ended while the engine was computing
            loop.call_soon_threadsafe(work)

    loading = _aside(lambda: schedule(folder, manifest, how, _say, hand))
    waiting = asyncio.create_task(stopping.wait())
    watching = asyncio.create_task(_follow(parent, stopping))
    either: set[asyncio.Future[Any]] = {loading, waiting}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        try:
            replica.scheduler = loading.result()
        except SlipwayError:
            address.forget(mine)
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
    address.forget(mine)
    _say("stopped")


def _aside(work: Callable[[], T]) -> asyncio.Future[T]:
    """Do something in a thread that nobody joins: who is told to stop does not wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(settle: Callable[[Any], None], what: object) -> None:
        with suppress(RuntimeError):  # the loop may have ended meanwhile
            loop.call_soon_threadsafe(settle, what)

    def run() -> None:
        try:
            found = work()
        except BaseException as error:  # whoever waits is told
            tell(done.set_exception, error)
        else:
            tell(done.set_result, found)

    threading.Thread(target=run, name="load", daemon=True).start()
    return done


async def _follow(parent: int, stopping: asyncio.Event) -> None:
    """End with the process that asked for us, where that is how it was meant."""
    while parent and os.getppid() == parent:
        await asyncio.sleep(0.5)
    if parent:
        stopping.set()


def _say(what: str) -> None:
    sys.stderr.write(f"replica {os.getpid()} {what}\n")
    sys.stderr.flush()


def wake_gently() -> None:
    """Let no thread of this process stop another that computes just because it woke.

    Requests that come while a batch is computed are then taken in few turns instead of one each,
    and a gateway on the same core goes first. Without this, every request costs the batch its
    caches. Where a core is idle nothing changes.
    """
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) == os.SCHED_OTHER:
        # Where that is not allowed, everything works as well, only not as fast.
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def main() -> int:
    """Serve one variant until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", type=Path, required=True, help="folder of the variant")
    parser.add_argument("--digest", required=True, help="content digest that was approved")
    parser.add_argument("--listen", required=True, help="path of a Unix socket, or tcp://host:port")
    parser.add_argument("--threads", type=int, default=1, help="that compute, in all")
    parser.add_argument("--tune", type=Aim, choices=list(Aim), default=Aim.THROUGHPUT)
    parser.add_argument("--device", default="", help="such as cpu, cuda or GPU")
    parser.add_argument("--parent", type=int, default=0, help="pid of whom to end with")
    given = parser.parse_args()
    silence_telemetry()
    sys.setswitchinterval(SWITCH_SECONDS)
    wake_gently()
    how = How(threads=max(1, given.threads), aim=given.tune, device=given.device)
    try:
        manifest = verify(given.variant, given.digest)
        address = Address.parse(given.listen)
        uvloop.run(serve(given.variant, manifest, address, how, given.parent))
    except SlipwayError as error:
        _say(f"is unfit: {error}")
        return UNFIT
    return 0


if __name__ == "__main__":
    # The engine's threads may outlive a drain that ran out of time; nobody waits for them.
    code = main()
    sys.stderr.flush()
    os._exit(code)
