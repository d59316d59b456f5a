"""The steps by which a canary takes over. Pure."""

from dataclasses import dataclass
from itertools import pairwise

from release.errors import Invalid

_HINT = "see [plan] in the policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Hold the canary at one share of the traffic for a while."""

    share: float
    """Percent of the requests."""

    soak_seconds: float = 0.0
    """Least time at this share, counted from the moment every gateway confirmed it."""

    least_requests: int = 0
    """Fewest canary requests that the step itself must have seen."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 100:
            raise Invalid(
                f"A step's share must be within 0..100 percent, not {self.share:g}.", _HINT
            )
        for name in ("soak_seconds", "least_requests"):
            if (value := getattr(self, name)) < 0:
                raise Invalid(f"A step's {name} must not be negative, not {value:g}.", _HINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps that only ever widen the canary and end at all of the traffic."""

    steps: tuple[Step, ...]

    bake_seconds: float = 0.0
    """How long the promoted variant is watched, able to be put back by itself."""

    patience_seconds: float = 3600.0
    """How long one step may wait for evidence before the release is put back."""

    warm_seconds: float = 120.0
    """How long a variant may take to become ready."""

    def __post_init__(self) -> None:
        shares = [step.share for step in self.steps]
        if not shares or shares[-1] != 100:
            raise Invalid(f"The last step must reach 100 percent, not {shares!r}.", _HINT)
        if any(later <= earlier for earlier, later in pairwise(shares)):
            raise Invalid(f"Each step must widen the canary, unlike {shares!r}.", _HINT)
        for name in ("bake_seconds", "patience_seconds", "warm_seconds"):
            if (value := getattr(self, name)) < 0:
                raise Invalid(f"A plan's {name} must not be negative, not {value:g}.", _HINT)

    def next_share(self, step: int) -> float:
        """Share after `step`, 100 after the last."""
        return self.steps[min(step + 1, len(self.steps) - 1)].share
