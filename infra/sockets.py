"""The local sockets of one home, on which its processes say how they are to whoever connects.

Nothing is written for it: it can be heard where the disk is full, and ends with its process.
"""

import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from release.errors import Unsafe

LONGEST_SOCKET = 107
"""Bytes in the path of a Unix socket."""

_LONGEST_NAME = 40

ASK_SECONDS = 0.3
ANSWER_SECONDS = 1.0
"""How long one that connects may take to read what it is told."""

AGENT, INDEXER = "agent.sock", "indexer.sock"


def sockets_under(run: Path) -> Path:
    """Give the folder of a home's sockets; elsewhere where the home's own is too deep for them.

    Raises:
        Unsafe: others could take them over.
    """
    sockets = run / "sockets"
    if len(bytes(sockets)) + _LONGEST_NAME > LONGEST_SOCKET:
        short = sha256(bytes(run)).hexdigest()[:12]
        sockets = Path(tempfile.gettempdir()) / f"slipway-{short}"
    run.mkdir(parents=True, exist_ok=True, mode=0o700)
    if sockets.is_symlink():
        raise Unsafe(f"{sockets} is a link, and its sockets would lie where that leads.")
    sockets.mkdir(exist_ok=True, mode=0o700)
    facts = sockets.lstat()
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise Unsafe(f"{sockets} can be written by others, who could take over its sockets.")
    return sockets


class Voice:
    """Says how a process is from a thread of its own, whatever the process waits for.

    Args:
        place: of the socket; one that was left there is replaced.
        says: gives plain JSON data; is called by that thread.

    Raises:
        OSError: nothing can listen there.
    """

    def __init__(self, place: Path, says: Callable[[], Mapping[str, Any]]) -> None:
        self._place, self._says = place, says
        place.unlink(missing_ok=True)
        self._line = socket.socket(socket.AF_UNIX)
        self._line.bind(str(place))
        self._line.listen(16)
        threading.Thread(target=self._run, name="voice", daemon=True).start()

    def close(self) -> None:
        """Say nothing more, and be missed by nobody."""
        self._place.unlink(missing_ok=True)
        with suppress(OSError):  # Wakes the thread, which ends.
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()

    def _run(self) -> None:
        while True:
            try:
                line, _ = self._line.accept()
            except OSError:
                return
            with line, suppress(OSError):  # Whoever asked has left.
                line.settimeout(ANSWER_SECONDS)
                line.sendall(self._said())

    def _said(self) -> bytes:
        try:
            return json.dumps(self._says()).encode()
        except Exception as error:  # whatever it is: a thread that ended would tell nobody
            return json.dumps({"failed": repr(error)}).encode()


@contextmanager
def heard(
    place: Path, says: Callable[[], Mapping[str, Any]], say: Callable[[str], None]
) -> Iterator[None]:
    """Have a voice while the body runs; where none can be had, go on without, and say so."""
    try:
        voice = Voice(place, says)
    except OSError as error:
        say(f"nobody hears how it stands: {place} cannot be listened on: {error.strerror}")
        yield
        return
    try:
        yield
    finally:
        voice.close()


def listens(place: Path) -> bool:
    """Whether a process is there that would say how it is, though it may not come to that."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(ASK_SECONDS)
            line.connect(str(place))
    except TimeoutError:  # So many wait already.
        return True
    except OSError:
        return False
    return True


def hear(place: Path, seconds: float = ASK_SECONDS) -> dict[str, Any] | None:
    """Hear how a process is; None where it lets us wait for longer than some seconds."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(seconds)
            line.connect(str(place))
            parts = b""
            while part := line.recv(65_536):
                parts += part
        said: dict[str, Any] = json.loads(parts)
    except (OSError, ValueError):
        return None
    return said
