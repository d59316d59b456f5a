"""Files that are whole or absent, and locks between processes."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from release.errors import Conflict


def write_atomic(path: Path, content: bytes, *, durable: bool = True, mode: int = 0o666) -> None:
    """Replace a file so that readers, and a crash at any moment, see the old one or the new one.

    Args:
        path: its folder is made if need be.
        content: all of it.
        durable: whether it must survive a power loss from here on.
        mode: who may read and write it, of which the process's umask takes away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(aside, flags, mode), "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power loss."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def file_lock(path: Path, *, seconds: float = 60.0) -> Iterator[None]:
    """Hold a lock between processes; the kernel frees it when its holder dies.

    Raises:
        Conflict: it was not free within `seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Conflict(
                        f"{path} was held by another process for over {seconds:g} s."
                    ) from None
                time.sleep(0.02)
        yield


def tail(path: Path, lines: int, *, most: int = 16_384) -> list[str]:
    """Give the last lines of a text file, at most the last `most` bytes of it; [] if absent."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - most))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()][-lines:]
