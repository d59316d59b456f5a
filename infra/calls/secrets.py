"""Secrets of the call record: files that only their owner may read, made by whoever is first."""

import os
from collections.abc import Callable
from pathlib import Path

from infra.files import sync_folder
from release.errors import Unavailable


def kept(path: Path, fresh: bytes, needed: Callable[[], str] = str) -> bytes:
    """Give a secret; `fresh` is kept as it, if there is none yet and nobody else is quicker.

    Args:
        path: of the file.
        fresh: random bytes.
        needed: says what the secret is needed for that was there once; is asked where there is
            none. Nothing fresh takes its place then: it would hide the loss.

    Raises:
        Unavailable: it can neither be read nor be made, or was lost.
    """
    if (found := known(path, needed)) is not None:
        return found
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside.unlink(missing_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(fresh)
            file.flush()
            os.fsync(file.fileno())
        try:
            # Unlike a rename this fails where somebody was quicker.
            path.hardlink_to(aside)
        except FileExistsError:
            return path.read_bytes()
        finally:
            aside.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise Unavailable(f"The secret at {path} cannot be made: {error.strerror}.") from error
    return fresh


def known(path: Path, needed: Callable[[], str] = str) -> bytes | None:
    """Give a secret; None where there is none yet, and none is missed.

    Args:
        path: of the file.
        needed: says what the secret is needed for that was there once; is asked where there is
            none.

    Raises:
        Unavailable: it cannot be read, or was lost.
    """
    if (found := _there(path)) is not None:
        return found
    if said := needed():
        # Somebody may have made it, and used it, since we looked.
        if (found := _there(path)) is not None:
            return found
        raise Unavailable(f"The secret at {path} is gone, and {said}.", "put it back from a backup")
    return None


def _there(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"The secret at {path} cannot be read: {error.strerror}.") from error
