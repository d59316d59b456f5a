"""Payloads under lock: a key for each namespace and day, each wrapped by the master key.

`<secrets>/master` wraps `<secrets>/days/<namespace>/<day>`. Whoever destroys a day's key has erased
that day's payloads, wherever copies of them lie; what is left in the key's place says so.
"""

import binascii
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.calls.lines import CallLine, Payload, erased
from infra.calls.secrets import kept, known
from infra.files import sync_folder
from release.errors import Invalid, Unavailable
from release.variants import NAME

NONCE = 12
"""Bytes, random for each payload."""

SHORTEST = 124
"""Characters that a sealed payload has at least, with nonce, tag and salt; it has them by fours."""

DESTROYED = b"destroyed"

_decode = msgspec.json.Decoder(Payload).decode


class Changed(Invalid):
    """A payload that is not the one that was sealed."""


class Vault:
    """Seals payloads and opens them.

    Args:
        secrets: folder of the call record's secrets; only its owner may read there.
        journals: where it is noted which days' keys were sealed with, so that one that was lost is
            missed; None notes nothing.
    """

    def __init__(self, secrets: Path, journals: Path | None = None) -> None:
        self._secrets = secrets
        self._noted = None if journals is None else journals / "keys"
        self._keys: dict[str, tuple[int, AESGCM]] = {}
        """Name to when its file was last changed, and the key: another process may destroy it."""

        self._days: dict[tuple[str, int], tuple[str, AESGCM]] = {}
        """Namespace and day in use, or the day before it, to name of the key, and key."""

    def seal(self, namespace: str, at: float, plain: bytes, commitment: str) -> tuple[str, bytes]:
        """Encrypt a payload.

        Args:
            namespace: whose it is.
            at: seconds since the epoch; decides the day.
            plain: the payload as JSON.
            commitment: SHA-256 of it, in hex, which the seal is bound to.

        Returns:
            Name of the key, and what is written, as base64.

        Raises:
            Unavailable: there is no key and none can be made, or it was lost.
            Invalid: the namespace is no name, or the day's key was destroyed.
        """
        day = int(at) // 86_400
        name, key = self._days.get((namespace, day)) or self._begin(namespace, day)
        nonce = os.urandom(NONCE)
        sealed = nonce + key.encrypt(nonce, plain, commitment.encode())
        return name, binascii.b2a_base64(sealed, newline=False)

    def begun(self, namespace: str, at: float) -> bool:
        """Whether a payload can be sealed without a look at the disk."""
        return (namespace, int(at) // 86_400) in self._days

    def begin(self, namespace: str, at: float) -> None:
        """Have the key ready that payloads of a day are sealed with; this may wait for the disk.

        Raises:
            Unavailable: there is no key and none can be made, or it was lost.
            Invalid: the namespace is no name, or the day's key was destroyed.
        """
        self._begin(namespace, int(at) // 86_400)

    def check(self, namespace: str, at: float) -> None:
        """Look whether a day's key, and the master key, are there or can still be made.

        Nothing is made: a day of which no payload is kept has no key. This may wait for the disk.

        Raises:
            Unavailable: a key cannot be read, or was lost.
            Invalid: the namespace is no name, or the day's key was destroyed.
        """
        name = _name(namespace, int(at) // 86_400)
        wrapped = known(self._path(name), lambda: self._was_used(name))
        if wrapped is None:
            known(self._secrets / "master", self._wrapped)
        elif self._unwrap(wrapped, name) is None:
            raise _was_destroyed(name)

    def open(self, line: CallLine, sealed: str) -> Payload | None:
        """Decrypt a call's payload; None where none was kept, or it was erased.

        Raises:
            Changed: it is not what was sealed.
            Unavailable: the master key cannot be read, or was lost.
        """
        if not sealed or erased(sealed) or (key := self._key(line.key)) is None:
            return None
        try:
            raw = binascii.a2b_base64(sealed, strict_mode=True)
            plain = key.decrypt(raw[:NONCE], raw[NONCE:], line.commitment.encode())
            payload = _decode(plain)
        except (ValueError, InvalidTag, msgspec.MsgspecError) as error:
            raise _changed(line) from error
        # Several texts of base64 may stand for the same bytes; only one was written.
        same = binascii.b2a_base64(raw, newline=False) == sealed.encode()
        if not same or sha256(plain).hexdigest() != line.commitment:
            raise _changed(line)
        return payload

    def has(self, namespace: str, day: str) -> bool:
        """Whether a day has a key that was not destroyed.

        Raises:
            Invalid: the name is none.
        """
        path = self._path(f"{namespace}/{day}")
        return path.exists() and path.read_bytes() != DESTROYED

    def destroyed(self, namespace: str, day: str) -> bool:
        """Whether a day had a key that was destroyed.

        Raises:
            Invalid: the name is none.
        """
        path = self._path(f"{namespace}/{day}")
        return path.exists() and path.read_bytes() == DESTROYED

    def days(self) -> Iterator[tuple[str, str]]:
        """Give namespace and day of every key that was not destroyed."""
        for path in sorted((self._secrets / "days").glob("*/[0-9]*")):
            if _is_day(path.name) and path.read_bytes() != DESTROYED:
                yield path.parent.name, path.name

    def destroy(self, namespace: str, day: str) -> bool:
        """Destroy a day's key, so that no payload sealed with it can ever be opened.

        Args:
            namespace: whose.
            day: such as `2026-11-26`, in UTC.

        Returns:
            Whether there was one.

        Raises:
            Invalid: the name is none.
        """
        path = self._path(f"{namespace}/{day}")
        self._keys.pop(f"{namespace}/{day}", None)
        if not self.has(namespace, day):
            return False
        size = path.stat().st_size
        with path.open("r+b") as file:
            # In place: a copy beside it would leave the key on the disk.
            for content in (os.urandom(size), DESTROYED):
                file.seek(0)
                file.write(content)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        sync_folder(path.parent)
        return True

    def _begin(self, namespace: str, day: int) -> tuple[str, AESGCM]:
        name = _name(namespace, day)
        path = self._path(name)
        wrapped = kept(
            path, self._wrap(AESGCM.generate_key(256), name), lambda: self._was_used(name)
        )
        key = self._unwrap(wrapped, name)
        if key is None:
            raise _was_destroyed(name)
        self._note(name)
        others = {
            one: used
            for one, used in self._days.items()
            if one[0] != namespace or one[1] >= day - 1
        }
        self._days = {**others, (namespace, day): (name, key)}
        return name, key

    def _key(self, name: str) -> AESGCM | None:
        path = self._path(name)
        try:
            changed = path.stat().st_mtime_ns
            known = self._keys.get(name)
            if known is not None and known[0] == changed:
                return known[1]
            wrapped = path.read_bytes()
        except OSError:
            self._keys.pop(name, None)
            return None
        key = self._unwrap(wrapped, name)
        if key is not None:
            self._keys[name] = (changed, key)
        return key

    def _was_used(self, name: str) -> str:
        return f"{name} has sealed payloads" if name in self._names() else ""

    def _note(self, name: str) -> None:
        """Note that a key is sealed with, before anything is."""
        if self._noted is None or name in self._names():
            return
        try:
            self._noted.parent.mkdir(parents=True, exist_ok=True)
            with self._noted.open("a", encoding="ascii") as file:
                file.write(f"{name}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Unavailable(f"{self._noted} cannot be added to: {error.strerror}.") from error

    def _names(self) -> list[str]:
        if self._noted is None or not self._noted.exists():
            return []
        return self._noted.read_text(encoding="ascii", errors="replace").splitlines()

    def _wrapped(self) -> str:
        """Say what the master key has wrapped."""
        wrapped = any(True for _ in self.days()) or self._names()
        return "payloads are sealed with keys that it has wrapped" if wrapped else ""

    def _master(self) -> AESGCM:
        raw = kept(self._secrets / "master", AESGCM.generate_key(256), self._wrapped)
        return AESGCM(raw)

    def _wrap(self, key: bytes, name: str) -> bytes:
        nonce = os.urandom(NONCE)
        return nonce + self._master().encrypt(nonce, key, name.encode())

    def _unwrap(self, wrapped: bytes, name: str) -> AESGCM | None:
        if wrapped == DESTROYED:
            return None
        try:
            return AESGCM(self._master().decrypt(wrapped[:NONCE], wrapped[NONCE:], name.encode()))
        except (ValueError, InvalidTag) as error:
            hint = "is the master key the one that it was made with?"
            raise Invalid(f"The key {name} cannot be unwrapped.", hint) from error

    def _path(self, name: str) -> Path:
        namespace, _, day = name.partition("/")
        if not NAME.fullmatch(namespace) or not _is_day(day):
            raise Invalid(f"There is no key {name[:80]!r}.", "a key is called NAMESPACE/YYYY-MM-DD")
        return self._secrets / "days" / namespace / day


def ends_us(day: str) -> int:
    """Give the moment at which a day such as `2026-11-26` is over, in microseconds since the epoch.

    Raises:
        ValueError: it is no day.
    """
    begins = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return (int(begins.timestamp()) + 86_400) * 1_000_000


def _name(namespace: str, day: int) -> str:
    date = datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()
    return f"{namespace}/{date}"


def _was_destroyed(name: str) -> Invalid:
    return Invalid(f"The key {name} was destroyed; nothing can be sealed with it.")


def _is_day(day: str) -> bool:
    try:
        return len(day) == len("2026-11-26") and bool(datetime.fromisoformat(day))
    except ValueError:
        return False


def _changed(line: CallLine) -> Changed:
    return Changed(f"The payload of call {line.sequence} is not the one that was sealed.")
