"""The steps by which a canary takes over: seen in the shadow first, then by clients. Pure."""

from dataclasses import dataclass
from itertools import pairwise

from release.errors import Invalid

_HINT = "see [plan] in the policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Hold the canary at one share of the traffic, or of its shadow, for a while."""

    share: float = 0.0
    """Percent of the requests that it answers."""

    shadow: float = 0.0
    """Percent of the requests that it gets copies of, after the champion has answered them: it is
    judged, and no client meets it. A step has either this or a share."""

    soak_seconds: float = 0.0
    """Least time at this share, counted from the moment every gateway confirmed it."""

    least_requests: int = 0
    """Fewest canary requests that the step itself must have seen."""

    def __post_init__(self) -> None:
        if self.share and self.shadow:
            said = f"A step has a share or a shadow, not {self.share:g} and {self.shadow:g} both."
            raise Invalid(said, _HINT)
        name = "shadow" if self.shadow else "share"
        if not 0 < self.seen <= 100:
            said = f"A step's {name} must be above 0 and at most 100 percent, not {self.seen:g}."
            raise Invalid(said, _HINT)
        for name in ("soak_seconds", "least_requests"):
            if (value := getattr(self, name)) < 0:
                raise Invalid(f"A step's {name} must not be negative, not {value:g}.", _HINT)

    @property
    def seen(self) -> float:
        """Percent of the requests that the canary sees, whether or not it answers for them."""
        return self.shadow or self.share

    @property
    def name(self) -> str:
        """Name it for people."""
        return f"{self.seen:g} % in the shadow" if self.shadow else f"{self.share:g} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps that only ever widen the canary and end at all of the traffic, shadows first."""

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
        if any(
            (later.share, later.shadow) <= (earlier.share, earlier.shadow)
            for earlier, later in pairwise(self.steps)
        ):
            said = ", ".join(step.name for step in self.steps)
            raise Invalid(f"Each step must widen the canary, unlike {said}.", _HINT)
        for name in ("bake_seconds", "patience_seconds", "warm_seconds"):
            if (value := getattr(self, name)) < 0:
                raise Invalid(f"A plan's {name} must not be negative, not {value:g}.", _HINT)

    def next_share(self, step: int) -> float:
        """Share of the clients' traffic after `step`, 100 after the last.

        After a shadow it is that of the next step, whatever that is: while no client meets the
        canary it costs nothing, so a wider shadow is always allowed.
        """
        return self.steps[min(step + 1, len(self.steps) - 1)].share
