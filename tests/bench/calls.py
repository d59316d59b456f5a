"""What the call record costs: the null model behind gateways that record more and less.

A gateway that records nothing of payloads is measured by turns with one that seals all of them, and
one that also waits for the disk. Each figure is a ratio of medians of rounds that alternate. What
it costs to find calls again is measured by `finding` and `shared`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from release.routes import Route
from tests.bench import finding, shared
from tests.bench.artefacts import NULL
from tests.bench.asking import Run, Target
from tests.bench.cores import ENGINE, FRONT, on
from tests.bench.figures import Figure
from tests.bench.load import closed, opened
from tests.bench.ours import Ours

CONNECTIONS = 64
ANSWERS, ROUNDS = 6_000, 5
LATENCY_ROUNDS, LATENCY_SECONDS = 25, 1.0
TEXTS = [f"Which page says how order-{number} is paid for, and by when?" for number in range(200)]

MODES: dict[str, tuple[str, ...]] = {
    "none": (),
    "full": ("--capture", "full"),
    "redacted": ("--capture", "redacted"),
    "strict": ("--capture", "full", "--strict"),
}


def _recording() -> Iterator[Figure]:
    """Measure throughput by turns, then latency at half of it."""
    with on(FRONT), ExitStack() as stack:
        targets = {mode: _up(stack, flags) for mode, flags in MODES.items()}
        rates: dict[str, list[float]] = {mode: [] for mode in MODES}
        for turn in range(ROUNDS + 1):
            order = list(MODES) if turn % 2 else list(reversed(MODES))
            for mode in order:
                run = closed(targets[mode], CONNECTIONS, ANSWERS)
                if turn:
                    rates[mode].append(len(run.latencies) / run.seconds)
        bare = median(rates["none"])
        for mode, goal in (("full", 0.85), ("redacted", None), ("strict", 0.5)):
            value = median(rates[mode]) / bare
            what = f"throughput with capture {mode} over none, {CONNECTIONS} connections"
            told = f"{what} ({median(rates[mode]):.0f} and {bare:.0f} a second)"
            yield Figure(id=f"calls.{mode}", what=told, value=value, better="higher", goal=goal)
        yield from _latency(targets, bare / 2)


def _latency(targets: dict[str, Target], rate: float) -> Iterator[Figure]:
    """Measure how much later answers come at half of what can be borne without payloads.

    Clients keep to the other core here, beside the replica that computes nothing: on the gateway's
    own they would wait for each other, by the scheduler's slices and not by what is recorded.
    """
    found: dict[str, list[float]] = {"none": [], "full": [], "strict": []}
    with on(ENGINE):
        for turn in range(-1, LATENCY_ROUNDS):
            for mode in found if turn % 2 else reversed(found):
                run = opened(targets[mode], rate, LATENCY_SECONDS, seed=turn)
                if turn >= 0:
                    found[mode].append(_p99(run) * 1e3)
    for mode, goal in (("full", 1.0), ("strict", None)):
        more = [one - bare for one, bare in zip(found[mode], found["none"], strict=True)]
        what = f"milliseconds that capture {mode} adds to the p99 at {rate:.0f} requests a second"
        told = f"{what} (medians {median(found[mode]):.2f} and {median(found['none']):.2f})"
        name = "added_p99" if mode == "full" else f"added_p99.{mode}"
        yield Figure(id=f"calls.{name}", what=told, value=median(more), better="lower", goal=goal)


def _p99(run: Run) -> float:
    ordered = sorted(run.latencies)
    return ordered[int(0.99 * len(ordered))]


def _up(stack: ExitStack, flags: tuple[str, ...]) -> Target:
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="slipway-bench-")))
    tier = Ours(folder=folder, locate=lambda _digest: folder, recording=flags)
    stack.callback(tier.stop)
    tier.replica(NULL)
    tier.serve(Route(endpoint=NULL.model, generation=1, stable=NULL))
    tier.warm(NULL)
    return tier.target(NULL, TEXTS)


ROWS: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "recording": _recording,
    "indexing": finding.indexing,
    "search": finding.searching,
    "shared": shared.sharing,
}
"""Row to what measures it."""


def figures(rows: Collection[str] = tuple(ROWS)) -> Iterator[Figure]:
    """Measure rows, each by itself: one that breaks off is told, and the others go on."""
    for row in ROWS:
        if row in rows:
            try:
                yield from ROWS[row]()
            except Exception as error:
                # Whatever it is, the other rows go on.
                said = f"row {row} could not be measured: {error!r}"
                yield Figure(id=f"calls.{row}", what=said, value=None, better="higher")
