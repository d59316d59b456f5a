"""Rows of `serving` beside peers, each at its best setting, or as it ships.

One peer is up at a time, and ours is measured before, between and after them, so that whatever else
the machine does hits all alike, and nobody pays for what another does while it waits.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench.alone import CONNECTIONS, PATIENCE, checked
from tests.bench.artefacts import NULL, Artefacts
from tests.bench.asking import Target
from tests.bench.figures import Figure
from tests.bench.load import closed, highest, opened
from tests.bench.ours import ours
from tests.bench.peer import PEERS, Peer, Setting, Standing, standing
from tests.bench.trace import trace

BATCHES = (1, 8)
"""Sizes that a peer may choose of: more than eight of unlike length are slower than none, because
padding eats them."""

CALIBRATED = 150
"""Answers by which a peer's settings are compared."""

ANSWERS, PEER_ANSWERS, NULL_ANSWERS = 1_000, 200, 3_000
ROUNDS = 3
NULL_CONNECTIONS, DEFAULTS_CONNECTIONS = 64, 32
PROBES, PROBE_SECONDS = 5, 4.0
LATE = 0.01
"""Share of an open loop's requests that may be late."""

Measures = dict[str, float]
"""What was measured, to requests a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """One discipline."""

    name: str
    """Of the row."""

    engine: str
    folder: Path | None
    """Of the model that peers get."""

    probe: Callable[[Target, int], Measures]
    """Measures whoever is asked, by so many answers."""

    answers: int
    """By which a peer is measured."""

    connections: int
    """By which its settings are compared."""

    defaults: bool = False
    """Whether peers run as they ship."""

    def up(self, peer: Peer, setting: Setting) -> AbstractContextManager[Standing]:
        """Run a peer."""
        batches = (setting.batch,)
        return standing(peer, self.engine, self.folder, batches=batches, setting=setting)


@dataclass(slots=True, kw_only=True)
class Race:
    """What came of a contest."""

    ours: list[Measures] = field(default_factory=list)
    peers: dict[str, Measures] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Peer to why it could not be measured."""

    def figure(self, id_: str, what: str, measure: str, goal: float) -> Figure:
        """Put ours over the best peer's."""
        found = {name: one[measure] for name, one in self.peers.items() if one[measure] > 0}
        if not found:
            said = f"{what}: no peer gave anything to compare with"
            return Figure(id=id_, what=said, value=None, better="higher", goal=goal)
        best = max(found, key=lambda name: found[name])
        mine = median(one[measure] for one in self.ours)
        each = ", ".join(f"{name} {value:.0f}" for name, value in sorted(found.items()))
        return Figure(
            id=id_,
            what=f"{what}, over the best peer's: {best}, {self.settings[best]} "
            f"(ours {mine:.0f}; {each})",
            value=mine / found[best],
            better="higher",
            goal=goal,
        )

    def failures(self, row: str) -> Iterator[Figure]:
        """Tell who could not be measured."""
        for name, why in self.failed.items():
            said = f"{name} could not be measured: {why}"
            yield Figure(id=f"serving.{row}.{name}", what=said, value=None, better="higher")


def race(contest: Contest, mine: Callable[[], Measures], peers: Collection[Peer] = PEERS) -> Race:
    """Measure ours and each peer by turns."""
    found = Race(ours=[mine()])
    for peer in peers:
        if contest.engine not in peer.engines:
            continue
        if peer.missing:
            found.failed[peer.name] = peer.missing
            continue
        try:
            setting = Setting(defaults=True) if contest.defaults else calibrate(contest, peer)
            with contest.up(peer, setting) as served:
                target = served.target(trace(), setting.batch)
                found.peers[peer.name] = contest.probe(target, contest.answers)
            found.settings[peer.name] = setting
        except (RuntimeError, OSError) as error:  # a TimeoutError is an OSError
            found.failed[peer.name] = str(error) or repr(error)
        found.ours.append(mine())
    return found


