"""How much traffic a rollout needs before it may widen, if nothing goes wrong. Pure."""

from dataclasses import replace

from evaluation.live import judge_live
from release.evidence import Tally
from release.gates import Decision
from release.outlook import Need
from release.plan import Plan, Step
from release.policy import Live

MOST = 10**9
"""Requests beyond which nobody waits."""


def needs(plan: Plan, live: Live) -> tuple[Need, ...]:
    """Say for every step what it waits for, where neither arm ever fails or is slow.

    The same guards that will judge the rollout are asked, so that the two cannot disagree.

    Args:
        plan: the steps.
        live: limits and confidence.
    """
    found = []
    before = Tally()
    champion = Tally()
    for number, step in enumerate(plan.steps):
        widens_to = plan.next_share(number)
        evidence = fewest(before, champion, live, step=step, next_share=widens_to)
        here = None if evidence is None else max(step.least_requests, evidence - before.requests)
        found.append(
            Need(
                share=step.share,
                shadow=step.shadow,
                soak_seconds=step.soak_seconds,
                least_requests=step.least_requests,
                next_share=widens_to,
                evidence=evidence,
                requests=here,
            )
        )
        champion += Tally(requests=_beside(here or 0, step))
        before += Tally(requests=here or 0)
    return tuple(found)


def fewest(
    canary: Tally, champion: Tally, live: Live, *, step: Step, next_share: float
) -> int | None:
    """Find the smallest number of canary requests that lets it widen, if all to come are good.

    Args:
        canary: its counts so far.
        champion: the same of the champion.
        live: limits and confidence.
        step: at which the canary is.
        next_share: percent that it would get next.

    Returns:
        Canary requests since the rollout began; None where more than `MOST` would be needed.
    """

    def enough(requests: int) -> bool:
        fresh = max(0, requests - canary.requests)
        beside = champion + Tally(requests=_beside(fresh, step))
        findings = judge_live(
            beside, replace(canary, requests=requests), live, next_share=next_share
        )
        return all(one.decision is Decision.PASS for one in findings)

    few, many = max(canary.failures, canary.slow) - 1, canary.requests
    while not enough(many):
        if many >= MOST:
            return None
        few, many = many, min(MOST, max(1, 2 * many))
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many


def _beside(canary: int, step: Step) -> int:
    """Give the champion's requests while the canary had so many."""
    return round(canary * (100 - step.share) / step.seen)
