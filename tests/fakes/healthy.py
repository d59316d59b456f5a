"""A server that says that it is well, and does nothing else: enough to be asked wrongly beside."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path.endswith("/health") else 404)
        self.end_headers()

    def do_POST(self) -> None:
        self.send_error(501)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def healthy() -> Iterator[str]:
    """Serve on a free port of loopback; gives the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever, name="healthy", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
