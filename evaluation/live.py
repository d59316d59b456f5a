"""Findings about a canary from live traffic: counts in, three-valued findings out. Pure."""

from dataclasses import dataclass

from evaluation.sequential import rate_bounds
from release.evidence import Tally
from release.gates import Decision, Finding
from release.policy import Live


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rate:
    what: str
    canary: tuple[int, int]
    """Bad requests, all requests."""

    stable: tuple[int, int]


def judge_live(
    stable: Tally, canary: Tally, live: Live, *, next_share: float
) -> tuple[Finding, ...]:
    """Compare the canary's failure and slowness rates with the stable variant's.

    Bad is what is proven to be worse by more than `live.worse_by`. Good is what, at its upper
    bound and at the next share, costs no more than `live.harm_budget` of all requests: a small
    share needs little evidence, a large one much.

    Args:
        stable: counts of the stable variant since the rollout began.
        canary: counts of the canary since the rollout began.
        live: limits and confidence.
        next_share: percent of the traffic that the canary would get next.
    """
    rates = (
        _Rate(
            what="failure rate",
            canary=(canary.failures, canary.requests),
            stable=(stable.failures, stable.requests),
        ),
        _Rate(
            what=f"rate of answers over {live.guard.slow_ms:g} ms",
            canary=(canary.slow, canary.requests),
            stable=(stable.slow, stable.requests),
        ),
    )
    # Two rates, two arms: each pair of bounds gets its part of what may go wrong (Bonferroni).
    alpha = (1 - live.confidence) / (2 * len(rates))
    return tuple(_judge(rate, live, alpha, next_share / 100) for rate in rates)


def _judge(rate: _Rate, live: Live, alpha: float, share: float) -> Finding:
    canary_low, canary_high = rate_bounds(*rate.canary, alpha)
    stable_low, stable_high = rate_bounds(*rate.stable, alpha)
    excess, feared = canary_low - stable_high, max(0.0, canary_high - stable_low)
    seen = (
        f"canary's {rate.what} is {_percent(*rate.canary)}, the champion's {_percent(*rate.stable)}"
    )
    if excess > live.worse_by:
        decision = Decision.FAIL
        told = f"worse by at least {excess:.1%} > {live.worse_by:.1%}"
    elif feared * share <= live.harm_budget:
        decision = Decision.PASS
        told = f"at {share:.0%} of the traffic it costs at most {feared * share:.2%}"
    else:
        decision = Decision.INCONCLUSIVE
        told = (
            f"at {share:.0%} of the traffic it might cost {feared * share:.1%} "
            f"> {live.harm_budget:.1%}; more requests are needed"
        )
    return Finding(gate=rate.what, decision=decision, reason=f"{seen}: {told}")


def _percent(bad: int, every: int) -> str:
    return f"{bad / every:.1%} ({bad} of {every})" if every else "unknown (no requests)"
