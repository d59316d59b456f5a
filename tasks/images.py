"""Make what is only an image of the ledger true again: the registry's aliases."""

from infra.ledger import Ledger
from infra.registry import Registry
from release.releases import Desired, Event
from release.variants import Candidate
from tasks.wiring import House

ALIASES = ("champion", "challenger", "previous")


def repair(house: House, model: str) -> list[str]:
    """Make the registry's aliases follow the ledger.

    The registry has no compare-and-swap, so the row is read again after writing and the aliases
    are written again if it has moved: a process that slept between reading and writing puts right
    what it put wrong.

    Returns:
        A sentence on each alias that was moved.
    """
    moved: list[str] = []
    while True:
        desired = house.ledger.desired(model)
        moved += _point(house.registry, desired)
        if house.ledger.desired(model).generation == desired.generation:
            break
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
        moved.append(f"alias {alias} of {desired.model} moved from {found} to {wanted}")
        if arm is not None:
            candidate = Candidate(model=arm.model, version=arm.version)
            registry.tag(candidate, "slipway.digest", arm.digest)
    return moved


def _tell(ledger: Ledger, model: str, moved: list[str], now: float) -> None:
    told = Event(kind="image", at=now, actor="slipway", sentence="; ".join(moved), model=model)
    ledger.note(told)
