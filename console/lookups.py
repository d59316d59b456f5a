"""What was done with the call record, as people and programs see it: `slipway calls log`."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from console.people import actor
from console.wording import cell
from release.releases import Event
from tasks.lookups import lookups
from tasks.wiring import house

MOST_SHOWN = 5
"""Values of a list that a line shows."""


def log(below: int | None, most: int, *, as_json: bool) -> None:
    """Print one page of events, and how to get the next."""
    here = house()
    found = lookups(here, actor(here), below, most)
    if as_json:
        lines = (json.dumps(_plain(*one), ensure_ascii=False) for one in found)
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        return
    table = Table("at (UTC)", "kind", "who", "what", "why", box=None)
    for _, event in found:
        why = event.data.get("why", "")
        table.add_row(*map(cell, (_at(event), event.kind, event.actor, what_of(event), why)))
    Console(soft_wrap=True).print(table)
    if len(found) == most:
        sys.stdout.write(f"older ones: --below {found[-1][0]}\n")


def _at(event: Event) -> str:
    return f"{datetime.fromtimestamp(event.at, UTC):%Y-%m-%d %H:%M:%S}"


def _plain(number: int, event: Event) -> dict[str, object]:
    at = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds")
    return {
        "number": number,
        "at": at,
        "kind": event.kind,
        "who": event.actor,
        "what": event.sentence,
        "why": event.data.get("why", ""),
        "data": dict(event.data),
    }


def what_of(event: Event) -> str:
    """Say in a few words what was asked for, or erased."""
    said = {name: value for name, value in event.data.items() if name != "why"}
    return ", ".join(f"{name} {_short(value)}" for name, value in said.items()) or "everything"


def _short(value: object) -> str:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        return str(value)
    more = f" and {len(value) - MOST_SHOWN} more" if len(value) > MOST_SHOWN else ""
    return f"{' '.join(map(str, value[:MOST_SHOWN]))}{more}"