def calibrate(contest: Contest, peer: Peer) -> Setting:
    """Try a peer's settings for a short while each; gives the one that answers most."""
    tried = {}
    for setting in [Setting(batch=batch, mode=mode) for mode in peer.modes for batch in BATCHES]:
        with contest.up(peer, setting) as served:
            target = served.target(trace(), setting.batch)
            tried[setting] = closed(target, contest.connections, CALIBRATED).rate
    return max(tried, key=lambda setting: tried[setting])


def loops(target: Target, answers: int) -> Measures:
    """Closed loops, by turns."""
    found: dict[int, list[float]] = {one: [] for one in CONNECTIONS}
    for _ in range(ROUNDS):
        for one in CONNECTIONS:
            run = checked(closed(target, one, answers), f"{one} connections")
            found[one].append(run.rate)
    return {f"closed-{one}": median(rates) for one, rates in found.items()}


def sustained(target: Target, answers: int) -> Measures:
    """Give the highest rate of an open loop whose p99 is within the patience."""
    capacity = checked(closed(target, CONNECTIONS[-1], answers), "capacity").rate

    def good(rate: float) -> bool:
        run = opened(target, rate, PROBE_SECONDS, within=PATIENCE, most_late=LATE)
        return run.quantile(1 - LATE) <= PATIENCE

    return {"open": highest(good, 0.5 * capacity, 1.2 * capacity, steps=PROBES)}


def best(made: Artefacts, rows: Collection[str]) -> Iterator[Figure]:
    """The same engine behind us and behind peers: rows `peers` and `open`, of one race."""

    def probe(target: Target, answers: int) -> Measures:
        first = loops(target, answers) if "peers" in rows else {}
        return first | (sustained(target, answers) if "open" in rows else {})

    contest = Contest(
        name="peers",
        engine="openvino",
        folder=made.padded,
        probe=probe,
        answers=PEER_ANSWERS,
        connections=CONNECTIONS[0],
    )
    with ours(made, made.chosen) as tier:
        found = race(contest, lambda: probe(tier.target(made.chosen, trace()), ANSWERS))
    if "peers" in rows:
        for one in CONNECTIONS:
            what = f"texts a second over {one} connections"
            yield found.figure(f"serving.closed-{one}.best-peer", what, f"closed-{one}", 3.0)
    if "open" in rows:
        what = f"highest rate with p99 within {PATIENCE * 1e3:g} ms"
        yield found.figure("serving.open.best-peer", what, "open", 3.0)
    yield from found.failures("peers")


def _rate(connections: int, warm: int | None = None) -> Callable[[Target, int], Measures]:
    def probe(target: Target, answers: int) -> Measures:
        runs = [closed(target, connections, answers, warm=warm) for _ in range(ROUNDS)]
        return {"rate": median(checked(run, "closed loop").rate for run in runs)}

    return probe


def null(made: Artefacts) -> Iterator[Figure]:
    """A model that computes nothing: what serving itself costs."""
    contest = Contest(
        name="null",
        engine="null",
        folder=None,
        probe=_rate(NULL_CONNECTIONS),
        answers=NULL_ANSWERS // 2,
        connections=NULL_CONNECTIONS,
    )
    with ours(made, NULL) as tier:
        found = race(contest, lambda: contest.probe(tier.target(NULL, trace()), NULL_ANSWERS))
    what = f"null model, requests a second over {NULL_CONNECTIONS} connections"
    yield found.figure("serving.null.best-peer", what, "rate", 3.0)
    yield from found.failures("null")


def defaults(made: Artefacts) -> Iterator[Figure]:
    """Our chosen variant beside what one gets who installs a peer and torch."""
    contest = Contest(
        name="defaults",
        engine="torch",
        folder=made.source,
        probe=_rate(DEFAULTS_CONNECTIONS, warm=DEFAULTS_CONNECTIONS),
        answers=PEER_ANSWERS // 2,
        connections=DEFAULTS_CONNECTIONS,
        defaults=True,
    )
    with ours(made, made.chosen) as tier:
        target = tier.target(made.chosen, trace())
        found = race(contest, lambda: contest.probe(target, ANSWERS))
    what = f"chosen variant over torch-fp32, texts a second over {DEFAULTS_CONNECTIONS} connections"
    yield found.figure("serving.defaults.best-peer", what, "rate", 5.0)
    yield from found.failures("defaults")
