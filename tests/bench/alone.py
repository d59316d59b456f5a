"""Rows of `serving` without peers: our tier beside what a process could do, and beside itself."""

from collections.abc import Iterator
from statistics import median

from tests.bench.artefacts import NULL, Artefacts
from tests.bench.asking import Run
from tests.bench.figures import Figure
from tests.bench.load import closed, opened
from tests.bench.offline import offline
from tests.bench.ours import ours
from tests.bench.releasing import Releasing
from tests.bench.trace import TEXTS, trace

CONNECTIONS = (32, 128)
PATIENCE = 0.1
"""Seconds within which an answer of an open loop is good."""

ROUNDS = 3
EXACT_TEXTS, EXACT_ROUNDS = 1_000, 2
SINGLE_TEXTS = 300
OVERLOAD, OVERLOAD_SECONDS = 1.5, 5.0
QUIET_SHARE, QUIET_SECONDS = 0.3, 5.0
EARLY, LATE = 10_000, 200_000
"""Requests after which the gateway is weighed."""

GOALS = {
    ("padded", 32): 0.95,
    ("padded", 128): 1.05,
    ("packed", 32): 0.85,
    ("packed", 128): 0.92,
}


def checked(run: Run, what: str) -> Run:
    """Give a closed loop's run back.

    Raises:
        RuntimeError: something was refused, so that its rate says nothing.
    """
    if run.refused:
        raise RuntimeError(f"{what}: {len(run.refused)} of {run.asked} were not answered with 200")
    return run


def over(above: list[float], below: list[float]) -> tuple[float, str]:
    """Give the ratio of two medians, and the range of the single ratios in words."""
    single = sorted(one / other for one, other in zip(above, below, strict=True))
    said = f"{single[0]:.3g} to {single[-1]:.3g} in {len(single)} rounds"
    return median(above) / median(below), said


def ceilings(made: Artefacts) -> Iterator[Figure]:
    """Closed loop beside the offline ceilings of the same engine."""
    rates: dict[object, list[float]] = {}
    texts = trace()
    with offline("padded", "packed") as ceiling, ours(made, made.chosen) as tier:
        target = tier.target(made.chosen, texts)
        for _ in range(ROUNDS):
            for way, connections in (("padded", 32), ("packed", 128)):
                rates.setdefault(way, []).append(ceiling.rate(way, TEXTS))
                run = checked(closed(target, connections, TEXTS), f"{connections} connections")
                rates.setdefault(connections, []).append(run.rate)
    for (way, connections), goal in GOALS.items():
        value, said = over(rates[connections], rates[way])
        yield Figure(
            id=f"serving.closed-{connections}.{way}",
            what=f"texts a second over {connections} connections, over the {way} ceiling ({said})",
            value=value,
            better="higher",
            goal=goal,
        )


def exact(made: Artefacts) -> Iterator[Figure]:
    """torch-fp32 in a closed loop beside its own padded ceiling."""
    mine, most = list[float](), list[float]()
    with offline("exact") as ceiling, ours(made, made.exact) as tier:
        target = tier.target(made.exact, trace()[:EXACT_TEXTS])
        for _ in range(EXACT_ROUNDS):
            most.append(ceiling.rate("exact", EXACT_TEXTS))
            mine.append(checked(closed(target, 128, EXACT_TEXTS), "128 connections").rate)
    value, said = over(mine, most)
    yield Figure(
        id="serving.torch-128.padded",
        what=f"torch-fp32 over 128 connections, over its padded ceiling ({said})",
        value=value,
        better="higher",
        goal=0.9,
    )


def single(made: Artefacts) -> Iterator[Figure]:
    """One connection beside a call in the process."""
    texts, added = trace()[:SINGLE_TEXTS], list[float]()
    with offline("direct") as direct, ours(made, made.chosen) as tier:
        target = tier.target(made.chosen, texts)
        for _ in range(ROUNDS):
            bare = median(direct.each(SINGLE_TEXTS))
            run = checked(closed(target, 1, SINGLE_TEXTS), "one connection")
            added.append((run.quantile(0.5) - bare) * 1e3)
    yield Figure(
        id="serving.single.added-ms",
        what="one connection: ms that p50 is above a direct call of the engine "
        f"({min(added):.3g} to {max(added):.3g} in {len(added)} rounds)",
        value=median(added),
        better="lower",
        goal=0.6,
    )


def overload(made: Artefacts) -> Iterator[Figure]:
    """Half as much again as can be served: what is in time, and how fast the rest is refused."""
    with ours(made, made.chosen) as tier:
        capacity = checked(closed(tier.target(made.chosen, trace()), 128, TEXTS), "capacity").rate
        # What a client would not wait for is known to whoever serves it.
        target = tier.target(made.chosen, trace(), f"x-slipway-deadline-ms: {PATIENCE * 1e3:g}")
        good, flooded = list[float](), list[Run]()
        for share in (0.7, 0.85, 1.0):
            run = opened(target, share * capacity, OVERLOAD_SECONDS)
            good.append(run.goodput(PATIENCE))
            flooded.append(opened(target, OVERLOAD * capacity, OVERLOAD_SECONDS))
    yield Figure(
        id="serving.overload.goodput",
        what=f"answers within {PATIENCE:g} s at {OVERLOAD:g} times the capacity, over their peak",
        value=median(run.goodput(PATIENCE) for run in flooded) / max(good),
        better="higher",
        goal=0.9,
    )
    refused = sorted(one for run in flooded for one in run.refused)
    if refused:
        yield Figure(
            id="serving.overload.refusal",
            what="99 of 100 refusals come within so many times the patience",
            value=refused[int(0.99 * len(refused))] / PATIENCE,
            better="lower",
        )


def neighbour(made: Artefacts) -> Iterator[Figure]:
    """A model's p99 while another is built, started, canaried and stopped beside it."""
    with ours(made, made.chosen) as tier:
        target = tier.target(made.chosen, trace())
        rate = QUIET_SHARE * checked(closed(target, 32, TEXTS // 2), "capacity").rate
        before = [opened(target, rate, QUIET_SECONDS, seed=seed) for seed in range(4)]
        during = list[Run]()
        with Releasing(tier, made) as release:
            while release.under_way:
                seed = len(before) + len(during)
                during.append(opened(target, rate, QUIET_SECONDS, seed=seed))
    yield Figure(
        id="serving.neighbour.p99",
        what="p99 of a model while another is released beside it, over before "
        f"({_p99(before) * 1e3:.3g} ms, then {_p99(during) * 1e3:.3g} ms)",
        value=_p99(during) / _p99(before),
        better="lower",
        goal=1.2,
    )


def _p99(runs: list[Run]) -> float:
    pooled = Run(asked=sum(one.asked for one in runs))
    pooled.latencies = [one for run in runs for one in run.latencies]
    return pooled.quantile(0.99)


def memory(made: Artefacts) -> Iterator[Figure]:
    """What the gateway holds after many requests."""
    with ours(made, NULL) as tier:
        target = tier.target(NULL, trace())
        closed(target, 64, EARLY, warm=1)
        early = tier.gateway_bytes()
        closed(target, 64, LATE - EARLY, warm=1)
        late = tier.gateway_bytes()
    yield Figure(
        id="serving.memory",
        what=f"gateway's memory after {LATE:,} requests over after {EARLY:,} "
        f"({early / 2**20:.0f} MB, then {late / 2**20:.0f} MB)",
        value=late / early,
        better="lower",
        goal=1.05,
    )
