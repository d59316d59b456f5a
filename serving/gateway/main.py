"""A gateway process: follows the snapshot on disk, serves until SIGTERM, then drains."""

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.callers.loopback import is_loopback
from infra.calls.checkpoints import Signer
from infra.calls.vault import Vault
from infra.troubles import Troubles, plain
from release.callers import Capture, Recording, WhenFull
from release.errors import SlipwayError
from serving.gateway.amiss import amiss
from serving.gateway.app import Gateway
from serving.gateway.callers import Callers
from serving.gateway.connections import Server, configured
from serving.gateway.dispatch import Dispatcher
from serving.gateway.metrics import Metrics
from serving.gateway.pages import About
from serving.gateway.pool import Pool, Standing
from serving.gateway.presence import present
from serving.gateway.recording import CallRecorder
from serving.gateway.siblings import Siblings
from serving.gateway.snapshot import Watch
from serving.gateway.standing import Anchoring, Recorded
from serving.gateway.table import Table
from serving.journal import JournalWriter
from serving.keeping import Keeper

LOOK_SECONDS = 0.05
SECRETS_SECONDS = 1.0
"""How often it is looked whether the secrets are there."""

TROUBLED_SECONDS = 1.0
"""Instead, where a look failed: its log must not fill the disk."""


@dataclass(slots=True, kw_only=True)
class Process:
    """The parts of one gateway process."""

    name: str
    watch: Watch
    keeper: Keeper
    recorder: CallRecorder
    callers: Callers
    table: Table = field(default_factory=Table)
    pool: Pool = field(default_factory=Pool)
    troubles: Troubles = field(default_factory=Troubles)
    grpc: str = ""
    """Where gRPC is served, HOST:PORT; empty where it is not."""

    draining: Callable[[], bool] = lambda: False
    """Whether it was told to end, and finishes what it has."""

    def status(self) -> dict[str, Any]:
        """Say what is served here."""
        current = self.watch.current
        self.troubles.keep(amiss(self.table, self.pool, self.recorder, self.callers))
        return {
            "gateway": self.name,
            "pid": os.getpid(),
            "grpc": self.grpc,
            "draining": self.draining(),
            "number": current.routes.number if current else 0,
            "broken_snapshots": self.watch.broken,
            "troubles": plain(self.troubles.all()),
            "calls": self.keeper.as_json(),
            "callers": self.callers.as_json(),
            "endpoints": [one.as_json() for one in self.table.endpoints.values()],
            "replicas": {
                digest: [_standing(one) for one in mine]
                for digest, mine in self.pool.standing().items()
            },
        }

    def follow(self) -> None:
        """Take the snapshots, if they are new."""
        self.callers.look()
        self.follow_routes()

    def follow_routes(self) -> None:
        """Take the routes and replicas' addresses, if they are new."""
        if self.watch.look() and (current := self.watch.current):
            self.table.take(current.routes.routes)
            self.pool.follow(current.replicas)

    async def look(self) -> None:
        """Look whether what is kept of calls can be sealed."""
        await self.recorder.look(list(self.table.endpoints))

    async def keep_looking(self) -> None:
        """Look for ever: a secret that is lost is told before a call needs it."""
        while True:
            await asyncio.sleep(SECRETS_SECONDS)
            try:
                await self.look()
            except Exception as error:  # whatever it was
                sys.stderr.write(f"gateway: secrets could not be looked for: {error!r}\n")

    async def keep_following(self) -> None:
        """Look for ever; close windows of the journal as they come due."""
        steps = (
            self.callers.look,
            self.follow_routes,
            self.keeper.tick,
            self.recorder.unproven.tick,
        )
        while True:
            # Each by itself: whatever hinders one must not keep the others from their work.
            done = [_tried(one) for one in steps]
            await asyncio.sleep(LOOK_SECONDS if all(done) else TROUBLED_SECONDS)


def _tried(step: Callable[[], object]) -> bool:
    """Do a step; where it fails, say so. What was at hand before is served on."""
    try:
        step()
    except Exception as error:  # whatever it was
        sys.stderr.write(f"gateway: {step.__qualname__} failed: {error!r}\n")
        return False
    return True


@dataclass(slots=True)
class Ending:
    """Whether this process was told to end, from its first moment on."""

    told: bool = False
    server: Server | None = None

    def tell(self, _signal: int = 0, _frame: object = None) -> None:
        """Note SIGTERM; a server that is still starting ends as soon as it serves."""
        self.told = True
        if self.server is not None:
            self.server.should_exit = True

    def ends(self, server: Server) -> None:
        """Name the server that is to end, at once where that was asked for already."""
        self.server = server
        server.should_exit |= self.told


