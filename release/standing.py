"""Which release stood behind each arm of an endpoint, and since when: read off its events. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from release.releases import Event

MOVES = ("warming", "step", "promoted", "restored", "rolled-back")
"""Kinds of events by which arms change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Ids of the releases that brought what is served, from an event on; empty where none did."""

    event: Event
    champion: str = ""
    canary: str = ""
    warm: str = ""
    """Of a canary before its first step: it is reached by whoever asks for its version."""

    previous: str = ""
    """Of the former champion, which is kept warm."""

    def on(self, arm: str) -> tuple[str, ...]:
        """Give what may stand behind an arm; behind one that a client chose, any of them."""
        match arm:
            case "champion":
                return (self.champion,)
            case "canary" | "shadow":
                return (self.canary,)
            case _:
                return (self.champion, self.canary, self.warm, self.previous)

    def is_before(self, at: float, generation: int) -> bool:
        """Whether a call may have met it, by the routes that it went by, or else by its time."""
        mine = int(self.event.data.get("generation", 0))
        return mine <= generation if mine and generation else self.event.at <= at


def standings(events: Iterable[Event]) -> list[Standing]:
    """Follow a model's events, the oldest first; those that move no arm are passed over."""
    found: list[Standing] = []
    stable: dict[str, str] = {}
    for event in events:
        if event.kind in MOVES:
            before = found[-1] if found else Standing(event=event)
            found.append(_after(replace(before, event=event), stable))
    return found


def _after(now: Standing, stable: dict[str, str]) -> Standing:
    """Move arms as an event says; `stable` is the champion that each release has replaced."""
    release = now.event.release
    alone = replace(now, canary="", warm="")
    if now.event.kind == "warming":
        return replace(alone, warm=release)
    if now.event.kind == "step":
        return replace(alone, canary=release)
    if now.event.kind == "promoted":
        stable[release] = now.champion
        return replace(alone, champion=release, previous=now.champion)
    if not release:
        return replace(alone, champion=now.previous, previous="")
    if now.champion == release:
        return replace(alone, champion=stable.get(release, ""), previous="")
    return alone


def brought(
    stood: Sequence[Standing],
    digests: Mapping[str, str],
    *,
    arm: str,
    digest: str,
    at: float,
    generation: int,
) -> tuple[str, Event] | None:
    """Find which release brought what a call was answered by, and the event since when it was so.

    Args:
        stood: of the endpoint's model, the oldest first.
        digests: release id to the content digest that it carried.
        arm: `champion`, `canary`, `shadow` or `pinned`.
        digest: of what answered.
        at: when the call arrived, seconds since the epoch.
        generation: of the routes that it went by; 0 where nobody knows.

    Returns:
        The release's id and the event; None where no release of these did.
    """
    # Backwards: a gateway may have heard of the last move after the call.
    for one in reversed([one for one in stood if one.is_before(at, generation)]):
        for release in one.on(arm):
            if release and digests.get(release) == digest:
                return release, _since(stood, one, arm, release)
    return None


def _since(stood: Sequence[Standing], last: Standing, arm: str, release: str) -> Event:
    """Give the event since when a release has stood behind an arm without a break."""
    event = last.event
    for one in reversed(stood[: stood.index(last)]):
        if release not in one.on(arm):
            break
        event = one.event
    return event
