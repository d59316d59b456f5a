"""What a controller may write, and the claim under which it may."""

from dataclasses import dataclass

from release.evidence import Cursor, Window
from release.releases import Desired, Event, Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to move one model's row, until somebody else takes it."""

    model: str
    owner: str
    epoch: int
    """Fencing token: rises with each change of owner."""

    until: float
    """Seconds since the epoch; afterwards others may take it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Everything that one tick writes, in one transaction or not at all."""

    expected: int
    """Generation of the row that the tick was decided on."""

    release: Release | None = None
    desired: Desired | None = None
    events: tuple[Event, ...] = ()
    windows: tuple[Window, ...] = ()
    """Stretches of the journal to fold into the release's evidence."""

    cursors: tuple[Cursor, ...] = ()
    step: int = 0
    """Step under which the evidence is kept."""

    bump: bool = False
    """Whether the generation rises although arms and share stay."""
