"""Look at a candidate before anything is begun: all that stands in the way of a release.

The desk refuses with the first obstacle, a plan tells them all. Needs neither Prefect nor torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from evaluation.suites import Suite, load_suite
from infra.callers.namespaces import Namespaces
from infra.ledger import one_at_a_time
from release.errors import Conflict, Invalid, NotFound, SlipwayError, Unavailable
from release.gates import FEWEST
from release.policy import Policy, floors
from release.releases import Desired
from release.variants import Candidate, Task
from serving.replica.answers import OUTSIDE, tags_of
from serving.replica.engines import Tokens
from serving.variants.build import check_tools
from serving.variants.facts import Facts, read_facts
from serving.variants.intake import check_files, read_json
from tasks.wiring import House

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody asks to be released."""

    model: str
    version: int | None = None
    """None means the newest."""

    policy: Path | None = None
    """File of the policy; None means the model's own under the home folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """A candidate, what it would be judged by, and what stands in its way."""

    candidate: Candidate
    policy: Policy
    where: Path
    """Folder of the suite."""

    suite: Suite | None
    """None where it cannot be used; an obstacle says why."""

    source: Path | None
    """Folder of the candidate's files; None where they may not be read, and an obstacle says why.
    """

    desired: Desired
    obstacles: tuple[SlipwayError, ...]
    """Each would refuse the release, the first one first."""


def read_policy(house: House, request: Request) -> tuple[Policy, Path]:
    """Read the policy that a request names, with the platform's and the namespace's floor under it.

    Where it names none it is the model's own, and where there is none of it the namespace's.

    Returns:
        The policy, and the folder of its suite; a relative path starts at the policy's file, and
        `{model}` in it is the model's name.
    """
    folder = house.settings.root / "policies"
    says = Namespaces(house.ledger, house.settings.recording).releases(request.model)
    kept = folder / f"{request.model}.toml"
    if says.policy and not kept.exists():
        kept = folder / f"{says.policy}.toml"
    path = request.policy or kept
    floor = folder / "floor.toml"
    try:
        text = _text(path)
    except OSError as error:
        hint = "give one with --policy FILE"
        raise NotFound(f"No policy of {request.model} can be read at {path}.", hint) from error
    under = floors(_text(floor) if floor.exists() else "", says.floor)
    policy = Policy.parse(text, floor=under)
    suite = policy.suite.replace("{model}", request.model)
    try:
        where = (path.parent / Path(suite).expanduser()).resolve()
    except RuntimeError as error:
        # An unknown user behind a tilde, or links that lead in a circle.
        hint = "see [suite] path"
        raise NotFound(f"No suite can lie at {policy.suite}: {error}", hint) from error
    return policy, where


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise Invalid(f"{path} is no file.", "name a TOML file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"{path} is not UTF-8: {error}.", "save it as UTF-8") from error


def fetch(house: House, candidate: Candidate) -> Path:
    """Bring a candidate's files from the registry, once."""
    folder = house.settings.root / "candidates" / candidate.model / str(candidate.version)
    return folder if folder.is_dir() else house.registry.fetch(candidate, folder)


def inspect(house: House, request: Request) -> Inspected:
    """Check everything that can be checked at once; whoever asks is not looked at.

    Raises:
        NotFound: there is no such model, version or policy.
        Invalid: the name or the policy breaks a rule.
        Unavailable: the registry or the ledger does not answer.
    """
    candidate = house.registry.candidate(request.model, request.version)
    policy, where = read_policy(house, request)
    checks = _Checks()
    for recipe in policy.variants:
        checks.given(partial(check_tools, recipe))
    suite = checks.given(partial(load_suite, where))
    if suite is not None:
        checks.given(partial(_check_size, suite))
    source = checks.given(partial(_safe, house, candidate))
    facts = None if source is None else checks.given(partial(read_facts, source))
    if source is not None and facts is not None and suite is not None:
        checks.given(partial(_check_fit, candidate, facts, suite))
        checks.given(partial(_check_lengths, source, facts, suite))
    for look in _gate_checks(policy, suite):
        checks.given(look)
    desired = house.ledger.desired(candidate.model)
    checks.given(partial(_check_production, candidate, desired))
    if facts is not None:
        checks.given(partial(_check_change, house, candidate, facts, desired))
    for opened in house.ledger.releases(candidate.model, open_only=True):
        checks.obstacles.append(one_at_a_time(candidate.model, opened.id))
    return Inspected(
        candidate=candidate,
        policy=policy,
        where=where,
        suite=suite,
        source=None if facts is None else source,
        desired=desired,
        obstacles=tuple(checks.obstacles),
    )


