"""Requests that nobody would send who means well, over real sockets, to a gateway that must live.

Each driver sends one request that hypothesis made, and fails where the answer is a server's fault.
"""

import http.client
import json
import re
import select
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from infra.settings import inherited_by_training
from tests.faults.malformed import (
    BODIES,
    CALLS,
    FRAMES,
    HEADERS,
    KNOWN_BODIES,
    KNOWN_PATHS,
    LIES,
    MESSAGES,
    POSTS,
    RAW,
)
from tests.serving.tier import Tier, body

DECLARED = {501, 503}
"""Statuses of a server that are no fault: not served, and not just now."""

FAULTS = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
ANSWER = re.compile(rb"HTTP/1\.1 (\d{3})")
LIMIT_SECONDS = 10.0
DEADLINE = "x-slipway-deadline-ms"


@dataclass
class Attack:
    """Sends what it is given, and counts."""

    tier: Tier
    sent: int = 0
    answers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.tier.client is not None and self.tier.gateway is not None
        self.url = self.tier.client.base_url
        self.process = psutil.Process(self.tier.gateway.pid)
        self.born = self.process.create_time()
        self.grpc = self.tier.address()
        self.channel = grpc.insecure_channel(self.grpc)
        self.plain = self._connection()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.url.host, self.url.port, timeout=LIMIT_SECONDS)

    def _heard(self, status: int, *, hurried: bool = False) -> None:
        """Count an answer; who gives a millisecond may be told that it was too short."""
        self.answers[str(status)] = self.answers.get(str(status), 0) + 1
        fine = status < 500 or status in DECLARED or (status == 504 and hurried)
        assert fine, status

    def post(self, path: str, content: bytes, headers: dict[str, str]) -> None:
        """Send something over HTTP that is well-formed as such."""
        self.sent += 1
        coded = {name: value.encode("latin-1") for name, value in headers.items()}
        try:
            self.plain.request("POST", path, body=content, headers=coded)
            answer = self.plain.getresponse()
            answer.read()
        except (http.client.HTTPException, ConnectionError):
            # Whatever was wrong with that connection, the next must be served.
            self.plain.close()
            self.plain = self._connection()
            return
        self._heard(answer.status, hurried=DEADLINE in headers)
        if answer.will_close:
            self.plain.close()

    def raw(self, content: bytes) -> None:
        """Send bytes to the HTTP port, whatever they are."""
        self.sent += 1
        found = _exchanged((self.url.host, self.url.port or 0), content)
        for status in ANSWER.findall(found):
            self._heard(int(status))

    def frames(self, content: bytes) -> None:
        """Send bytes to the gRPC port, whatever they are."""
        self.sent += 1
        host, _, port = self.grpc.rpartition(":")
        _exchanged((host, int(port)), content)

    def call(self, method: tuple[str, str], content: bytes) -> None:
        """Call a method over gRPC with a message that may be none."""
        self.sent += 1
        call = self.channel.unary_unary("/{}/{}".format(*method))
        try:
            call(content, timeout=LIMIT_SECONDS)
        except grpc.RpcError as error:
            name = error.code().name
            self.answers[name] = self.answers.get(name, 0) + 1
            if error.code() in FAULTS:
                raise AssertionError(error) from error

    def alive(self) -> None:
        """The same process still answers everybody else."""
        assert self.process.is_running() and self.process.create_time() == self.born
        assert self.tier.client is not None
        for name in ("classifier", "tagger", "embedder"):
            answer = self.tier.client.post(f"/v2/models/{name}/infer", json=body("has beta"))
            assert answer.status_code == 200, answer.text
        assert self.tier.status()["pid"] == self.process.pid

    def memory(self) -> int:
        """Bytes that the gateway takes."""
        found: int = self.process.memory_info().rss
        return found

    def close(self) -> None:
        self.plain.close()
        self.channel.close()


