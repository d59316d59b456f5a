"""Other servers, each in an environment of its own, with the same model behind it.

`make bench-peers` makes the environments; the servers are small scripts of ours under `peers/`.
"""

import json
import os
import shutil
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from infra.files import tail
from infra.processes import Process, alive, marked, start, stop
from infra.settings import inherited_by_training
from tests.bench.asking import Target
from tests.bench.cores import ALL, ENGINE, ONE_THREAD, on

HERE = Path(__file__).parent / "peers"
ENVIRONMENTS = Path(__file__).parents[2] / "build" / "peers"
START_SECONDS = 120.0
MARK = "SLIPWAY_BENCH_PEER"

SILENT = {
    "DO_NOT_TRACK": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "RAY_USAGE_STATS_ENABLED": "0",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Nothing that is measured here may report to anybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a peer is run."""

    batch: int = 1
    """Most texts of a batch; 1 is no batching."""

    wait_ms: float = 5.0
    """For a batch to fill."""

    mode: str = ""
    """What else this peer may try, by its own script."""

    defaults: bool = False
    """As it ships."""

    def __str__(self) -> str:
        if self.defaults:
            return "as it ships"
        batched = f"batches of {self.batch}" if self.batch > 1 else "no batching"
        return f"{batched}, {self.mode}" if self.mode else batched


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another server."""

    name: str
    """Of its folders."""

    path: str
    """Where it is asked, `{batch}` in it."""

    body: Callable[[str, int], Mapping[str, Any]]
    """What it is sent for one text, by the size of batch."""

    read: Callable[[Any], Mapping[str, Any]]
    """Takes label and score out of its answer."""

    engines: tuple[str, ...] = ("openvino", "torch", "null")
    modes: tuple[str, ...] = ("",)
    polls: bool = False
    """Whether it looks for requests even where there are none, so that what waits beside what is
    measured takes part of the core."""

    @property
    def python(self) -> Path:
        """The interpreter of its environment, there or not."""
        return ENVIRONMENTS / self.name / ".venv" / "bin" / "python"

    @property
    def missing(self) -> str:
        """A sentence that says how to make it; empty where it is there."""
        if self.python.exists():
            return ""
        return f"{self.name} has no environment; make bench-peers makes it"

    def target(self, port: int, texts: Sequence[str], batch: int) -> Target:
        """Make requests for texts."""
        path = self.path.format(batch=batch)
        made = [http_post(path, self.body(text, batch)) for text in texts]
        return Target(port=port, requests=made)


def http_post(path: str, body: Mapping[str, Any], headers: Sequence[str] = ()) -> bytes:
    """Write a whole request."""
    plain = json.dumps(body, ensure_ascii=False).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        f"content-length: {len(plain)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + plain


def _v2(text: str, _batch: int) -> dict[str, Any]:
    one = {"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [text]}
    return {"inputs": [one | {"parameters": {"content_type": "str"}}]}


PEERS = (
    Peer(
        name="litserve",
        path="/{batch}",
        body=lambda text, _: {"text": text},
        read=lambda found: found,
        polls=True,
    ),
    Peer(
        name="mlserver",
        path="/v2/models/m{batch}/infer",
        body=_v2,
        read=lambda found: json.loads(found["outputs"][0]["data"][0]),
        modes=("", "inline"),
    ),
    Peer(
        name="bentoml",
        path="/{batch}",
        body=lambda text, batch: {"text": text} if batch == 1 else {"texts": [text]},
        read=lambda found: found[0] if isinstance(found, list) else found,
    ),
    Peer(
        name="rayserve",
        path="/{batch}",
        body=lambda text, _: {"text": text},
        read=lambda found: found,
    ),
    Peer(
        name="infinity",
        path="/classify",
        body=lambda text, _: {"model": "m1", "input": [text]},
        read=lambda found: found["data"][0][0],
        engines=("torch",),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A peer that serves."""

    peer: Peer
    port: int

    def target(self, texts: Sequence[str], batch: int = 1) -> Target:
        """Make requests for texts."""
        return self.peer.target(self.port, texts, batch)

    def ask(self, text: str, batch: int = 1) -> Mapping[str, Any]:
        """Ask for one text; gives label and score.

        Raises:
            OSError: it does not answer, or not with 200.
        """
        path, body = self.peer.path.format(batch=batch), self.peer.body(text, batch)
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310 (loopback)
            return self.peer.read(json.load(answer))


@contextmanager
def standing(
    peer: Peer,
    engine: str,
    folder: Path | None,
    *,
    batches: Sequence[int] = (1,),
    setting: Setting | None = None,
) -> Iterator[Standing]:
    """Run a peer while the body runs, ready to answer; nothing of it is left.

    Args:
        peer: that has an environment.
        engine: `openvino`, `torch` or `null`.
        folder: of the model.
        batches: sizes of batch, each under a path of its own.
        setting: the rest of how it is run.

    Raises:
        RuntimeError: it did not come up; with its last words.
    """
    how = setting or Setting()
    scratch = Path(tempfile.mkdtemp(prefix="peer-"))
    ports = _free_ports(3)
    command = [
        *(str(peer.python), str(HERE / peer.name / "serve.py"), "--port", str(ports[0])),
        *("--spare-ports", ",".join(map(str, ports[1:])), "--engine", engine),
        *("--core", str(ENGINE), "--batches", ",".join(map(str, batches))),
        *("--wait-ms", str(how.wait_ms), "--mode", how.mode, "--scratch", str(scratch)),
        *(["--folder", str(folder)] if folder else []),
        *(["--defaults"] if how.defaults else []),
    ]
    mark = uuid4().hex
    env = inherited_by_training(**SILENT, **ONE_THREAD, **{MARK: mark, "PATH": _path(peer)})
    # Whatever takes its requests may use both cores; its own script keeps what computes on one.
    with on(*ALL):
        process = start(peer.name, command, env=env, log=scratch / "log", cwd=scratch)
    try:
        made = Standing(peer=peer, port=ports[0])
        for batch in batches:
            _wait(made, batch, process, scratch / "log")
        yield made
    finally:
        stop([process], grace=8)
        stop(marked(MARK, mark), grace=3)
        shutil.rmtree(scratch, ignore_errors=True)


def _path(peer: Peer) -> str:
    return f"{peer.python.parent}{os.pathsep}{inherited_by_training().get('PATH', '')}"


def _wait(made: Standing, batch: int, process: Process, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            made.ask("is it there", batch)
        except (OSError, urllib.error.URLError, ValueError, KeyError) as error:
            words = " ".join(tail(log, 4))
            if not alive(process):
                raise RuntimeError(f"{made.peer.name} ended: {words[-400:]}") from error
            if time.monotonic() > deadline:
                said = f"{made.peer.name} did not answer in {START_SECONDS:g} s ({error}): {words}"
                raise RuntimeError(said[-500:]) from error
            time.sleep(0.2)
        else:
            return


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
