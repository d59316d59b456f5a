"""How long calls are kept and how much of them: by days, and by bytes on the disk of this host.

What is weighed is the lines of each namespace in the gateways' segments. A segment only grows, so
that each byte is weighed once; what was found is kept in a file that can be deleted at any time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from infra.calls.chain import CALL
from infra.calls.numbers import DAY_US
from infra.calls.segments import paths_in
from infra.files import write_atomic
from release.callers import Recording

MB = 10**6
CHUNK = 256 * 1024
"""Bytes of a namespace's lines that are let go of together."""

_LATEST_US = 2**62


class Chunk(msgspec.Struct, array_like=True):
    """Some lines of one namespace in one segment."""

    newest_us: int
    bytes: int


class Weighed(msgspec.Struct):
    """What was found in one segment."""

    size: int = 0
    """Bytes that were looked at; always the beginning of a line."""

    chunks: dict[str, list[Chunk]] = msgspec.field(default_factory=dict)
    """Namespace to its lines, those that were written first standing first."""


class Weights(msgspec.Struct):
    """How much the calls of every namespace take."""

    segments: dict[str, Weighed] = msgspec.field(default_factory=dict)
    """By gateway and number, such as `host_g1/00000001`."""

    def used(self) -> dict[str, int]:
        """Give the bytes of each namespace."""
        found: dict[str, int] = {}
        for segment in self.segments.values():
            for name, chunks in segment.chunks.items():
                found[name] = found.get(name, 0) + sum(one.bytes for one in chunks)
        return found

    def fitting(self, namespace: str, most: int) -> int:
        """Give the moment from which on a namespace's calls take no more than so many bytes.

        Returns:
            Microseconds since the epoch; 0 where all of them fit.
        """
        lines = [
            one for segment in self.segments.values() for one in segment.chunks.get(namespace, ())
        ]
        for one in sorted(lines, key=lambda one: one.newest_us, reverse=True):
            most -= one.bytes
            if most < 0:
                return one.newest_us + 1
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Which calls are kept."""

    recordings: Mapping[str, Recording]
    """Namespace to what it wants."""

    otherwise: Recording
    """What is done with calls of a namespace that there is not, or not any more."""

    weights: Weights = field(default_factory=Weights)
    _fitting: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Namespace to what `Weights.fitting` gave: much is asked of the same few, again and again."""

    def past_days(self, namespace: str, now_us: int) -> int:
        """Give the moment before which a namespace's calls are too old, on whichever host."""
        return now_us - self.recordings.get(namespace, self.otherwise).days * DAY_US

    def oldest(self, namespace: str, now_us: int) -> int:
        """Give the moment before which a namespace's calls go on this host, being too many too.

        Returns:
            Microseconds since the epoch.
        """
        wants = self.recordings.get(namespace, self.otherwise)
        by_days = self.past_days(namespace, now_us)
        if not wants.most_mb:
            return by_days
        if namespace not in self._fitting:
            self._fitting[namespace] = self.weights.fitting(namespace, wants.most_mb * MB)
        return max(by_days, self._fitting[namespace])


class _Call(msgspec.Struct, frozen=True):
    at_us: int
    namespace: str = "default"


class _Called(msgspec.Struct, frozen=True):
    call: _Call


class _Record(msgspec.Struct, frozen=True):
    """A request of before the call record."""

    at: float


_called = msgspec.json.Decoder(_Called).decode
_record = msgspec.json.Decoder(_Record).decode


def weigh(journals: Path, file: Path) -> Weights:
    """Weigh the segments of all gateways.

    Args:
        journals: where they lie.
        file: holds what was found before, and then what is found now.

    Raises:
        OSError: a segment cannot be read, or the file cannot be written.
    """
    known, found = _known(file), Weights()
    for journal in sorted(journals.glob("*/")):
        for path in paths_in(journal):
            key = f"{journal.name}/{path.stem}"
            found.segments[key] = _weighed(path, known.segments.get(key, Weighed()))
    if found.segments:
        write_atomic(file, msgspec.json.encode(found), durable=False, mode=0o600)
    return found


def _known(file: Path) -> Weights:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Weights)
    except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
        return Weights()


def _weighed(path: Path, known: Weighed) -> Weighed:
    """Weigh what a segment has more than before; all of it where it has less."""
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) < known.size:
                known = Weighed()
            file.seek(known.size)
            content = file.read()
    except FileNotFoundError:
        return Weighed()  # it was too old, and went meanwhile
    for line in content[: content.rfind(b"\n") + 1].splitlines(keepends=True):
        known.size += len(line)
        if (whose := _whose(line)) is not None:
            _add(known.chunks.setdefault(whose[0], []), whose[1], len(line))
    return known


def _add(chunks: list[Chunk], at_us: int, size: int) -> None:
    at_us = min(max(at_us, 0), _LATEST_US)
    if not chunks or chunks[-1].bytes >= CHUNK:
        chunks.append(Chunk(at_us, 0))
    chunks[-1].bytes += size
    chunks[-1].newest_us = max(chunks[-1].newest_us, at_us)


def _whose(line: bytes) -> tuple[str, int] | None:
    """Name the namespace of a call's line, and when it was; None of any other line."""
    try:
        if line.startswith(CALL):
            call = _called(line).call
            return call.namespace, call.at_us
        return "default", int(_record(line).at * 1e6)
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError):
        return None
