"""Clients that remember which of their calls were answered."""

import contextlib
import threading
import time

import httpx

CLIENTS = 8


class Asking:
    """Clients that ask without end, each with ids of its own, and note what was acknowledged."""

    def __init__(self, url: str, *, clients: int = CLIENTS, pause: float = 0.0) -> None:
        self._url = url
        self._pause = pause
        self.acknowledged: list[str] = []
        self.refused: list[int] = []
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number,)) for number in range(clients)
        ]

    def _ask(self, client: int) -> None:
        number = 0
        with httpx.Client(timeout=10) as http:
            while not self._over.is_set():
                number += 1
                id_ = f"c{client}-{number}"
                with contextlib.suppress(httpx.HTTPError):
                    said = http.post(self._url, json={"text": id_}, headers={"x-request-id": id_})
                    if said.status_code == httpx.codes.OK:
                        self.acknowledged.append(id_)
                    else:
                        self.refused.append(said.status_code)
                time.sleep(self._pause)

    def goes_on(self) -> None:
        """Wait until some more were answered."""
        before, deadline = len(self.acknowledged), time.monotonic() + 60
        while len(self.acknowledged) < before + 20:
            assert time.monotonic() < deadline, "it does not serve any more"
            time.sleep(0.01)

    def __enter__(self) -> "Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
