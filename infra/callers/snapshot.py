"""The file by which an agent tells its gateways who may call: `callers.json`, for its owner alone.

It holds no secret of a key, but HMACs of them; and of issuers their public keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from infra.files import write_atomic

NAME = "callers.json"


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A key that is good, or will be until it expires."""

    secret: str
    """HMAC of the secret, in hex."""

    namespace: str
    scopes: list[str]
    user: str = ""
    tenant: str = ""
    expires: float = 0.0
    """Seconds since the epoch; 0 where it does not."""

    requests: int = 0
    """Most within a minute; 0 means without a limit, as for tokens."""

    tokens: int = 0


class NamespaceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a namespace wants recorded; see `release.callers.Recording`."""

    capture: str
    sample: float
    strict: bool
    when_full: str
    days: int


class IssuerEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody whose tokens are believed."""

    issuer: str
    """What a token's `iss` must be."""

    audience: str
    """What its `aud` must name."""

    algorithms: list[str]
    jwks: str = ""
    """Where the issuer's public keys are: an https URL, or a file."""

    user: str = "sub"
    """Claim that names the user."""

    tenant: str = ""
    """Claim that names the tenant; empty where none does."""

    namespace: str = ""
    """Claim that names the namespace; where there is none it is `default`."""

    scopes: str = "scope"
    """Claim that lists scopes; what is none of ours in it is left out."""

    grants: list[str] = []
    """Scopes of every token of this issuer."""

    leeway: int = 30
    """Seconds by which clocks may differ."""

    refresh: float = 300.0
    """Seconds between two looks at `jwks`."""

    requests: int = 0
    """Most of each subject within a minute; 0 means without a limit, as for tokens."""

    tokens: int = 0

    keys: list[dict[str, Any]] = []
    """The public keys, as they were fetched last."""


class CallersSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everybody who may call, under one number."""

    number: int
    gateways: int = 1
    """How many share a caller's quota, on all hosts."""

    first: int = 0
    """Place of this host's first among them."""

    keys: dict[str, KeyEntry] = {}
    namespaces: dict[str, NamespaceEntry] = {}
    owners: dict[str, str] = {}
    """Endpoint to the namespace that owns it; any other belongs to `default`."""

    issuers: list[IssuerEntry] = []

    def save(self, folder: Path) -> None:
        """Replace the file."""
        write_atomic(folder / NAME, msgspec.json.encode(self), mode=0o600)

    @classmethod
    def load(cls, folder: Path) -> "CallersSnapshot | None":
        """Read the file; None where there is none, or none that can be read."""
        try:
            return _decoder.decode((folder / NAME).read_bytes())
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def same(self, other: "CallersSnapshot") -> bool:
        """Whether both say the same, whatever their numbers are."""
        return msgspec.structs.replace(self, number=0) == msgspec.structs.replace(other, number=0)


_decoder = msgspec.json.Decoder(CallersSnapshot)


@dataclass(slots=True)
class CallersWatch:
    """Looks whether the file has changed, and keeps the last good content."""

    folder: Path
    current: CallersSnapshot | None = None
    broken: int = 0
    """How often a file was there that could not be read, or was older than the last."""

    _seen: tuple[int, int] = field(default=(0, 0))

    def look(self) -> bool:
        """Read the file if it has changed; say whether there is something new."""
        try:
            facts = (self.folder / NAME).stat()
        except OSError:
            return False
        mark = (facts.st_mtime_ns, facts.st_ino)
        if mark == self._seen:
            return False
        found = CallersSnapshot.load(self.folder)
        self._seen = mark
        if found is None or (self.current and found.number <= self.current.number):
            self.broken += 1
            return False
        self.current = found
        return True


def owner_of(owners: Mapping[str, str], endpoint: str) -> str:
    """Name the namespace of an endpoint."""
    return owners.get(endpoint, "default")
