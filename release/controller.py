"""One tick of a release: what was decided before, what is seen now, what follows. Pure.

The same arguments give the same answer, and every answer may be applied twice: a controller that
is killed and run again changes nothing that the first one did not mean to change.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from release.gates import Decision
from release.moves import Seen, State, Tick, promoted, ref, restore, sentence_of
from release.releases import Approval, Desired, Phase, Release


def tick(release: Release, desired: Desired, seen: Seen, now: float) -> Tick:
    """Decide the next move of a release.

    Args:
        release: as the ledger holds it.
        desired: the model's row, as the ledger holds it.
        seen: what is true outside.
        now: seconds since the epoch.

    Returns:
        The new state; unchanged where the release is closed.
    """
    if release.phase.closed:
        return Tick(release=release, desired=desired)
    state = State(release=release, desired=desired, seen=seen, now=now)
    return _PHASES[release.phase](state)


def _prepare(state: State) -> Tick:
    release = state.release
    if not release.verdict:
        return state.stay("evaluation", "variants are being built and evaluated")
    if release.chosen is None:
        return state.go(Phase.REJECTED, "rejected", f"no variant passed: {release.reason}")
    needed = release.policy.approval.count
    if not needed:
        return _warm(state)
    who = " or ".join(release.policy.approval.roles)
    sentence = f"{release.chosen.variant.ref} passed; {needed} approval by {who} is needed"
    return state.go(Phase.AWAITING_APPROVAL, "approval-wanted", sentence)


def valid_approvals(release: Release, approvals: tuple[Approval, ...], now: float) -> list[str]:
    """Name the people whose approval counts.

    It is in time, not the requester's, and for exactly what is about to be served.
    """
    chosen = release.chosen
    if chosen is None:
        return []
    bound = (chosen.variant.digest, chosen.report, release.policy.digest)
    counted = {
        one.who: one
        for one in approvals
        if one.granted
        and one.who != release.requester
        and one.role in release.policy.approval.roles
        and now < one.until
        and (one.variant, one.report, one.policy) == bound
    }
    return list(counted)


def _approve(state: State) -> Tick:
    release, approvals = state.release, state.seen.approvals
    for one in approvals:
        if not one.granted:
            return state.go(Phase.REJECTED, "rejected", f"{one.who} said no: {one.why}")
    who, needed = valid_approvals(release, approvals, state.now), release.policy.approval.count
    if len(who) < needed:
        return state.stay("approval", f"{len(who)} of {needed} approvals", seconds=60)
    return _warm(state)


def _warm(state: State) -> Tick:
    assert state.release.chosen is not None  # noqa: S101 - only a chosen variant comes so far
    variant = state.release.chosen.variant
    return state.go(
        Phase.WARMING,
        "warming",
        f"{variant.ref} is being loaded, without traffic",
        replace(
            state.desired.at_rest(),
            canary=variant,
            policy_text=state.release.policy.text,
        ),
        since=state.now,
    )


def _await_ready(state: State) -> Tick:
    release, plan = state.release, state.release.policy.plan
    since = state.now if release.since is None else release.since
    if not state.seen.ready:
        waited = state.now - since
        trouble = state.seen.trouble or "its replica is starting"
        if waited > plan.warm_seconds:
            return restore(
                release,
                state.desired,
                state.now,
                f"not ready after {waited:.0f} of {plan.warm_seconds:g} s: {trouble}",
            )
        return state.stay("ready replica", trouble, seconds=0.5)
    if state.desired.champion is None:
        return _crown(state)
    return _widen(state, 0, "its replica is ready")


def _crown(state: State) -> Tick:
    """Put a model's first release straight into production: there is nobody to compare it with."""
    sentence = f"{ref(state.desired.canary)} is the first champion"
    return state.go(Phase.BAKING, "promoted", sentence, promoted(state.desired))


def _widen(state: State, step: int, why: str) -> Tick:
    wanted = state.release.policy.plan.steps[step]
    arms = replace(
        state.desired,
        canary_percent=wanted.share,
        shadow_percent=wanted.shadow,
        lease_until=_lease(state),
    )
    said = f"gets copies of {wanted.shadow:g} %" if wanted.shadow else f"gets {wanted.share:g} %"
    sentence = f"{why}; {ref(state.desired.canary)} {said} of the traffic"
    return state.go(Phase.CANARY, "step", sentence, arms, step=step)


