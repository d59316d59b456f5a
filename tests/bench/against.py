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

ANSWERS, PEER_ANSWERS = 800, 200
NULL_ANSWERS, PEER_NULL_ANSWERS = 4_000, 1_500
DEFAULTS_ANSWERS = 100
ROUNDS = 3
"""In which a peer is measured; ours is measured once before each of them, and once after."""

NULL_CONNECTIONS, DEFAULTS_CONNECTIONS = 64, 32
PROBES, PROBE_SECONDS = 5, 3.0
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

    probe: Callable[[Target, int, int], Measures]
    """Measures whoever is asked, by so many answers, in so many rounds."""

    answers: int
    """By which ours is measured."""

    peer_answers: int
    """By which a peer is measured."""

    connections: int
    """By which its settings are compared."""

    defaults: bool = False
    """Whether peers run as they ship."""

    def up(self, peer: Peer, setting: Setting, *batches: int) -> AbstractContextManager[Standing]:
        """Run a peer, with more sizes of batch than its setting's if they are given."""
        sizes = batches or (setting.batch,)
        return standing(peer, self.engine, self.folder, batches=sizes, setting=setting)


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


def race(contest: Contest, mine: Target, peers: Collection[Peer] = PEERS) -> Race:
    """Measure ours and each peer by turns."""
    found = Race(ours=[contest.probe(mine, contest.answers, 1)])
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
                found.peers[peer.name] = contest.probe(target, contest.peer_answers, ROUNDS)
            found.settings[peer.name] = setting
        except (RuntimeError, OSError) as error:  # a TimeoutError is an OSError
            found.failed[peer.name] = str(error) or repr(error)
        found.ours.append(contest.probe(mine, contest.answers, 1))
    return found


def calibrate(contest: Contest, peer: Peer) -> Setting:
    """Try a peer's settings for a short while each; gives the one that answers most."""
    tried = {}
    groups = [(batch,) for batch in BATCHES] if peer.polls else [BATCHES]
    for mode in peer.modes:
        for batches in groups:
            with contest.up(peer, Setting(mode=mode), *batches) as served:
                for batch in batches:
                    target = served.target(trace(), batch)
                    run = closed(target, contest.connections, CALIBRATED)
                    tried[Setting(batch=batch, mode=mode)] = run.rate
    return max(tried, key=lambda setting: tried[setting])


def loops(target: Target, answers: int, rounds: int) -> Measures:
    """Closed loops, by turns."""
    found: dict[int, list[float]] = {one: [] for one in CONNECTIONS}
    for _ in range(rounds):
        for one in CONNECTIONS:
            run = checked(closed(target, one, answers, warm=one), f"{one} connections")
            found[one].append(run.rate)
    return {f"closed-{one}": median(rates) for one, rates in found.items()}


def sustained(target: Target, answers: int) -> Measures:
    """Give the highest rate of an open loop whose p99 is within the patience."""
    capacity = checked(closed(target, CONNECTIONS[0], answers), "capacity").rate

    def good(rate: float) -> bool:
        run = opened(target, rate, PROBE_SECONDS, within=PATIENCE, most_late=LATE)
        return run.quantile(1 - LATE) <= PATIENCE

    return {"open": highest(good, 0.5 * capacity, 1.2 * capacity, steps=PROBES)}


def best(made: Artefacts, rows: Collection[str]) -> Iterator[Figure]:
    """The same engine behind us and behind peers: rows `peers` and `open`, of one race."""

    def probe(target: Target, answers: int, rounds: int) -> Measures:
        first = loops(target, answers, rounds) if "peers" in rows else {}
        return first | (sustained(target, answers) if "open" in rows else {})

    contest = Contest(
        name="peers",
        engine="openvino",
        folder=made.padded,
        probe=probe,
        answers=ANSWERS,
        peer_answers=PEER_ANSWERS,
        connections=CONNECTIONS[0],
    )
    with ours(made, made.chosen) as tier:
        found = race(contest, tier.target(made.chosen, trace()))
    if "peers" in rows:
        for one in CONNECTIONS:
            what = f"texts a second over {one} connections"
            yield found.figure(f"serving.closed-{one}.best-peer", what, f"closed-{one}", 3.0)
    if "open" in rows:
        what = f"highest rate with p99 within {PATIENCE * 1e3:g} ms"
        yield found.figure("serving.open.best-peer", what, "open", 3.0)
    yield from found.failures("peers")


def _rate(connections: int) -> Callable[[Target, int, int], Measures]:
    def probe(target: Target, answers: int, rounds: int) -> Measures:
        runs = [closed(target, connections, answers, warm=connections) for _ in range(rounds)]
        return {"rate": median(checked(run, "closed loop").rate for run in runs)}

    return probe


def null(made: Artefacts) -> Iterator[Figure]:
    """A model that computes nothing: what serving itself costs."""
    contest = Contest(
        name="null",
        engine="null",
        folder=None,
        probe=_rate(NULL_CONNECTIONS),
        answers=NULL_ANSWERS,
        peer_answers=PEER_NULL_ANSWERS,
        connections=NULL_CONNECTIONS,
    )
    with ours(made, NULL) as tier:
        found = race(contest, tier.target(NULL, trace()))
    what = f"null model, requests a second over {NULL_CONNECTIONS} connections"
    yield found.figure("serving.null.best-peer", what, "rate", 3.0)
    yield from found.failures("null")


def defaults(made: Artefacts) -> Iterator[Figure]:
    """Our chosen variant beside what one gets who installs a peer and torch."""
    contest = Contest(
        name="defaults",
        engine="torch",
        folder=made.source,
        probe=_rate(DEFAULTS_CONNECTIONS),
        answers=ANSWERS,
        peer_answers=DEFAULTS_ANSWERS,
        connections=DEFAULTS_CONNECTIONS,
        defaults=True,
    )
    with ours(made, made.chosen) as tier:
        found = race(contest, tier.target(made.chosen, trace()))
    what = f"chosen variant over torch-fp32, texts a second over {DEFAULTS_CONNECTIONS} connections"
    yield found.figure("serving.defaults.best-peer", what, "rate", 5.0)
    yield from found.failures("defaults")
