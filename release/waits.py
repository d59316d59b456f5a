"""How long things have been, and until when an open release waits. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from release.releases import Event, Phase, Release

MOVES = ("promoted", "restored", "rolled-back")
"""Kinds of events with which a champion may change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What must pass before a release moves on."""

    until: float
    """Seconds since the epoch."""

    then: str
    """What happens at that moment where nothing happened before, for people."""


def wait_of(release: Release, now: float) -> Wait | None:
    """Say until when a release waits; None where no clock ends it."""
    plan, since = release.policy.plan, release.since
    if since is None:
        return None
    match release.phase:
        case Phase.WARMING:
            return Wait(until=since + plan.warm_seconds, then="it is called off if not ready")
        case Phase.CANARY:
            soaked = since + plan.steps[release.step].soak_seconds
            if now < soaked:
                return Wait(until=soaked, then="the soak is over")
            return Wait(
                until=since + plan.patience_seconds, then="it is put back if not proven good"
            )
        case Phase.BAKING if release.stable is not None:
            return Wait(until=since + plan.bake_seconds, then="it has held")
        case _:
            return None


def phase_since(release: Release, events: Iterable[Event]) -> float:
    """Say when a release entered its present phase.

    Args:
        release: open or closed.
        events: its own, in any order.
    """
    if release.closed_at is not None:
        return release.closed_at
    entered = [one.at for one in events if one.data.get("phase") == str(release.phase)]
    return min(entered, default=release.opened_at)


def champion_since(events: Iterable[Event]) -> float | None:
    """Say since when a model's champion serves; None where none was ever promoted.

    A release that is put back changes the champion only if it was promoted before, and a rollback
    without a release always does.

    Args:
        events: of the model, of the kinds `MOVES` at least, the oldest first.
    """
    since: float | None = None
    promoted: set[str] = set()
    for one in events:
        if one.kind == "promoted":
            promoted.add(one.release)
            since = one.at
        elif one.kind in MOVES and (not one.release or one.release in promoted):
            since = one.at
    return since