def _exchanged(address: tuple[str, int], content: bytes) -> bytes:
    """Send bytes, give what comes back; say that no more will follow once an answer begins."""
    found = b""
    line = socket.create_connection(address, timeout=LIMIT_SECONDS)
    # A reset is an answer too, and the next connection must be served.
    with line, suppress(ConnectionError):
        line.sendall(content)
        select.select([line], [], [], 0.02)
        with suppress(OSError):
            line.shutdown(socket.SHUT_WR)
        while part := line.recv(65_536):
            found += part
    return found


def many(count: int, work: Callable[..., None], **strategies: st.SearchStrategy[Any]) -> None:
    """Do some work with as many examples, the same each time."""
    ready = settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    ready(given(**strategies)(work))()


def attack(tier: Tier, count: int) -> Attack:
    """Send so many requests of every kind, and the worst that is known besides."""
    here = Attack(tier)
    try:
        _attack(here, count)
    finally:
        here.close()
    return here


def _attack(here: Attack, count: int) -> None:
    for path in POSTS:
        for content in KNOWN_BODIES:
            here.post(path, content, {})
    for path in KNOWN_PATHS:
        here.raw(f"GET {path} HTTP/1.1\r\nhost: gateway\r\n\r\n".encode())
    kinds: list[tuple[float, Callable[..., None], dict[str, st.SearchStrategy[Any]]]] = [
        (
            *(0.3, here.post),
            {"path": st.sampled_from(POSTS), "content": BODIES, "headers": HEADERS},
        ),
        (
            *(0.15, lambda path, lying: here.post(path, *lying)),
            {"path": st.sampled_from(POSTS[:3]), "lying": LIES},
        ),
        (0.3, here.raw, {"content": RAW}),
        (
            *(0.2, here.call),
            {
                "method": st.sampled_from(
                    [(service, one) for service, them in CALLS.items() for one in them]
                ),
                "content": MESSAGES,
            },
        ),
        (0.05, here.frames, {"content": FRAMES}),
    ]
    for share, work, strategies in kinds:
        many(round(share * count), work, **strategies)
        here.alive()


CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance", "unsupported_method"),
)


def schemathesis(program: Path, tier: Tier, folder: Path, examples: int) -> int:
    """Let schemathesis hold the gateway against its own document; give how much it sent.

    Args:
        program: `st`, from the clients' environment.
        tier: what is asked.
        folder: where the document and the report are put.
        examples: for each address.
    """
    assert tier.client is not None
    document = tier.client.get("/openapi.json").json()
    # Names that exist, mostly: else all it ever meets is 404.
    there = {"enum": ["classifier", "tagger", "embedder"]}
    parameters = document["components"]["parameters"]
    parameters["ModelPath"]["schema"] = parameters["EndpointPath"]["schema"] = there
    parameters["VersionPath"]["schema"] = {"enum": ["1", "2", "3"]}
    # A deadline of a millisecond is missed rightly, which is a 504 that it would hold against us.
    for operation in (one for path in document["paths"].values() for one in path.values()):
        operation["parameters"] = [
            one for one in operation["parameters"] if not one["$ref"].endswith("/Deadline")
        ]
    schemas = document["components"]["schemas"]
    schemas["EmbeddingRequest"]["properties"]["model"] = {"enum": ["embedder"]}
    source, report = folder / "openapi.json", folder / "schemathesis.json"
    source.write_text(json.dumps(document), encoding="utf-8")
    command: list[str | Path] = [
        *(program, "--no-color", "run", source, "--url", str(tier.client.base_url).rstrip("/")),
        *("--max-examples", str(examples), "--seed", "1", "--phases", "coverage,fuzzing"),
        *("--no-shrink", "--continue-on-failure", "--checks", ",".join(CHECKS)),
        *("--report", "json", "--report-json-path", report),
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        env=inherited_by_training(NO_PROXY="*"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    found: int = json.loads(report.read_text())["test_cases"]["generated"]
    return found
