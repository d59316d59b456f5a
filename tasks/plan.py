"""Tell what a release would do and cost, and do none of it. Needs neither Prefect nor torch."""

from dataclasses import replace

from evaluation.needs import needs
from infra.identity import Identity
from release.errors import Invalid, Refused
from release.outlook import (
    Making,
    Outlook,
    Trial,
    consent,
    doubts,
    forecast,
    gates_asked,
    measuring,
    paced,
    unapprovable,
)
from release.releases import Event
from release.variants import Recipe
from serving.rate import request_rate
from serving.variants.build import check_tools, recipe_digest
from serving.variants.intake import parent_digest
from tasks.desk import REQUESTERS
from tasks.inspection import Inspected, Request, inspect
from tasks.wiring import House


def plan(house: House, request: Request) -> Outlook:
    """Look ahead: obstacles, variants, gates, approvals, steps and times.

    At most the candidate's files are fetched; nothing else is written.

    Raises:
        NotFound: there is no such model, version or policy.
        Invalid: the name or the policy breaks a rule.
        Unavailable: the registry or the ledger does not answer.
    """
    found = inspect(house, request)
    who = _whoever_asks(house)
    people = [(one.name, one.role) for one in house.identities.list() if _is_person(one)]
    policy, champion = found.policy, found.desired.champion
    asked = consent(policy.approval, people, who.human if who else "")
    makings = _makings(house, found)
    steps = needs(policy.plan, policy.live) if champion else ()
    now = house.clock()
    rate = request_rate(house.settings.journal, found.candidate.model, now)
    barred = unapprovable(asked)
    outlook = Outlook(
        candidate=found.candidate.ref,
        at=now,
        policy=policy.digest,
        champion=champion.ref if champion else None,
        trial=_trial(found),
        makings=makings,
        gates=gates_asked(policy, champion=champion is not None),
        consent=asked,
        measuring_seconds=_measuring(house, found, len(makings) + (champion is not None)),
        needs=steps,
        rate=rate,
        paces=paced(steps, rate),
        bake_seconds=policy.plan.bake_seconds if champion else 0.0,
        obstacles=(*map(str, found.obstacles), *([barred] if barred else [])),
        warnings=(),
    )
    return replace(outlook, warnings=(*_may_not_ask(who), *doubts(outlook, policy.plan)))


def _is_person(one: Identity) -> bool:
    return one.active and not one.machine


def _whoever_asks(house: House) -> Identity | None:
    """Give who would ask; a plan may be made by anybody."""
    try:
        return house.identities.prove(house.token)
    except Refused:
        return None


def _may_not_ask(who: Identity | None) -> list[str]:
    if who is None or who.role in REQUESTERS:
        return []
    return [f"{who.name} is {who.role} and may not open a release; somebody else must ask."]


def _trial(found: Inspected) -> Trial | None:
    suite = found.suite
    if suite is None:
        return None
    test, calibration = (len(suite.texts(split)) for split in ("test", "calibration"))
    return Trial(name=suite.name, digest=suite.digest, test=test, calibration=calibration)


def _makings(house: House, found: Inspected) -> tuple[Making, ...]:
    built = [event for _, event in house.ledger.events(kinds=("built",))]
    parent = parent_digest(found.source) if found.source else ""
    return tuple(_making(house, found, one, parent, built) for one in found.policy.variants)


def _making(
    house: House, found: Inspected, recipe: Recipe, parent: str, built: list[Event]
) -> Making:
    seconds, like = forecast(recipe.label, found.candidate.model, built)
    if found.suite is None or not parent or not _can_build(recipe):
        return Making(recipe=recipe.label, state="unknown", seconds=seconds, like=like)
    key = recipe_digest(recipe, found.candidate, parent, found.suite.texts("calibration"))
    if house.store.find(key):
        return Making(recipe=recipe.label, state="stored")
    return Making(recipe=recipe.label, state="to build", seconds=seconds, like=like)


def _can_build(recipe: Recipe) -> bool:
    try:
        check_tools(recipe)
    except Invalid:
        return False
    return True


def _measuring(house: House, found: Inspected, subjects: int) -> float | None:
    """Take the newest release of this model that was measured on the same texts as the guide."""
    if found.suite is None:
        return None
    digest = found.suite.digest
    earlier = reversed(house.ledger.releases(found.candidate.model))
    told = (
        measuring(one, [event for _, event in house.ledger.events(one.id)], digest, subjects)
        for one in earlier
    )
    return next((one for one in told if one is not None), None)
