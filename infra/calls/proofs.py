"""What a proof of a journal is held against, and what it gives."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.calls.checkpoints import Checkpoint
from infra.calls.vault import Vault

MOST_NAMED = 20
"""Calls that are named of those that were erased by nobody on record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A line that is not as it was written, or not where."""

    segment: int
    line: int
    """1, 2, 3, … within the segment; 0 where it is about all of it."""

    what: str
    """A sentence."""

    def __str__(self) -> str:
        where = f"segment {self.segment}" + (f", line {self.line}" if self.line else "")
        return f"{where}: {self.what}"


@dataclass(slots=True, kw_only=True)
class Proof:
    """What was found of one gateway's journal."""

    gateway: str
    calls: int = 0
    first: int = 0
    """Sequence of the first call that is there; 0 where there is none."""

    last: int = 0
    erased: int = 0
    """Payloads that were erased, by overwriting or by destroying their key."""

    unrecorded: int = 0
    """Of these, those that no recorded erasure covers."""

    nobodys: list[int] = field(default_factory=list)
    """Sequences of the first `MOST_NAMED` of these."""

    unfinished: int = 0
    """Payloads that a recorded erasure covers and has overwritten in part."""

    standing: int = 0
    """Payloads that a recorded erasure covers, and that can be read all the same."""

    first_standing: int = 0
    """Sequence of the first of these."""

    old: int = 0
    """Segments of before the call record, which nothing proves."""

    anchored: int = 0
    """Sequence up to which a checkpoint from outside the folder proves everything."""

    signed: int = 0
    """Sequence up to which a checkpoint beside the segments does."""

    elsewhere: bool = False
    """Whether its journal lies on another host: then an anchor is all that is known here."""

    faults: list[Fault] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether no line is wrong."""
        return not self.faults

    @property
    def lawful(self) -> bool:
        """Whether besides all payloads are gone that an erasure on record covers, and no others."""
        return self.good and not (self.unrecorded or self.unfinished or self.standing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known beside the segments themselves."""

    beside: Path | None = None
    """The file of checkpoints."""

    anchors: Iterable[tuple[str, Checkpoint]] = ()
    """Checkpoints from outside the folder, each with where it is from."""

    public: bytes | None = None
    """Key that checkpoints are signed with; None checks no signature."""

    vault: Vault | None = None
    """Opens payloads; None leaves them unopened."""

    erasures: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Recorded ones: namespace and the day, `user:` with the user, `key:` with the caller,
    `id:` with the request's id, or `call:` with the gateway and sequence of a single one, to the
    moment up to which calls are covered, in microseconds since the epoch."""

    removed: int = 0
    """Last segment whose removal is recorded."""
