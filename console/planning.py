"""`slipway plan`: an outlook as a page for people, and as JSON."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from console.serve import prefect_of
from console.showing import show
from console.wording import cell, clock, counted
from infra.settings import Settings
from release.errors import Unavailable
from release.outlook import Consent, Making, Need, Outlook
from release.wording import lasting
from tasks.inspection import Request
from tasks.plan import plan as look_ahead
from tasks.wiring import house

_STATES = {"stored": "green", "to build": "cyan", "unknown": "yellow"}


def plan(model: str, version: int | None, policy: Path | None, *, as_json: bool) -> None:
    """Show what a release would do; exit code 1 where something refuses it."""
    here = house()
    outlook = look_ahead(here, Request(model=model, version=version, policy=policy))
    outlook = replace(outlook, warnings=(*_asleep(here.settings), *outlook.warnings))
    if as_json:
        sys.stdout.write(json.dumps(outlook.as_json(), ensure_ascii=False, indent=2) + "\n")
    else:
        show(page(outlook, policy))
    if outlook.obstacles:
        raise typer.Exit(1)


def _asleep(settings: Settings) -> list[str]:
    """Say why nobody would carry a release now: to plan it takes nobody."""
    try:
        if prefect_of(settings).healthy():
            return []
    except Unavailable as error:
        return [f"It cannot be asked for as long as nothing runs: {error}"]
    return ["Prefect does not answer, so it cannot be asked for now. (see slipway status)"]


def page(outlook: Outlook, policy: Path | None = None) -> RenderableType:
    """Lay an outlook out.

    Args:
        outlook: what to show.
        policy: file that was named, for the command that begins the release.
    """
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, said in _rows(outlook):
        grid.add_row(name, said)
    return Group(_headline(outlook), Text(), grid, *_ending(outlook, policy))


def _headline(outlook: Outlook) -> Text:
    if outlook.obstacles:
        said = Text(f"{outlook.candidate} cannot be released now: ", style="bold red")
        return said.append(counted(len(outlook.obstacles), "obstacle"))
    over = f"over {outlook.champion}" if outlook.champion else "as the model's first"
    return Text(f"{outlook.candidate} can be released {over}", style="bold green")


def _rows(outlook: Outlook) -> Iterator[tuple[str, RenderableType]]:
    for obstacle in outlook.obstacles:
        yield "obstacle", cell(obstacle, "red")
    for warning in outlook.warnings:
        yield "mind", cell(warning, "yellow")
    beside = f"{outlook.champion}, measured beside it" if outlook.champion else "none yet"
    yield "champion", Text(beside)
    yield "suite", _suite(outlook)
    yield "variants", _lined((one.recipe, _making(one)) for one in outlook.makings)
    yield "gates", _gates(outlook)
    yield "approval", Text(_approval(outlook.consent))
    yield "rollout", _steps(outlook)
    yield "time", _time(outlook)


def _suite(outlook: Outlook) -> Text:
    trial = outlook.trial
    if trial is None:
        return Text("unknown", style="yellow")
    texts = f"{trial.test} texts in test, {trial.calibration} in calibration"
    took = outlook.measuring_seconds
    time = "time unknown" if took is None else f"some {lasting(took)}"
    return cell(f"{trial.name}: {texts}; {time}").append("\n").append(trial.digest, style="dim")


def _lined(rows: Iterator[tuple[str, RenderableType]]) -> Table:
    lines = Table.grid(padding=(0, 2))
    for row in rows:
        lines.add_row(*row)
    return lines


def _making(one: Making) -> Text:
    said = Text(one.state, style=_STATES[one.state])
    if one.state == "stored":
        return said.append(": found in the store", style="dim")
    if one.seconds is None:
        return said.append(": time unknown", style="dim")
    return said.append(f": some {lasting(one.seconds)}, as for {one.like}", style="dim")


def _gates(outlook: Outlook) -> Table:
    lines = Table.grid(padding=(0, 2))
    for one in outlook.gates:
        whose = "the platform's floor" if one.floor else ""
        asked = "" if one.applies else "not asked: there is no champion"
        style = "" if one.applies else "dim"
        said = "; ".join(filter(None, (whose, asked)))
        lines.add_row(cell(one.gate, style), Text(said, style="dim"))
    return lines


def _approval(asked: Consent) -> str:
    if not asked.count:
        return "none is wanted"
    wanted = f"{counted(asked.count, 'approval')} by {' or '.join(asked.roles)}"
    able = f"could be given by {', '.join(asked.people) or 'nobody'}"
    own = f"not by {asked.requester}, who asks" if asked.requester else "never by whoever asks"
    return f"{wanted}, valid for {lasting(3600 * asked.valid_hours)}; {able}, {own}"


def _steps(outlook: Outlook) -> RenderableType:
    if not outlook.champion:
        return Text("straight into production: the first release has nobody to be compared with")
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    names = ("share", "soak", "least requests", "evidence to widen", "takes")
    for name in names:
        table.add_column(name, justify="right")
    for need, seconds in zip(outlook.needs, outlook.paces, strict=True):
        table.add_row(
            need.step.name,
            lasting(need.soak_seconds),
            str(need.least_requests),
            _evidence(need),
            "for ever" if seconds is None else f"≥ {lasting(seconds)}",
        )
    bake = f"then {lasting(outlook.bake_seconds)} of baking, still able to be put back"
    rule = "evidence: canary requests since the rollout began, if none fails or is slow on either"
    return Group(table, Text(bake), Text(rule, style="dim"), Text(_rate(outlook), style="dim"))


def _evidence(need: Need) -> str:
    if need.evidence is None:
        return "no traffic is enough"
    # What no client meets needs none.
    return f"{need.evidence} for {need.next_share:g} %" if need.next_share else "none"


def _rate(outlook: Outlook) -> str:
    if outlook.rate is None:
        return "traffic of late: unknown, so only the soaks are counted"
    return f"traffic of late: {outlook.rate:.3g} requests/s, at which the steps take so long"


def _time(outlook: Outlook) -> Text:
    least = outlook.least_seconds
    said = "nothing is known of it"
    if least is not None:
        said = f"{lasting(least)} at least, so not before {clock(outlook.at + least)}"
    return Text(said).append(f"\nnot counted: {', '.join(outlook.unknown)}", style="dim")


def _ending(outlook: Outlook, policy: Path | None) -> list[Text]:
    if outlook.obstacles:
        return []
    said = "\nNothing was begun. "
    model, _, version = outlook.candidate.partition("@")
    command = f"slipway release {model} --version {version}"
    command += f" --policy {policy}" if policy else ""
    return [Text(said, style="dim").append(command, style="bold").append(" begins it.")]
