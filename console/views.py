"""What serves, what is being released, what was: for people and as JSON."""

import json
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from console.amiss import Host, calls_line, hear_all
from console.serve import Addresses, gateway_answers, supervisor_of
from console.wording import age, cell
from flows.control import Prefect
from infra.settings import Settings
from release.errors import NotFound, Unavailable
from release.releases import Desired, Event, Release
from release.waits import MOVES, champion_since, phase_since
from release.wording import tame
from tasks.advance import FRESH_SECONDS
from tasks.wiring import House, house

_JSON = {"ensure_ascii": False, "indent": 2, "sort_keys": False}


def at(seconds: float | None) -> str | None:
    """Write a moment as ISO 8601 in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def history(model: str, *, as_json: bool) -> None:
    """Show every release of a model, the oldest first."""
    here = house()
    releases = here.ledger.releases(model)
    if not releases and not here.ledger.events(model=model):
        known = sorted({one.candidate.model for one in here.ledger.releases()})
        hint = f"released are {', '.join(known)}" if known else "nothing was released here yet"
        raise NotFound(f"{model!r} has no release.", hint)
    if as_json:
        plain = {
            "model": model,
            "desired": _desired(here.ledger.desired(model)),
            "releases": [release_json(here, one) for one in releases],
            "events": [_event(event) for _, event in here.ledger.events(model=model)],
        }
        sys.stdout.write(json.dumps(plain, **_JSON) + "\n")  # type: ignore[arg-type]
        return
    for line in history_lines(here, model):
        Console().print(line, highlight=False, soft_wrap=True)


def history_lines(here: House, model: str) -> Iterator[str]:
    """Write a model's releases for people, in rich's markup."""
    for one in here.ledger.releases(model):
        yield f"\n[bold]{one.id}[/]  {one.phase}: {escape(tame(one.reason))}"
        for _, event in here.ledger.events(one.id):
            yield _line(event)
    beside = [event for _, event in here.ledger.events(model=model) if not event.release]
    if beside:
        yield "\n[bold]outside a release[/]"
        yield from map(_line, beside)


def _line(event: Event) -> str:
    moment = datetime.fromtimestamp(event.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    said = tame(f"{event.kind:<16} {event.actor:<10} {event.sentence}")
    return f"  {moment}Z  {escape(said)}"


def release_json(here: House, one: Release) -> dict[str, Any]:
    """Give all that the ledger knows of a release as plain data."""
    evidence = here.ledger.evidence(one.id)
    return {
        "id": one.id,
        "candidate": one.candidate.ref,
        "outcome": str(one.phase),
        "reason": one.reason,
        "requester": one.requester,
        "approvers": [given.who for given in here.ledger.approvals(one.id) if given.granted],
        "verdict": one.verdict,
        "variant": asdict(one.chosen.variant) if one.chosen else None,
        "report": one.chosen.report if one.chosen else None,
        "policy": one.policy.digest,
        "stable": asdict(one.stable) if one.stable else None,
        "step": one.step,
        "waiting_for": one.waiting_for,
        "not_before": at(one.not_before) if one.waiting_for else None,
        "opened_at": at(one.opened_at),
        "closed_at": at(one.closed_at),
        "approvals": [
            {**asdict(given), "at": at(given.at), "until": at(given.until)}
            for given in here.ledger.approvals(one.id)
        ],
        "reports": {made.digest: made.as_json() for made in here.ledger.reports(one.id)},
        "evidence": {
            digest: {str(step): asdict(tally) for step, tally in steps.items()}
            for digest, steps in evidence.items()
        },
        "events": [_event(event) for _, event in here.ledger.events(one.id)],
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "at": at(event.at),
        "kind": event.kind,
        "actor": event.actor,
        "sentence": event.sentence,
        "release": event.release or None,
        "data": dict(event.data),
    }


def _desired(desired: Desired) -> dict[str, Any]:
    plain = asdict(desired)
    del plain["policy_text"]
    plain["lease_until"] = at(desired.lease_until) if desired.lease_until else None
    return plain


def status(*, as_json: bool) -> None:
    """Show parts, what is amiss, endpoints and open releases."""
    settings = Settings()
    parts, host = _parts(settings), Host(amiss=(), indexer={})
    if "parts" not in parts:
        host = hear_all(settings)
        parts["calls"] = calls_line(host.indexer, time.time())
    if as_json:
        sys.stdout.write(json.dumps(_status(parts, host), **_JSON) + "\n")  # type: ignore[arg-type]
        return
    _status_page(parts, host)


def _status_page(parts: Mapping[str, str], host: Host) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    # Before the ledger is asked, which may be what is amiss.
    for name, said in parts.items():
        console.print(cell(f"{name:<10}{said}"))
    for trouble in host.amiss:
        # One line each, however long: whoever looks for one finds it whole.
        told = cell(f"{'trouble':<10}{trouble.line(time.time())}")
        console.print(told, soft_wrap=True)
    here = house()
    models = [_model(here, desired) for desired in here.ledger.all_desired()]
    table = Table(box=None)
    for name in _COLUMNS:
        table.add_column(name, overflow="fold")
    for model in models:
        table.add_row(*(cell(model[name]) for name in _COLUMNS))
    console.print(table if models else "no endpoint yet: slipway release MODEL")
    for one in here.ledger.releases(open_only=True):
        been = age(here.clock() - _entered(here, one))
        console.print(cell(f"{one.id}  {one.phase} for {been}: {one.reason}"))


def _status(parts: Mapping[str, str], host: Host) -> dict[str, Any]:
    here = house()
    opened = [
        {
            "id": one.id,
            "phase": str(one.phase),
            "since": at(_entered(here, one)),
            "opened_at": at(one.opened_at),
            "waiting_for": one.waiting_for,
            "reason": one.reason,
        }
        for one in here.ledger.releases(open_only=True)
    ]
    return {
        "home": str(here.settings.root),
        "parts": parts,
        "troubles": [{**asdict(one), "since": at(one.since)} for one in host.amiss],
        "calls": _behind(host.indexer),
        "endpoints": [_model(here, desired) for desired in here.ledger.all_desired()],
        "open": opened,
    }


def _entered(here: House, release: Release) -> float:
    return phase_since(release, [event for _, event in here.ledger.events(release.id)])


_COLUMNS = ("endpoint", "champion", "serves for", "canary", "share", "previous", "gateways")


def _behind(said: dict[str, Any]) -> dict[str, Any]:
    """Say as plain data how far calls are folded; nothing where the indexer does not say."""
    if (behind := said.get("behind")) is None:
        return {}
    since = at(behind["since"]) if behind["since"] else None
    return {"store": said["store"], "waiting": {**behind, "since": since}}


def _parts(settings: Settings) -> dict[str, str]:
    try:
        addresses = Addresses.of(settings)
    except Unavailable:
        starting = supervisor_of(settings)
        said = f"being started by process {starting.pid}" if starting else ""
        return {"parts": said or "down (slipway up starts them)"}
    return {
        "gateway": _said(addresses.gateway, up=gateway_answers(addresses.gateway)),
        **_grpc(settings),
        "prefect": _said(addresses.prefect, up=Prefect(addresses.prefect).healthy()),
    }


def _grpc(settings: Settings) -> dict[str, str]:
    """Where gateways speak gRPC, once an agent has found the port for it."""
    kept = settings.run / "grpc-port"
    if not kept.exists():
        return {}
    host, port = settings.host, int(kept.read_text())
    with socket.socket() as probe:
        probe.settimeout(1)
        up = probe.connect_ex((host, port)) == 0
    return {"grpc": _said(f"{host}:{port}", up=up)}


def _said(address: str, *, up: bool) -> str:
    return f"{address} {'answers' if up else 'does not answer'}"


def _model(here: House, desired: Desired) -> Mapping[str, Any]:
    now = here.clock()
    replicas = here.ledger.replicas(desired.model)

    def said(name: str) -> str:
        variant = getattr(desired, name)
        if variant is None:
            return "–"
        mine = [one for one in replicas if one.digest == variant.digest]
        ready = sum(one.ready and now - one.at <= FRESH_SECONDS for one in mine)
        some = f"{ready} of {len(mine)} ready" if len(mine) > 1 else "ready"
        return f"{variant.ref} ({some if ready else 'not ready'})"

    moves = here.ledger.events(model=desired.model, kinds=MOVES)
    since = champion_since(event for _, event in moves)
    gateways = here.ledger.gateways(desired.model)
    return {
        "endpoint": desired.model,
        "generation": desired.generation,
        "champion": said("champion"),
        "champion_since": at(since),
        "serves for": age(now - since) if since is not None and desired.champion else "–",
        "canary": said("canary"),
        "share": desired.gives(now),
        "previous": said("previous"),
        "gateways": ", ".join(f"{one.gateway} at {one.generation}" for one in gateways) or "–",
    }