async def serve(given: argparse.Namespace, ending: Ending) -> None:
    """Serve on the socket that the agent holds."""
    secrets = given.secrets or given.journal.parent / "secrets" / "calls"
    keeper = Keeper(JournalWriter(given.journal, given.name), Signer(secrets, given.journal))
    callers = Callers(
        given.folder,
        given.pepper,
        open_to_all=given.open,
        fallback=_recording(given),
        place=given.place,
    )
    recorder = CallRecorder(keeper, Vault(secrets, given.journal), callers.policy)
    watch = Watch(given.folder)
    process = Process(
        name=given.name, watch=watch, keeper=keeper, recorder=recorder, callers=callers
    )
    table, pool = process.table, process.pool
    metrics = Metrics(table, lambda arm: pool.status(arm.digest) is not None, pool.standing)
    metrics.registry.register(Recorded(keeper, lambda: len(recorder.unsealed())))
    metrics.registry.register(Anchoring(given.folder))
    dispatcher = Dispatcher(pool, recorder, metrics)
    siblings = Siblings(given.name, given.status, metrics.render)
    about = About(status=process.status, metrics=siblings.collect)
    app = Gateway(table, pool, dispatcher, metrics, about, recorder, callers)
    process.follow()
    await process.look()
    work = (process.keep_following(), process.keep_looking(), keeper.run())
    beside = [asyncio.create_task(one) for one in work]
    given.status.unlink(missing_ok=True)
    local = await asyncio.start_unix_server(_tell(process), str(given.status))
    await siblings.listen()
    server = Server(configured(app))
    ending.ends(server)
    process.draining = lambda: server.should_exit
    if given.grpc:
        # Imported here: a gateway that serves none is spared 12 MB.
        from serving.gateway.grpc.server import GrpcServer

        other = await GrpcServer.start(
            given.grpc, table, pool, dispatcher, metrics, recorder, callers
        )
        process.grpc, server.drain_too = other.address, other.stop
    listening = socket.socket(fileno=given.fd)
    try:
        await server.serve(sockets=[listening])
    finally:
        await dispatcher.close()
        await recorder.close()
        for one in beside:
            one.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        siblings.close()
        local.close()
        given.status.unlink(missing_ok=True)
        process.pool.close()
        await keeper.close()


def _seen_from_outside(given: argparse.Namespace) -> str:
    """Say why this gateway cannot be open to all; empty where it can."""
    with socket.socket(fileno=os.dup(given.fd)) as listening:
        host = str(listening.getsockname()[0])
    hosts = (host, given.grpc.rpartition(":")[0]) if given.grpc else (host,)
    if outside := [one for one in hosts if not is_loopback(one)]:
        return f"it would be open to all at {outside[0]}, and may be on loopback alone."
    return ""


def _recording(given: argparse.Namespace) -> Recording:
    return Recording(
        capture=Capture(given.capture),
        sample=given.sample,
        strict=given.strict,
        when_full=WhenFull(given.when_full),
    )


def _standing(one: Standing) -> dict[str, Any]:
    plain = {"number": one.number, "ready": one.ready, "outstanding": one.outstanding}
    return {**plain, "trouble": one.trouble}


def _tell(process: Process) -> Any:
    """Answer whoever connects to the local socket with the status, as JSON."""

    async def told(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(json.dumps(process.status()).encode())
            await writer.drain()
        writer.close()

    return told


def main() -> int:
    """Run one gateway."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="listening socket, inherited")
    parser.add_argument("--name", required=True, help="such as host/g1")
    parser.add_argument("--folder", type=Path, required=True, help="where routes.json lies")
    parser.add_argument(
        "--status", type=Path, required=True, help="local socket that tells how it is"
    )
    parser.add_argument("--journal", type=Path, required=True, help="folder of journals")
    parser.add_argument("--secrets", type=Path, help="folder of the call record's secrets")
    parser.add_argument("--pepper", type=Path, help="file of the pepper that keys are kept under")
    parser.add_argument(
        "--place", type=int, default=0, help="which of its host's gateways this is, from 0 on"
    )
    parser.add_argument(
        "--open", action="store_true", help="ask nobody who they are; loopback only"
    )
    parser.add_argument("--capture", default="none", choices=[one.value for one in Capture])
    parser.add_argument("--sample", type=float, default=1.0, help="part of payloads kept, 0..1")
    parser.add_argument("--strict", action="store_true", help="answer once a line is on the disk")
    parser.add_argument("--when-full", default="refuse", choices=[one.value for one in WhenFull])
    parser.add_argument("--grpc", default="", metavar="HOST:PORT", help="serve gRPC there as well")
    given = parser.parse_args()
    if given.open and (said := _seen_from_outside(given)):
        sys.stderr.write(f"gateway: {said}\n")
        return 2
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    # The server drains on SIGTERM and then raises it again for whoever had it before: somebody whom
    # it does not end, so that the journal is closed.
    ending = Ending()
    signal.signal(signal.SIGTERM, ending.tell)
    import uvloop

    try:
        with present(given.folder):
            uvloop.run(serve(given, ending))
    except KeyboardInterrupt:
        return 0
    except SlipwayError as error:
        sys.stderr.write(f"gateway: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
