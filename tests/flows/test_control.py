"""The few calls to Prefect's API, against a server that is busy, wrong or gone."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flows.control import Prefect
from infra.processes import free_port
from release.errors import Unavailable


class Server(ThreadingHTTPServer):
    """Answers like Prefect's, but first as often with an error as it is told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.errors: list[int] = []
        self.asked: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer(200, {"id": "deployment-1"})

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        self.server.asked.append(json.loads(self.rfile.read(length)))
        status = self.server.errors.pop(0) if self.server.errors else 201
        self._answer(status, {"id": "run-1"})

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_busy_server_is_asked_again_for_the_same_run(server: Server) -> None:
    server.errors = [503, 503]
    assert Prefect(server.url).start("release", {"model": "tiny"}) == "run-1"
    keys = {asked["idempotency_key"] for asked in server.asked}
    assert len(server.asked) == 3
    assert len(keys) == 1 and all(keys)


def test_a_refusal_is_told_at_once(server: Server) -> None:
    server.errors = [422, 422]
    with pytest.raises(Unavailable, match="cannot start the flow 'release'"):
        Prefect(server.url).start("release", {})
    assert len(server.asked) == 1


def test_a_server_that_is_gone_is_unavailable() -> None:
    gone = Prefect(f"http://127.0.0.1:{free_port('127.0.0.1')}/api")
    assert not gone.healthy()
    with pytest.raises(Unavailable, match="is it up"):
        gone.start("release", {})
