"""Who calls, for whom, and what of a call is kept. Pure.

A caller is proven by a key or a token; nothing about it is ever taken from what the client says of
itself. A namespace owns endpoints, models and keys, and says what of its calls is recorded.
"""

from dataclasses import dataclass
from enum import StrEnum


class Capture(StrEnum):
    """What of a call's input and output is recorded, besides that it took place."""

    NONE = "none"
    HASH = "hash"
    """A salted hash of each: whoever has a text can prove that it was this one."""

    REDACTED = "redacted"
    """Both, with what looks like personal data or a secret replaced."""

    FULL = "full"


class WhenFull(StrEnum):
    """What a gateway does with a call that it cannot record."""

    REFUSE = "refuse"
    """Answer 503 at once; nothing is computed for nobody."""

    BLOCK = "block"
    """Let it wait for room within its deadline, and refuse it then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a namespace wants recorded."""

    capture: Capture = Capture.NONE
    sample: float = 1.0
    """Part of the calls whose payloads are kept, 0..1; every call has its line all the same."""

    strict: bool = False
    """Whether the line must be on the disk, and not only written, before the answer leaves."""

    when_full: WhenFull = WhenFull.REFUSE
    days: int = 180
    """For how long payloads and lines are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, as proven."""

    id: str
    """Id of the key, or issuer and subject of a token; empty in the open mode."""

    namespace: str = "default"
    user: str = ""
    tenant: str = ""


OPEN = Caller(id="")
"""Whoever calls in the open mode, which exists on loopback alone."""