def _watch_canary(state: State) -> Tick:
    release, seen, now = state.release, state.seen, state.now
    if bad := _bad(state):
        return restore(release, state.desired, now, bad)
    if seen.lapsed:
        return _regrant(state)
    renewed = replace(state, desired=replace(state.desired, lease_until=_lease(state)))
    if release.since is None:
        if not seen.confirmed:
            return renewed.stay("gateways", "gateways have not confirmed the share yet", 0.2)
        return Tick(release=replace(release, since=now), desired=renewed.desired)
    step, spent = release.policy.plan.steps[release.step], now - release.since
    if spent < step.soak_seconds or seen.requests < step.least_requests:
        soaked = f"{spent:.0f} of {step.soak_seconds:g} s"
        sample = f"{seen.requests} of {step.least_requests} requests"
        return _hold(renewed, spent, "soak", f"soaking at {step.name}: {soaked}, {sample}")
    if seen.live is not Decision.PASS:
        return _hold(renewed, spent, "evidence", sentence_of(seen.findings))
    if release.step + 1 == len(release.policy.plan.steps):
        return _promote(renewed)
    return _widen(renewed, release.step + 1, f"good at {step.name}: {sentence_of(seen.findings)}")


def _bad(state: State) -> str:
    """Say why the released variant must go, if it must."""
    seen = state.seen
    such = f"; mostly: {seen.failing.rstrip('.')}" if seen.failing else ""
    if seen.tripped:
        return f"a gateway cut it off: {seen.tripped}{such}"
    return f"{sentence_of(seen.findings)}{such}" if seen.live is Decision.FAIL else ""


def _hold(state: State, spent: float, waiting_for: str, reason: str) -> Tick:
    """Wait at this share, but not for ever: what cannot be proven good goes back."""
    patience = state.release.policy.plan.patience_seconds
    if spent > patience:
        reason = f"not proven good within {patience:g} s: {reason}"
        return restore(state.release, state.desired, state.now, reason)
    return state.stay(waiting_for, reason, seconds=0.5)


def _regrant(state: State) -> Tick:
    """Start the step again after its lease ran out: nobody watched it."""
    told = state.event(
        "lease-lapsed",
        "the canary's lease ran out unrenewed and the champion took all the traffic; "
        "the step starts again",
    )
    release = replace(state.release, since=None)
    desired = replace(state.desired, lease_until=_lease(state))
    return Tick(release=release, desired=desired, events=(told,), bump=True)


def _promote(state: State) -> Tick:
    sentence = f"{ref(state.desired.canary)} is champion: {sentence_of(state.seen.findings)}"
    return state.go(Phase.BAKING, "promoted", sentence, promoted(state.desired))


def _bake(state: State) -> Tick:
    release, seen, now = state.release, state.seen, state.now
    if release.stable is not None and seen.live is Decision.FAIL:
        return restore(release, state.desired, now, f"while baking: {_bad(state)}")
    if release.since is None:
        if not seen.confirmed:
            return state.stay("gateways", "gateways have not confirmed the promotion yet", 0.2)
        return Tick(release=replace(release, since=now), desired=state.desired)
    spent, bake = now - release.since, release.policy.plan.bake_seconds
    if release.stable is not None and spent < bake:
        return state.stay("bake", f"baking: {spent:.0f} of {bake:g} s", seconds=0.5)
    champion = ref(state.desired.champion)
    return state.go(Phase.PROMOTED, "done", f"{champion} is in production and has held")


def _lease(state: State) -> float:
    return state.now + state.release.policy.live.lease_seconds


_PHASES: Mapping[Phase, Callable[[State], Tick]] = {
    Phase.PREPARING: _prepare,
    Phase.AWAITING_APPROVAL: _approve,
    Phase.WARMING: _await_ready,
    Phase.CANARY: _watch_canary,
    Phase.BAKING: _bake,
}
