"""A server that takes calls by the bulk API and OTLP."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from infra.calls.shipping import Shipper


@dataclass
class Receiver:
    """A server with the bulk API and OTLP, as busy as it is told to be."""

    url: str = ""
    kept: dict[str, Any] = field(default_factory=dict)
    logs: list[Any] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    busy_items: int = 0
    """So many calls are told to come later."""

    busy: int = 0
    """So many requests are."""

    bad: str = ""
    """Id of a request whose call is refused."""

    rejected: int = 0
    says: bytes | None = None
    """Said whatever is asked, where it is no such server at all."""

    most: int = sys.maxsize
    """Bytes of a request that are taken."""

    largest: int = 0
    """Bytes of the largest request."""

    headers: dict[str, str] = field(default_factory=dict)

    def take(self, path: str, body: bytes) -> tuple[int, Any]:
        self.asked.append(path)
        if self.busy:
            self.busy -= 1
            return 503, {}
        if len(body) > self.most:
            return 413, {"message": "too large"}
        path, _, _ = path.partition("?")
        if path.endswith("/v1/logs"):
            self.logs.append(json.loads(body))
            rejected = {"rejectedLogRecords": str(self.rejected), "errorMessage": "too old"}
            return 200, {"partialSuccess": rejected} if self.rejected else {}
        lines = [json.loads(one) for one in body.splitlines()]
        pairs = zip(lines[::2], lines[1::2], strict=True)
        return 200, {"items": [{"create": self._one(*pair)} for pair in pairs]}

    def _one(self, action: Any, document: Any) -> dict[str, Any]:
        if self.busy_items:
            self.busy_items -= 1
            return {"status": 429, "error": {"reason": "queue is full"}}
        if document["http"]["request"]["id"] == self.bad:
            return {"status": 400, "error": {"reason": "no such field"}}
        id_ = action["create"]["_id"]
        if id_ in self.kept:
            return {"status": 409, "error": {"reason": "version conflict"}}
        self.kept[id_] = document
        return {"status": 201}


@contextmanager
def receiving(receiver: Receiver) -> Iterator[Shipper]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.headers = dict(self.headers)
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.largest = max(receiver.largest, len(body))
            status, answer = receiver.take(self.path, body)
            said = json.dumps(answer).encode() if receiver.says is None else receiver.says
            self.send_response(status)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = receiver.url = f"http://127.0.0.1:{server.server_port}"
        yield Shipper(f"{url}/calls", authorization="ApiKey abc", pause=lambda _: None)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
