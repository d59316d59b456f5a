"""Checkpoints: signed words on how far a journal had come, kept beside it and anchored elsewhere.

A checkpoint binds all lines up to one whose `chain` it names. It is signed (Ed25519) only once they
are on the disk, so that no power loss can make the truth look like a cut.
"""

import errno
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.calls.secrets import kept
from infra.calls.segments import paths_in
from infra.files import sync_folder, write_atomic
from release.errors import Invalid

FILE = "checkpoints"
"""Name of the file beside a gateway's segments."""

SIGNING = "signing"
"""Name of the key among the secrets."""

TAIL_BYTES = 4_096
"""More than a line has."""

PRUNE_BYTES = 256 * 1024
"""Each time that the file has grown by so much, it is pruned."""

_BEGINNING = b'{"at_us":'

_encode = msgspec.json.Encoder().encode


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far a journal had come. Its JSON without the signature is what is signed."""

    at_us: int
    chain: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a file of checkpoints."""

    number: int
    """1, 2, 3, …"""

    content: bytes
    """Its beginning, where it is longer than any checkpoint."""

    checkpoint: Checkpoint | None = None
    """None where it is none, or no such line as we write."""

    why: str = ""
    """Why it is none; a clause."""

    torn: bool = False
    """Whether a power loss can have left it so."""


class Signer:
    """Signs checkpoints.

    Args:
        secrets: folder of the call record's secrets.
        journals: where checkpoints lie that a lost key may have signed; None asks nobody.

    Raises:
        Unavailable: the key can neither be read nor be made, or was lost.
        Invalid: it is no key.
    """

    def __init__(self, secrets: Path, journals: Path | None = None) -> None:
        def signed() -> str:
            signs = journals is not None and any(journals.glob(f"*/{FILE}"))
            return f"it has signed what lies in {journals}" if signs else ""

        fresh = Ed25519PrivateKey.generate().private_bytes_raw()
        self._key = _key(secrets, kept(secrets / SIGNING, fresh, signed))
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


def public_key(secrets: Path) -> bytes:
    """Give the key that checkpoints are checked with; none is made.

    Raises:
        Unavailable: the key that they were signed with is not there.
        Invalid: it is no key.
    """
    raw = kept(secrets / SIGNING, b"", lambda: "without it no checkpoint can be checked")
    return _key(secrets, raw).public_key().public_bytes_raw()


def _key(secrets: Path, raw: bytes) -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(raw)
    except ValueError as error:
        raise Invalid(f"The signing key at {secrets / SIGNING} is none.") from error


def genuine(checkpoint: Checkpoint, public: bytes) -> bool:
    """Whether a checkpoint was signed with the key that `public` belongs to."""
    try:
        signature = bytes.fromhex(checkpoint.signature)
        Ed25519PublicKey.from_public_bytes(public).verify(signature, checkpoint.signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def append(place: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside the segments, durably; now and then the file is pruned.

    Raises:
        OSError: it could not be written.
    """
    before, after = append_line(place / FILE, checkpoint)
    if before // PRUNE_BYTES < after // PRUNE_BYTES:
        prune(place)


def append_line(path: Path, checkpoint: Checkpoint) -> tuple[int, int]:
    """Append a checkpoint to a file of them, durably, and all of it or nothing.

    Returns:
        Bytes of the file, before and after.

    Raises:
        OSError: it could not be written.
    """
    # Its own line, also after one that was torn.
    line = b"\n" + _encode(checkpoint) + b"\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        before = os.fstat(handle).st_size
        if os.write(handle, line) < len(line):
            os.ftruncate(handle, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fdatasync(handle)
    finally:
        os.close(handle)
    if not before:
        sync_folder(path.parent)
    return before, before + len(line)


def prune(place: Path) -> None:
    """Keep the newest checkpoint of each segment that is still there.

    It binds all lines before it, those of earlier segments too; others only tell more precisely up
    to where a journal was whole. For whoever appends: nobody else may meanwhile.

    Raises:
        OSError: the file stays as it was.
    """
    there = {int(path.stem) for path in paths_in(place)}
    newest: dict[int, Checkpoint] = {}
    for _, one in read(place / FILE):
        if one is not None and one.segment in there:
            newest[one.segment] = one
    if newest:
        lines = [_encode(newest[segment]) for segment in sorted(newest)]
        write_atomic(place / FILE, b"\n".join(lines) + b"\n", mode=0o600)


def read(path: Path) -> Iterator[tuple[int, Checkpoint | None]]:
    """Read checkpoints, one line at a time; a file that is not there has none.

    What was torn when it was written is passed over: it was never relied on, and taking it away
    would have left as little.

    Yields:
        The number of each line, and its checkpoint; None for a line that is none.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        yield from (
            (one.number, one.checkpoint)
            for one in _lines(file)
            if one.checkpoint is not None or not one.torn
        )


def lines(path: Path) -> Iterator[Line]:
    """Read every line of a file of checkpoints that is not empty.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        yield from _lines(file)


def _lines(file: BinaryIO) -> Iterator[Line]:
    number = 0
    while content := file.readline(TAIL_BYTES):
        number += 1
        ended, long = content.endswith(b"\n"), False
        while not ended and (more := file.readline(TAIL_BYTES)):
            ended, long = more.endswith(b"\n"), True
        if line := content.rstrip(b"\r\n"):
            yield _read(number, line, long=long)


def _read(number: int, content: bytes, *, long: bool) -> Line:
    torn = not long and _is_torn(content)
    try:
        return Line(number=number, content=content, checkpoint=_decode(content))
    except msgspec.ValidationError as error:
        why = f"it is no anchor: {error}"
    except (msgspec.MsgspecError, UnicodeDecodeError):
        why = "it was never written to its end" if torn else "it is no JSON"
    if long:
        why = f"it is longer than the {TAIL_BYTES} bytes of any anchor"
    return Line(number=number, content=content, why=why, torn=torn)


def newest(place: Path) -> Checkpoint | None:
    """Give the last checkpoint beside the segments of a gateway; None where there is none."""
    try:
        with (place / FILE).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return None
    return next((one for line in reversed(lines) if (one := _checkpoint(line)) is not None), None)


def _is_torn(line: bytes) -> bool:
    """Whether a power loss can have left this of a checkpoint: its beginning, or zeros."""
    begun = line.startswith(_BEGINNING[: len(line)]) and not line.endswith(b"}")
    return begun or b"\0" in line


def _checkpoint(line: bytes) -> Checkpoint | None:
    try:
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def is_of(host: str, gateway: str) -> bool:
    """Whether a gateway, named as its folder is, is one of a host's agent."""
    return re.fullmatch(rf"{re.escape(host)}_g\d+", gateway) is not None
