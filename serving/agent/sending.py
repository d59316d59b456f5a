"""Sends anchors to a URL, each until it was taken there, however long the other side is away.

Whatever is to be sent lies in a file first, which only grows until all of it was taken. So neither
a kill nor an outage loses one; one whose answer was lost is sent twice. A thread sends, so that the
agent waits for nobody.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec

from infra.calls.checkpoints import TAIL_BYTES, Checkpoint, append_line
from infra.files import write_atomic
from serving.anchored import Anchored

SECONDS = 10.0
"""For one request."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
KEPT_BYTES = 2**20
"""A file in which everything was taken is emptied when it is as large."""

_THERE = 409
_decode = msgspec.json.Decoder(Checkpoint).decode


class Outbox:
    """Anchors in the order in which they are sent, and how far they were taken.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._taken_path = folder / "anchors.jsonl", folder / "taken"
        self._lock = threading.Lock()
        self._taken = self._noted()
        self.waiting = 0
        """How many were not taken yet; counted once they can be read."""

        self._counted = False
        # Whoever looks for the first is told.
        with suppress(OSError):
            self._count()

    def add(self, anchor: Checkpoint) -> None:
        """Keep an anchor to be sent, durably.

        Raises:
            OSError: it cannot be kept.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._lock:
            append_line(self._path, anchor)
            self.waiting += self._counted

    def first(self) -> tuple[Checkpoint, int] | None:
        """Give the oldest anchor that was not taken yet, and where it ends in the file.

        Raises:
            OSError: they cannot be read.
        """
        if not self._counted:
            self._count()
        found = ((one, end) for one, end in self._lines(self._taken) if one is not None)
        return next(found, None)

    def taken(self, until: int) -> None:
        """Note that one more was taken, which ends at some byte.

        Raises:
            OSError: it cannot be noted, and is not forgotten by this process.
        """
        with self._lock:
            self._taken = until
            self.waiting -= 1
            size = self._path.stat().st_size
            if until >= max(size, KEPT_BYTES):
                # In this order: cut short between the two, all is sent again.
                write_atomic(self._taken_path, b"0")
                self._taken = 0
                self._path.write_bytes(b"")
            else:
                write_atomic(self._taken_path, str(until).encode())

    def _count(self) -> None:
        with self._lock:
            self.waiting = sum(one is not None for one, _ in self._lines(self._taken))
            self._counted = True

    def _noted(self) -> int:
        try:
            noted = int(self._taken_path.read_bytes())
            return noted if 0 <= noted <= self._path.stat().st_size else 0
        except (OSError, ValueError):
            return 0

    def _lines(self, at: int) -> Iterator[tuple[Checkpoint | None, int]]:
        """Read the whole lines from some byte on, None for one that is none; and where they end."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(at)
            while line := file.readline(TAIL_BYTES):
                if not line.endswith(b"\n") and len(line) < TAIL_BYTES:
                    return
                at += len(line)
                try:
                    yield _decode(line), at
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    yield None, at


class Sender:
    """Sends what an outbox has, in a thread of its own.

    Args:
        url: where each anchor is posted as JSON.
        authorization: value of that header; empty sends none.
        outbox: what to send.
        run: folder where gateways hear how it stands.
    """

    def __init__(self, url: str, authorization: str, outbox: Outbox, run: Path) -> None:
        self._url, self._outbox, self._place = url, outbox, run
        self._headers = {"content-type": "application/json"}
        if authorization:
            self._headers["authorization"] = authorization
        self.trouble = ""
        """Why the last anchor was not taken; empty where it was."""

        self._ended, self._more = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="anchors", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many were not taken yet."""
        return self._outbox.waiting

    def send(self, anchor: Checkpoint) -> None:
        """Have an anchor sent; it is safe from here on.

        Raises:
            OSError: it cannot be kept.
        """
        self._outbox.add(anchor)
        self._more.set()

    def close(self, seconds: float = 2.0) -> None:
        """Stop, with a little time for what was not taken yet; the next sends what is left."""
        deadline = time.monotonic() + seconds
        while self._outbox.waiting and not self.trouble and time.monotonic() < deadline:
            time.sleep(0.02)
        self._ended.set()
        self._more.set()
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        pause = FIRST_PAUSE
        with httpx.Client(timeout=SECONDS) as http:
            while not self._ended.is_set():
                self._more.clear()
                try:
                    waits = self._turn(http.post)
                except Exception as error:  # whatever it is: a thread that ended would tell nobody
                    # Its name alone: it may quote a secret.
                    waits, self.trouble = True, f"Anchors cannot be sent: {type(error).__name__}."
                self._tell()
                if self.trouble:
                    self._ended.wait(pause)
                elif not waits:
                    self._more.wait()
                pause = min(2 * pause, LONGEST_PAUSE) if self.trouble else FIRST_PAUSE

    def _turn(self, post: Callable[..., httpx.Response]) -> bool:
        """Send the oldest that was not taken yet; say whether there was one."""
        try:
            first = self._outbox.first()
        except OSError as error:
            self.trouble = f"The anchors that wait to be sent cannot be read: {error.strerror}."
            return True
        self.trouble = self._sent(post, *first) if first is not None else ""
        return first is not None

    def _sent(self, post: Callable[..., httpx.Response], anchor: Checkpoint, end: int) -> str:
        """Send one; say why it was not taken."""
        try:
            answer = post(self._url, content=msgspec.json.encode(anchor), headers=self._headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"{_plain(self._url)} takes no anchors: {str(error) or type(error).__name__}."
        if not answer.is_success and answer.status_code != _THERE:
            return f"{_plain(self._url)} takes no anchors: it answers {answer.status_code}."
        try:
            self._outbox.taken(end)
        except OSError as error:
            return f"That an anchor was taken cannot be noted: {error.strerror}."
        return ""

    def _tell(self) -> None:
        # It is for metrics alone, and told anew after the next anchor.
        with suppress(OSError):
            Anchored(waiting=self._outbox.waiting, trouble=self.trouble).save(self._place)


def _plain(url: str) -> str:
    """Leave out of a URL what may be a secret."""
    try:
        return str(httpx.URL(url).copy_with(userinfo=b"", query=None))
    except httpx.InvalidURL:
        return "SLIPWAY_ANCHORS"