class _Checks:
    """Goes on after a check that failed, and keeps what it said."""

    def __init__(self) -> None:
        self.obstacles: list[SlipwayError] = []

    def given(self, look: Callable[[], T]) -> T | None:
        try:
            return look()
        except Unavailable:
            # It says nothing about the candidate: the rest could not be told either.
            raise
        except SlipwayError as error:
            self.obstacles.append(error)
            return None


def _safe(house: House, candidate: Candidate) -> Path:
    folder = fetch(house, candidate)
    check_files(folder)
    return folder


def _check_size(suite: Suite) -> None:
    if (n := len(suite.splits["test"])) < FEWEST:
        raise Invalid(
            f"The suite {suite.name!r} tests on {n} texts, of {FEWEST} at least.",
            "on fewer no gate could ever pass",
        )


def _gate_checks(policy: Policy, suite: Suite | None) -> list[Callable[[], None]]:
    return [partial(gate.check_task, suite.task) for gate in policy.gates] if suite else []


def _check_fit(candidate: Candidate, facts: Facts, suite: Suite) -> None:
    """Hold what a candidate answers to what its suite asks."""
    if facts.task != suite.task:
        raise Invalid(
            f"{candidate.ref} is for {facts.task}, but its suite is for {suite.task}.",
            "use the suite that the model was trained for",
        )
    answers, asked = entity_labels(facts), set(suite.labels)
    if asked not in (set(facts.labels), answers):
        lacks = ", ".join(sorted(answers - asked)) if asked < answers else ""
        other = f", or make this one with --also for each of: {lacks}" if lacks else ""
        raise Invalid(
            f"{candidate.ref} answers with {', '.join(facts.labels)}, but its suite is labelled "
            f"{', '.join(suite.labels)}.",
            f"use the suite that the model was trained for{other}",
        )


def entity_labels(facts: Facts) -> set[str]:
    """Name the entities that a model tells of: its labels of tokens are such as `B-PER` and `O`."""
    if facts.task != Task.TOKEN_CLASSIFICATION:
        return set(facts.labels)
    return {tag.name for tag in tags_of(facts.labels).values()} - {OUTSIDE}


def _check_lengths(source: Path, facts: Facts, suite: Suite) -> None:
    """Refuse a text that every variant would refuse, before any is built to be measured with it."""
    config = read_json(source / "config.json")
    tokens = Tokens(source, dict(config), facts.longest_input)
    texts = suite.texts("test")
    lengths = list(map(len, tokens.encode(texts)))
    if (longest := max(lengths, default=0)) <= facts.longest_input:
        return
    place = lengths.index(longest)
    many = sum(one > facts.longest_input for one in lengths)
    raise Invalid(
        f"{many} of {len(texts)} texts of the suite {suite.name!r} are too long for the model: "
        f"text {place + 1}, {texts[place][:40]!r}, has {longest} tokens, of "
        f"{facts.longest_input} at most.",
        "take them out of the suite, or raise longest_input",
    )


def _check_change(house: House, candidate: Candidate, facts: Facts, desired: Desired) -> None:
    """Refuse to give clients another kind of answer than they have."""
    if desired.champion is None:
        return
    try:
        task = house.store.manifest(desired.champion.digest).task
    except SlipwayError:
        # What lies there no more is told by whoever measures or serves it.
        return
    if task != facts.task:
        raise Conflict(
            f"{desired.champion.ref} is for {task}, and {candidate.ref} for {facts.task}: the "
            "clients of one cannot read the other.",
            "register it as a model of its own",
        )


def _check_production(candidate: Candidate, desired: Desired) -> None:
    if desired.champion is not None and desired.champion.version == candidate.version:
        hint = "register and release a newer version"
        raise Conflict(f"{desired.champion.ref} is in production already.", hint)
