"""What a tick knows, and the moves it can make. Pure."""

from dataclasses import dataclass, replace

from release.errors import Conflict
from release.gates import Decision, Finding
from release.releases import Approval, Desired, Event, Phase, Release
from release.variants import Variant

SLIPWAY = "slipway"
"""Actor of what nobody asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is true outside at the moment of a tick. The defaults know nothing."""

    approvals: tuple[Approval, ...] = ()
    ready: bool = False
    """Whether the canary's replica is ready everywhere, its digest verified."""

    trouble: str = ""
    """What a canary's replica that is not ready says of itself."""

    confirmed: bool = False
    """Whether every gateway serves the present generation."""

    lapsed: bool = False
    """Whether a gateway let the canary's lease run out at the present generation."""

    tripped: str = ""
    """Why a gateway took the canary's share away by itself."""

    requests: int = 0
    """Canary requests seen in the present step."""

    live: Decision = Decision.INCONCLUSIVE
    """What the guards say of all evidence since the rollout began, at the next share."""

    findings: tuple[Finding, ...] = ()
    failing: str = ""
    """How the released variant fails most often, where it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What follows: the new state, and what to tell. Equal states mean that nothing happened."""

    release: Release
    desired: Desired
    events: tuple[Event, ...] = ()
    bump: bool = False
    """Whether gateways must confirm anew although arms and shares are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that a decision may rest on."""

    release: Release
    desired: Desired
    seen: Seen
    now: float

    def stay(self, waiting_for: str, reason: str, seconds: float = 1.0) -> Tick:
        """Wait, and look again after `seconds` at the earliest."""
        release = replace(
            self.release, waiting_for=waiting_for, reason=reason, not_before=self.now + seconds
        )
        return Tick(release=release, desired=self.desired)

    def go(
        self,
        phase: Phase,
        kind: str,
        sentence: str,
        desired: Desired | None = None,
        *,
        step: int = 0,
        since: float | None = None,
    ) -> Tick:
        """Enter a phase or a step, with its event and the arms that it wants."""
        release = replace(
            self.release,
            phase=phase,
            step=step,
            since=since,
            waiting_for="",
            not_before=self.now,
            reason=sentence,
            closed_at=self.now if phase.closed else None,
        )
        arms = self.desired if desired is None else desired
        event = self.event(
            kind,
            sentence,
            phase=phase,
            step=step,
            share=arms.canary_percent,
            shadow=arms.shadow_percent,
        )
        return Tick(release=release, desired=arms, events=(event,))

    def event(self, kind: str, sentence: str, **data: object) -> Event:
        """Tell of this release, in the controller's own name."""
        return Event(
            kind=kind,
            at=self.now,
            actor=SLIPWAY,
            sentence=sentence,
            data=data,
            release=self.release.id,
            model=self.release.candidate.model,
        )


def restore(
    release: Release,
    desired: Desired,
    now: float,
    why: str,
    *,
    actor: str = SLIPWAY,
    phase: Phase = Phase.RESTORED,
) -> Tick:
    """Lead back from any point: the champion of the beginning has all the traffic again.

    Args:
        release: an open release.
        desired: the model's row.
        now: seconds since the epoch.
        why: half a sentence.
        actor: who asked for it.
        phase: how the release closes.
    """
    served = release.chosen is not None and desired.champion == release.chosen.variant
    taken = release.chosen.variant.ref if release.chosen else release.candidate.ref
    back = f"{release.stable.ref} has all the traffic" if release.stable else "nothing serves"
    had_traffic = served or desired.canary is not None
    sentence = f"{taken} was {'put back' if had_traffic else 'called off'} ({why}); {back}"
    arms = replace(
        desired.at_rest(),
        champion=release.stable if served else desired.champion,
        previous=None if served else desired.previous,
        canary=None,
        policy_text=release.stable_policy or desired.policy_text,
    )
    state = State(release=release, desired=arms, seen=Seen(), now=now)
    kind = "rolled-back" if phase is Phase.ROLLED_BACK else "restored"
    move = state.go(phase, kind, sentence, step=release.step)
    return replace(move, events=tuple(replace(event, actor=actor) for event in move.events))


def promoted(desired: Desired) -> Desired:
    """Give the canary all the traffic for good, and keep the champion that it replaces warm."""
    return replace(
        desired.at_rest(),
        champion=desired.canary,
        previous=desired.champion,
        canary=None,
    )


def rolled_back(desired: Desired) -> Desired:
    """Put the previous champion back, with no release open.

    Raises:
        Conflict: there is no previous champion.
    """
    if desired.previous is None:
        raise Conflict(
            f"{desired.model} has no previous champion to go back to.",
            "release an older version instead",
        )
    return replace(
        desired.at_rest(),
        champion=desired.previous,
        previous=None,
        canary=None,
    )


def ref(variant: Variant | None) -> str:
    """Name a variant for people."""
    return variant.ref if variant else "nothing"


def sentence_of(findings: tuple[Finding, ...]) -> str:
    """Say the worst of what was found."""
    if not findings:
        return "no live evidence yet"
    worst = max(finding.decision.badness for finding in findings)
    return "; ".join(one.reason for one in findings if one.decision.badness == worst)
