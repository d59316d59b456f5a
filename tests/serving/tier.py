"""A serving tier without an agent: the test itself writes snapshots and starts processes."""

import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from infra.processes import Process, alive, start, stop
from infra.settings import inherited
from release.routes import Route, Routes
from release.variants import Variant
from serving.client import replica_command
from serving.gateway.outputs import CLASSIFIES, EMBEDS, TAGS
from serving.gateway.snapshot import Snapshot
from tests.fakes.wire_replica import variant as fake_variant

URL = "/v2/models/{}/infer"


def body(*texts: str) -> dict[str, Any]:
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
    return {"inputs": [tensor]}


def until(true: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until something is so, and give it."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
    return found


@dataclass
class Tier:
    folder: Path
    locate: Callable[[Variant], Path]
    grpc: str = ""
    """Where gRPC shall be served; `address` is where it is."""

    open: bool = True
    """Whether nobody is asked who they are."""

    recording: tuple[str, ...] = ()
    """What the gateway is told to record, such as `--capture full`."""

    number: int = 0
    routes: dict[str, Route] = field(default_factory=dict)
    replicas: dict[str, Process] = field(default_factory=dict)
    more: dict[str, list[str]] = field(default_factory=dict)
    """Addresses of further replicas, by digest."""

    processes: list[Process] = field(default_factory=list)
    gateway: Process | None = None
    listening: socket.socket | None = None
    client: httpx.Client | None = None

    def __post_init__(self) -> None:
        self.sockets = Path(tempfile.mkdtemp(prefix="slipway-test-"))

    def replica(self, variant: Variant) -> Process:
        """Start a variant's replica; its address is told with the next snapshot."""
        address = self.sockets / variant.digest[-12:]
        command = replica_command(self.locate(variant), variant.digest, address, 1)
        process = start("replica", command, env=inherited(), log=self.folder / "replica.log")
        self.replicas[variant.digest] = process
        self.processes.append(process)
        return process

    def beside(self, variant: Variant, *command: str) -> Process:
        """Start another process that calls itself a replica of a variant.

        Args:
            variant: which.
            command: arguments of Python; `{address}` stands for where it is to listen.
        """
        mine = self.more.setdefault(variant.digest, [])
        address = str(self.sockets / f"{variant.digest[-12:]}-{len(mine)}")
        mine.append(address)
        named = [sys.executable, *(part.format(address=address) for part in command)]
        process = start("beside", named, env=inherited(), log=self.folder / "beside.log")
        self.processes.append(process)
        return process

    def fake(self, variant: Variant, task: str) -> Process:
        """Start a replica that has no model: quick, and of any task."""
        address = str(self.sockets / variant.digest[-12:])
        command = [sys.executable, "-m", "tests.fakes.wire_replica", address, variant.digest, task]
        process = start("replica", command, env=inherited(), log=self.folder / "replica.log")
        self.replicas[variant.digest] = process
        self.processes.append(process)
        return process

    def serve(self, *routes: Route) -> None:
        """Publish routes, and start the gateway if there is none."""
        self.number += 1
        self.routes |= {route.endpoint: route for route in routes}
        addresses = {
            digest: (str(self.sockets / digest[-12:]), *self.more.get(digest, []))
            for digest in self.replicas
        }
        snapshot = Routes(number=self.number, routes=self.routes)
        Snapshot(routes=snapshot, replicas=addresses).save(self.folder)
        if self.gateway is None:
            self.start_gateway()
        until(lambda: self.status()["number"] == self.number)

    def start_gateway(self) -> None:
        if self.listening is None:
            self.listening = socket.socket()
            self.listening.bind(("127.0.0.1", 0))
            self.listening.listen(512)
        if self.client is not None:
            self.client.close()
        url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.client = httpx.Client(base_url=url, timeout=20)
        fd = self.listening.fileno()
        command = [
            *(sys.executable, "-m", "serving.gateway.main", "--fd", str(fd), "--name", "test/g1"),
            *("--folder", str(self.folder), "--status", str(self.sockets / "status")),
            *("--journal", str(self.folder / "journal")),
            *(("--grpc", self.grpc) if self.grpc else ()),
            *(("--open",) if self.open else ("--pepper", str(self.folder / "pepper"))),
            *self.recording,
        ]
        log = self.folder / "gateway.log"
        self.gateway = start("gateway", command, env=inherited(), log=log, pass_fds=[fd])
        self.processes.append(self.gateway)

    def warm(self, *variants: Variant) -> None:
        """Wait until the gateway reaches replicas of these."""
        for variant in variants:
            path = f"/v2/models/{variant.model}/versions/{variant.version}/ready"
            while self.get(path).status_code != httpx.codes.OK:
                time.sleep(0.02)

    def get(self, path: str) -> httpx.Response:
        assert self.client is not None
        return self.client.get(path)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/-/status").json()
        return found

    def ask(self, *texts: str, model: str = "tiny", **headers: str) -> httpx.Response:
        assert self.client is not None
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(URL.format(model), json=body(*texts), headers=named)

    def versions(self, keys: Iterable[str], text: str = "the word alpha") -> list[int]:
        """Ask once for each key; give the versions that answered."""
        answers = [self.ask(text, x_slipway_key=key) for key in keys]
        assert [one.status_code for one in answers] == [200] * len(answers)
        return [int(one.headers["x-slipway-version"]) for one in answers]

    def address(self) -> str:
        """Where the gateway serves gRPC."""
        found: str = self.status()["grpc"]
        return found

    def kill(self, process: Process) -> None:
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: not alive(process))

    def stop(self) -> None:
        if self.client is not None:
            self.client.close()
        stop(self.processes, grace=10)
        if self.listening is not None:
            self.listening.close()
        for path in self.sockets.iterdir():
            path.unlink()
        self.sockets.rmdir()


def labels(answer: httpx.Response) -> list[str]:
    outputs = json.loads(answer.text)["outputs"]
    found: list[str] = next(one["data"] for one in outputs if one["name"] == "label")
    return found


def three_tasks(folder: Path) -> Tier:
    """Serve a classifier, a tagger and an embedder without models, over HTTP and gRPC."""
    tier = Tier(folder=folder, locate=lambda _: folder, grpc="127.0.0.1:0")
    served = {CLASSIFIES: "classifier", TAGS: "tagger", EMBEDS: "embedder"}
    variants = []
    for number, (task, name) in enumerate(served.items(), 1):
        variants.append(fake_variant(number, name))
        tier.fake(variants[-1], task)
    tier.serve(*(Route(endpoint=one.model, generation=1, stable=one) for one in variants))
    tier.warm(*variants)
    return tier
