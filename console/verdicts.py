"""What the demo's client saw, held against what the ledger says was served."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from console.views import history_lines
from release.errors import SlipwayError
from release.releases import Desired, Event
from tasks.wiring import House

SLACK_SECONDS = 2.0
"""Gateways may serve a change this long before or after the event that tells of it."""

Stages = Mapping[str, tuple[float, float]]
"""Stage to when it began and ended, in seconds."""

_STARTS = frozenset({"step", "promoted"})
_ENDS = frozenset({"restored", "rolled-back"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time in which a version could rightly answer."""

    version: int
    start: float
    end: float


def read(path: Path) -> list[dict[str, Any]]:
    """Read the client's records."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def spans(here: House, model: str) -> list[Span]:
    """Work out from the ledger when each version could answer."""
    found: dict[int, Span] = {}
    for _, event in here.ledger.events(model=model):
        if not event.release:
            continue
        release = here.ledger.release(event.release)
        version, stable = release.candidate.version, release.stable
        if event.kind in _STARTS and version not in found:
            found[version] = Span(version=version, start=event.at, end=float("inf"))
        if event.kind == "promoted" and stable is not None:
            found[stable.version] = _ended(found[stable.version], event)
        if event.kind in _ENDS and version in found:
            found[version] = _ended(found[version], event)
    return list(found.values())


def _ended(span: Span, event: Event) -> Span:
    return Span(version=span.version, start=span.start, end=event.at)


def wrong(records: Sequence[Mapping[str, Any]], allowed: Sequence[Span]) -> list[Mapping[str, Any]]:
    """Give the answers of a version that could not have answered then."""

    def right(record: Mapping[str, Any]) -> bool:
        sent, received = record["sent"], record["sent"] + record["ms"] / 1e3
        return any(
            span.version == record["version"]
            and span.start - SLACK_SECONDS <= received
            and sent <= span.end + SLACK_SECONDS
            for span in allowed
        )

    return [record for record in records if not right(record)]


def failed(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Give the requests that got no good answer."""
    return [record for record in records if record["status"] != 200]


def contradictions(records: Sequence[Mapping[str, Any]]) -> int:
    """Count texts that one version answered in two ways."""
    said: dict[tuple[int, int], set[str]] = {}
    for record in records:
        if record["status"] == 200:
            said.setdefault((record["version"], record["text"]), set()).add(record["label"])
    return sum(len(labels) > 1 for labels in said.values())


def p99(records: Sequence[Mapping[str, Any]]) -> float:
    """99th percentile of the latency in milliseconds; 0 where there are too few records."""
    times = [record["ms"] for record in records]
    return quantiles(times, n=100)[98] if len(times) > 1 else 0.0


def summary(here: House, answers: Path, stages: Stages) -> Iterator[str]:
    """Write what happened: the ledger's timeline, the client's view, the stages' times."""
    yield from history_lines(here, "docs-router")
    records = read(answers)
    yield "\n[bold]The client saw[/]"
    for endpoint in sorted({record["endpoint"] for record in records}):
        mine = [record for record in records if record["endpoint"] == endpoint]
        bad, odd = len(failed(mine)), len(wrong(mine, spans(here, endpoint)))
        versions = ", ".join(
            f"version {version}: {count}"
            for version, count in sorted(Counter(record["version"] for record in mine).items())
        )
        rescued = sum(record.get("rescued", False) for record in mine)
        yield (
            f"  {endpoint}: {len(mine)} requests, {bad} failed, {odd} by a wrong version, "
            f"{contradictions(mine)} contradictory, {rescued} rescued by the champion; {versions}"
        )
        for name, start, end in _releases(here):
            part = [record for record in mine if start <= record["sent"] <= end]
            if len(part) > 1:
                yield f"    p99 during {name}: {p99(part):.0f} ms ({len(part)} requests)"
    yield "\n[bold]Served now[/]"
    yield from images(here)
    yield "\n[bold]Where the time went[/]"
    for title, (begun, ended) in sorted(stages.items(), key=lambda one: one[1]):
        yield f"  {ended - begun:6.1f} s  {title} ({begun:.0f} to {ended:.0f})"


def _releases(here: House) -> list[tuple[str, float, float]]:
    return [
        (f"the release of {one.candidate.ref}", one.opened_at, one.closed_at or float("inf"))
        for one in here.ledger.releases("docs-router")
    ]


def images(here: House) -> Iterator[str]:
    """Say what ledger, registry and gateways name as champion."""
    for desired in here.ledger.all_desired():
        ledger, registry, gateways = named(here, desired)
        yield f"  {desired.model}: ledger {ledger}, registry {registry}, gateways {gateways}"


def named(here: House, desired: Desired) -> tuple[int | None, int | None, list[int]]:
    """Give the champion's version by the ledger, by the registry, and by the last answers."""
    ledger = desired.champion.version if desired.champion else None
    snapshot = here.settings.run / "routes.json"
    routes = json.loads(snapshot.read_text()).get("routes", {}) if snapshot.exists() else {}
    stable = routes.get(desired.model, {}).get("stable")
    gateways = [stable["version"]] if stable else []
    return ledger, here.registry.alias(desired.model, "champion"), gateways


def check(here: House, answers: Path) -> None:
    """Fail the demo where a client noticed a release, or an image is wrong.

    Raises:
        SlipwayError: naming what was noticed.
    """
    records = read(answers)
    for endpoint in sorted({record["endpoint"] for record in records}):
        mine = [record for record in records if record["endpoint"] == endpoint]
        for what, found in (
            ("failed", failed(mine)),
            ("were answered by a wrong version", wrong(mine, spans(here, endpoint))),
        ):
            if found:
                raise SlipwayError(f"{len(found)} requests to {endpoint} {what}: {found[0]}")
    for desired in here.ledger.all_desired():
        ledger, registry, gateways = named(here, desired)
        if {registry, *gateways} != {ledger}:
            raise SlipwayError(
                f"{desired.model}: the ledger names {ledger}, the registry {registry}, "
                f"the gateways {gateways}."
            )
