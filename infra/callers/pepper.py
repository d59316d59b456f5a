"""Secrets of keys, and how they are kept: as their HMAC, under a pepper that no database holds."""

import hmac
import re
import secrets
from pathlib import Path

from infra.calls.secrets import kept
from release.errors import Unavailable, Unsafe

PREFIX = "slw"
SHORTEST = 16
"""Bytes of a pepper."""

_KEY = re.compile(rf"{PREFIX}_(?P<id>[a-z0-9]{{4,32}})_(?P<secret>[A-Za-z0-9_-]{{43}})")


def pepper(path: Path) -> bytes:
    """Give the pepper; it is made if there is none yet, which is for whoever makes the first key.

    Raises:
        Unavailable: it can neither be read nor be made.
        Unsafe: it is too short to be one.
    """
    return _checked(path, kept(path, secrets.token_bytes(32)))


def known_pepper(path: Path) -> bytes:
    """Give the pepper that keys were made under; a fresh one would prove none of them.

    Raises:
        Unavailable: it is not there, or cannot be read.
        Unsafe: it is too short to be one.
    """
    try:
        found = path.read_bytes()
    except FileNotFoundError as error:
        said = f"There is no pepper at {path}, and without it no key can be proven."
        raise Unavailable(said, "put it back from a backup; see SLIPWAY_PEPPER") from error
    except OSError as error:
        raise Unavailable(f"The pepper at {path} cannot be read: {error.strerror}.") from error
    return _checked(path, found)


def _checked(path: Path, found: bytes) -> bytes:
    if len(found) < SHORTEST:
        raise Unsafe(f"The pepper at {path} has {len(found)} bytes, of {SHORTEST} at least.")
    return found


def fresh() -> tuple[str, str]:
    """Make the id and the secret of a key: 256 random bits."""
    return secrets.token_hex(6), secrets.token_urlsafe(32)


def written(id: str, secret: str) -> str:  # noqa: A002 - the noun's own field is called so
    """Write a key as its holder gets it."""
    return f"{PREFIX}_{id}_{secret}"


def split(key: str) -> tuple[str, str]:
    """Give the id and the secret of a key; empty where it is none."""
    found = _KEY.fullmatch(key)
    return (found["id"], found["secret"]) if found else ("", "")


def hashed(pepper: bytes, secret: str) -> str:
    """Give what is kept of a secret, in hex."""
    return hmac.digest(pepper, secret.encode(errors="surrogatepass"), "sha256").hex()
