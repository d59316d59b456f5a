"""Says that gateways of a home live: a lock that each holds, and the kernel lets go of."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

LOCK = "gateways.lock"
"""File in the folder of a home's snapshots; every gateway holds it, beside all others."""


@contextmanager
def present(run: Path) -> Iterator[None]:
    """Hold the lock; where it cannot be held, what serves does not stop for it."""
    with ExitStack() as held:
        try:
            handle = os.open(run / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            held.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_SH)
        except OSError as error:
            sys.stderr.write(f"gateway: {run / LOCK} cannot be held: {error.strerror}\n")
        yield


def anyone_present(run: Path) -> bool:
    """Whether a gateway holds the lock, in whatever container of this machine."""
    try:
        handle = os.open(run / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
