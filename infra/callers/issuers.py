"""Whose tokens are believed, by a file of TOML, and the public keys that they sign with.

```toml
[[issuer]]
issuer = "https://login.example/realms/shop"
audience = "slipway"
jwks = "https://login.example/realms/shop/protocol/openid-connect/certs"
algorithms = ["RS256"]
tenant = "tid"
grants = ["default/*:infer", "default/*:read"]
```
"""

import sys
import threading
import time
import tomllib
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from infra.callers.snapshot import IssuerEntry
from infra.files import write_atomic
from release.callers import Quota, scopes_of
from release.errors import Invalid, SlipwayError, Unavailable

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "EdDSA", "Ed25519"),
)
"""What a token may be signed by: a public key, never a secret that both sides have."""

MOST_BYTES = 2**18
"""Of a set of keys."""

FETCH_SECONDS = 5.0
AGAIN_SECONDS = 10.0
"""After a set of keys could not be fetched."""

_KINDS = {"RSA", "EC", "OKP"}
_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


def read_issuers(path: Path) -> list[IssuerEntry]:
    """Read whose tokens are believed; nobody's where there is no such file.

    Raises:
        Invalid: the file breaks a rule.
    """
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
        found = msgspec.convert(plain.get("issuer", []), list[IssuerEntry])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise Invalid(f"{path} cannot be read: {error}.", "see docs/operator.md") from error
    for one in found:
        _check(path, one)
    if len({one.issuer for one in found}) != len(found):
        raise Invalid(f"{path} names an issuer twice.")
    return found


def _check(path: Path, one: IssuerEntry) -> None:
    wrong = sorted(set(one.algorithms) - set(ALGORITHMS))
    if wrong or not one.algorithms:
        said = f"{path} lets {one.issuer} sign by {', '.join(wrong) or 'nothing'}."
        raise Invalid(said, f"algorithms are {', '.join(ALGORITHMS)}")
    if not (one.issuer and one.audience and one.jwks and one.user):
        raise Invalid(f"{path} has an issuer without issuer, audience, jwks or user.")
    if one.keys:
        raise Invalid(f"{path} lists keys of {one.issuer}.", "give jwks, a URL or a file")
    parts = urlsplit(one.jwks)
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise Invalid(f"The keys of {one.issuer} would come by plain http.", "use https")
    if not 0 <= one.leeway <= 300 or not 1 <= one.refresh <= 86_400:
        raise Invalid(f"{path}: leeway must be within 0..300 s and refresh within 1..86400 s.")
    scopes_of(one.grants)
    Quota(requests=one.requests, tokens=one.tokens)


def public_keys(content: bytes) -> list[dict[str, Any]]:
    """Read a set of keys, and keep the public ones that can sign.

    Raises:
        Invalid: it is none, or holds no such key.
    """
    try:
        found = msgspec.json.decode(content)["keys"]
        good = [one for one in found if one["kty"] in _KINDS and one.get("use", "sig") == "sig"]
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(f"This is no set of keys: {error!r}.") from error
    if not good:
        raise Invalid("This set of keys has none that signs.")
    return [{name: one[name] for name in one if name not in _PRIVATE} for one in good]


class KeySets:
    """The keys of issuers, fetched in the background and kept on disk: the last good ones count.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._issuers: tuple[IssuerEntry, ...] = ()
        self._due: dict[Path, float] = {}
        """When keys are fetched next, by where they are kept: issuers may share an address."""

        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def watch(self, issuers: Iterable[IssuerEntry]) -> None:
        """Keep fetching the keys of these from now on."""
        with self._lock:
            self._issuers = tuple(issuers)
        if self._issuers and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="jwks", daemon=True)
            self._thread.start()
        self._wake.set()

    def of(self, issuer: IssuerEntry) -> list[dict[str, Any]]:
        """Give the keys of an issuer as they were last good; none before the first."""
        try:
            return public_keys(self._path(issuer).read_bytes())
        except (OSError, Invalid):
            return []

    def _path(self, issuer: IssuerEntry) -> Path:
        name = sha256(f"{issuer.issuer}\n{issuer.jwks}".encode()).hexdigest()[:32]
        return self._folder / f"{name}.json"

    def close(self) -> None:
        """Fetch nothing more, and wait a moment for what is being fetched."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(timeout=1.0)
            self._wake.clear()
            with self._lock:
                issuers = self._issuers
            for one in issuers:
                due = self._due.get(self._path(one), 0.0)
                if not self._closing.is_set() and time.monotonic() >= due:
                    self.refresh(one)

    def refresh(self, issuer: IssuerEntry) -> bool:
        """Fetch the keys of an issuer; where that fails the old ones stay, and it is said why."""
        path = self._path(issuer)
        try:
            content = fetched(issuer.jwks)
            public_keys(content)
            write_atomic(path, content, mode=0o600)
        except (SlipwayError, OSError) as error:
            sys.stderr.write(f"agent: the keys of {issuer.issuer} stay as they were: {error}\n")
            self._due[path] = time.monotonic() + min(AGAIN_SECONDS, issuer.refresh)
            return False
        self._due[path] = time.monotonic() + issuer.refresh
        return True


def fetched(place: str) -> bytes:
    """Fetch a set of keys from an address or a file.

    Raises:
        Unavailable: it is not there.
        Invalid: it is too large.
    """
    if not place.startswith(("https://", "http://")):
        try:
            content = Path(place).read_bytes()
        except OSError as error:
            raise Unavailable(f"{place} cannot be read: {error.strerror}.") from error
    else:
        content = _asked(place)
    if len(content) > MOST_BYTES:
        raise Invalid(f"{place} gives over {MOST_BYTES} bytes.")
    return content


def _asked(url: str) -> bytes:
    import httpx

    found = bytearray()
    try:
        with httpx.stream("GET", url, timeout=FETCH_SECONDS, follow_redirects=False) as answer:
            if answer.status_code != httpx.codes.OK:
                raise Unavailable(f"{url} answers {answer.status_code}.")
            for part in answer.iter_bytes():
                found += part
                if len(found) > MOST_BYTES:
                    break
    except httpx.HTTPError as error:
        raise Unavailable(f"{url} does not answer: {error!r}.") from error
    return bytes(found)
