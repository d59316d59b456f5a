"""What live traffic said of a variant. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts of requests that one arm had to answer."""

    requests: int = 0
    failures: int = 0
    """Errors, timeouts and refusals of what the champion would have accepted; a request that the
    champion rescued is a failure of the canary all the same. What an arm refused only because it
    foresaw a late answer is no request of it."""

    slow: int = 0
    """Answers that took longer than the guard's limit."""

    rescued: int = 0
    """Failures that the champion answered, so that the client did not notice."""

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            requests=self.requests + other.requests,
            failures=self.failures + other.failures,
            slow=self.slow + other.slow,
            rescued=self.rescued + other.rescued,
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave."""
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One closed, numbered stretch of a gateway's journal."""

    gateway: str
    number: int
    """1, 2, 3, … without gaps, for ever, across restarts of the gateway."""

    opened: float
    """Seconds since the epoch."""

    closed: float
    tallies: Mapping[str, Mapping[str, Tally]]
    """Endpoint to content digest of the arm to its counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far one gateway's journal has been folded."""

    gateway: str
    window: int = 0
    """Number of the last window folded."""

    segment: int = 1
    """File in which to go on reading."""

    offset: int = 0
    """Byte at which to go on reading."""
