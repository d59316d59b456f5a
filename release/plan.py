"""The steps by which a canary takes over. Pure."""

from dataclasses import dataclass
from itertools import pairwise

from release.errors import Invalid


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
        if self.soak_seconds < 0 or self.least_requests < 0:
            raise Invalid(f"A step's soak and sample must not be negative: {self!r}.")


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
            raise Invalid(
                f"The last step must reach 100 percent, not {shares!r}.", "see [plan] in the policy"
            )
        if shares[0] <= 0 or any(later <= earlier for earlier, later in pairwise(shares)):
            raise Invalid(
                f"Each step must widen the canary, unlike {shares!r}.", "see [plan] in the policy"
            )
        if min(self.bake_seconds, self.patience_seconds, self.warm_seconds) < 0:
            raise Invalid("Times of a plan must not be negative.", "see [plan] in the policy")

    def next_share(self, step: int) -> float:
        """Share after `step`, 100 after the last."""
        return self.steps[min(step + 1, len(self.steps) - 1)].share
