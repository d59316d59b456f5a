"""Checkpoints: signed words on how far a journal had come, kept beside it and anchored elsewhere.

A checkpoint binds all lines up to one whose `chain` it names. It is signed (Ed25519) only once they
are on the disk, so that no power loss can make the truth look like a cut.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.calls.secrets import kept
from release.errors import Invalid

FILE = "checkpoints"
"""Name of the file beside a gateway's segments."""

TAIL_BYTES = 4_096

_encode = msgspec.json.Encoder().encode


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far a journal had come. Its JSON without the signature is what is signed."""

    at_us: int
    chain: str
    """Of the last line, in hex."""

    gateway: str
    """Name of the folder."""

    segment: int
    sequence: int
    """Of the last call up to there."""

    signature: str = ""
    """In hex."""

    @property
    def signed(self) -> bytes:
        """What the signature is of: canonical JSON, fields in the order of the alphabet."""
        plain = msgspec.to_builtins(self)
        del plain["signature"]
        return _encode(plain)


_decode = msgspec.json.Decoder(Checkpoint).decode


class Signer:
    """Signs checkpoints.

    Args:
        secrets: folder of the call record's secrets.

    Raises:
        Unavailable: the key can neither be read nor be made.
        Invalid: it is no key.
    """

    def __init__(self, secrets: Path) -> None:
        raw = kept(secrets / "signing", Ed25519PrivateKey.generate().private_bytes_raw())
        try:
            self._key = Ed25519PrivateKey.from_private_bytes(raw)
        except ValueError as error:
            raise Invalid(f"The signing key at {secrets / 'signing'} is none.") from error
        self.public = self._key.public_key().public_bytes_raw()

    def checkpoint(self, *, gateway: str, segment: int, sequence: int, chain: bytes) -> Checkpoint:
        """Sign how far a journal has come."""
        bare = Checkpoint(
            at_us=time.time_ns() // 1_000,
            chain=chain.hex(),
            gateway=gateway,
            segment=segment,
            sequence=sequence,
        )
        return msgspec.structs.replace(bare, signature=self._key.sign(bare.signed).hex())


def genuine(checkpoint: Checkpoint, public: bytes) -> bool:
    """Whether a checkpoint was signed with the key that `public` belongs to."""
    try:
        signature = bytes.fromhex(checkpoint.signature)
        Ed25519PublicKey.from_public_bytes(public).verify(signature, checkpoint.signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def append(place: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside the segments, durably.

    Raises:
        OSError: it could not be written.
    """
    handle = os.open(place / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        # Its own line, also after one that was torn.
        os.write(handle, b"\n" + _encode(checkpoint) + b"\n")
        os.fdatasync(handle)
    finally:
        os.close(handle)


def checkpoints(content: bytes) -> Iterator[tuple[int, Checkpoint | None]]:
    """Read checkpoints, each with the number of its line; None for a line that is none."""
    for number, line in enumerate(content.splitlines(), 1):
        if line:
            yield number, _checkpoint(line)


def newest(place: Path) -> Checkpoint | None:
    """Give the last checkpoint beside the segments of a gateway; None where there is none."""
    try:
        with (place / FILE).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            found = [one for _, one in checkpoints(file.read()) if one is not None]
    except OSError:
        return None
    return found[-1] if found else None


def _checkpoint(line: bytes) -> Checkpoint | None:
    try:
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
