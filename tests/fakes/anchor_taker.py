"""A server that takes anchors, and writes each into a file as it came, a line each."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread


@dataclass
class Taker:
    """What such a server has, and how it answers."""

    path: Path
    url: str = ""
    status: int = 201
    headers: list[dict[str, str]] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    going: Event = field(default_factory=Event)
    """Nobody is answered before this."""

    def take(self, headers: dict[str, str], body: bytes) -> int:
        self.headers.append(headers)
        self.going.wait()
        if self.status < 300:
            self.lines.append(body)
            with self.path.open("ab") as file:
                file.write(body + b"\n")
        return self.status


@contextmanager
def taking(taker: Taker, port: int = 0) -> Iterator[Taker]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = taker.take(dict(self.headers), body)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    taker.url = f"http://127.0.0.1:{server.server_port}/anchors"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield taker
    finally:
        taker.going.set()
        server.shutdown()
        server.server_close()
        thread.join()
