"""Make what is only an image of the ledger true again: the registry's aliases, tags and runs."""

from collections.abc import Mapping

from infra.failpoints import failpoint
from infra.ledger import Ledger
from infra.registry import Registry
from release.releases import Desired, Event
from release.variants import Candidate
from tasks.telling import SETTLED, record, version_tags
from tasks.trainings import lineages
from tasks.wiring import House

ALIASES = ("champion", "challenger", "previous")
PREFIX = "slipway."
"""Of tags that are ours."""


def repair(house: House, model: str) -> list[str]:
    """Make the registry's aliases and tags follow the ledger.

    The registry has no compare-and-swap, so the row is read again after writing and the aliases
    are written again if it has moved: a process that slept between reading and writing puts right
    what it put wrong.

    Returns:
        A sentence on each alias that was moved, each version whose tags were put right.
    """
    moved: list[str] = []
    while True:
        desired = house.ledger.desired(model)
        moved += _point(house.registry, desired)
        if house.ledger.desired(model).generation == desired.generation:
            break
    try:
        # Aliases came first: more than people read them, and they need nothing drawn.
        moved += _retag(house, model)
    finally:
        if moved:
            _tell(house.ledger, model, moved, house.clock())
    return moved


def _point(registry: Registry, desired: Desired) -> list[str]:
    arms = (desired.champion, desired.canary, desired.previous)
    moved = []
    for alias, arm in zip(ALIASES, arms, strict=True):
        wanted = arm.version if arm else None
        if (found := registry.alias(desired.model, alias)) == wanted:
            continue
        registry.point(desired.model, alias, wanted)
        failpoint("pointed")
        moved.append(f"alias {alias} of {desired.model} moved from {found} to {wanted}")
    return moved


def _retag(house: House, model: str) -> list[str]:
    """Tell of what nobody told of, and take away what the ledger knows nothing of.

    Tags are written by whoever may write to the registry, and copied with a version that is copied.
    """
    # Tags are read first: whatever they rightly tell, the ledger knew before them.
    tagged = sorted(house.registry.tags(model).items())
    newest = {one.candidate.version: one for one in house.ledger.releases(model)}
    origins = lineages(house, model)
    done = []
    for version, tags in tagged:
        candidate = Candidate(model=model, version=version)
        release = newest.get(version)
        wanted = version_tags(house, release) if release else {}
        if release is not None and release.phase in SETTLED and not wanted.items() <= tags.items():
            record(house, release)
            done.append(f"{candidate.ref} was told of in the registry")
        origin = origins[version].tags() if version in origins else {}
        done += _name_origin(house.registry, candidate, origin, tags)
        if release is not None and release.phase not in SETTLED:
            # What its last release left stays until this one has something to tell.
            continue
        for name in sorted(tags):
            if name.startswith(PREFIX) and name not in {**wanted, **origin}:
                house.registry.untag(candidate, name)
                done.append(f"tag {name} of {candidate.ref}, unknown to the ledger, was removed")
    return done


def _name_origin(
    registry: Registry, candidate: Candidate, origin: Mapping[str, str], tags: Mapping[str, str]
) -> list[str]:
    wrong = [name for name, value in origin.items() if tags.get(name) != value]
    for name in wrong:
        registry.tag(candidate, name, origin[name])
    return [f"tag {name} of {candidate.ref} was put right" for name in wrong]


def _tell(ledger: Ledger, model: str, moved: list[str], now: float) -> None:
    told = Event(kind="image", at=now, actor="slipway", sentence="; ".join(moved), model=model)
    ledger.note(told)
