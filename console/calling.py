"""Who calls models, as people set it: keys and namespaces."""

import json
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from console.people import actor
from console.wording import cell
from infra.callers.keys import Key, Keys, NewKey
from infra.callers.namespaces import DEFAULT, Namespaces
from infra.callers.pepper import split
from infra.callers.reading import endpoints
from infra.callers.snapshot import CallersSnapshot
from infra.calls.limits import MB, weigh
from release.callers import Quota, Said
from release.errors import Invalid
from release.policy import Releasing
from tasks.naming import tell_of_endpoint, tell_of_releasing, tell_of_scopes
from tasks.wiring import House, house

DAY = 86_400
KNOWN_SECONDS = 2.0
LOOK_SECONDS = 0.1


def make_key(
    name: str, scopes: Sequence[str], *, days: int, requests: int, tokens: int, **who: str
) -> None:
    """Make a key and print it.

    Raises:
        Invalid: its days are none.
    """
    if not 0 <= days <= 3650:
        raise Invalid(f"A key lasts for 1..3650 days, or 0 for ever, not {days}.")
    here = house()
    expires = time.time() + days * DAY if days else 0.0
    quota = Quota(requests=requests, tokens=tokens)
    new = NewKey(name=name, scopes=tuple(scopes), quota=quota, expires=expires, **who)
    key = _keys(here).create(new, by=actor(here))
    sys.stdout.write(f"{key}\n")
    sys.stdout.flush()
    _until_known(here.settings.run, split(key)[0])
    tell_of_scopes(here, scopes)


def _until_known(run: Path, id: str) -> None:  # noqa: A002 - the key's own field is called so
    """Wait until gateways of this host know a key: a script calls with it in its next line.

    Not for long, since no agent may be running, and not at all where none ever was.
    """
    deadline = time.monotonic() + KNOWN_SECONDS
    while (known := CallersSnapshot.load(run)) is not None and time.monotonic() < deadline:
        # They look for a new snapshot many times a second.
        time.sleep(LOOK_SECONDS)
        if id in known.keys:
            return


def revoke(id: str) -> None:  # noqa: A002 - the key's own field is called so
    """Make a key worthless."""
    here = house()
    _keys(here).revoke(id, by=actor(here))
    sys.stdout.write(f"{id} is revoked\n")


def show_keys(*, as_json: bool) -> None:
    """List keys."""
    found = _keys(house()).list()
    if as_json:
        sys.stdout.write(json.dumps([_plain(one) for one in found], indent=1) + "\n")
        return
    table = Table(box=None)
    # Whoever revokes a key types its id.
    table.add_column("id", no_wrap=True, overflow="fold", min_width=12)
    for column in ("name", "namespace", "user", "may", "a minute", "expires", "used", ""):
        table.add_column(column, overflow="fold")
    for one in found:
        made = one.made
        limits = [f"{n} {what}" for what, n in asdict(made.quota).items() if n]
        table.add_row(
            *map(cell, (one.id, made.name, made.namespace, made.user)),
            Text("\n").join(map(cell, made.scopes)),
            *(", ".join(limits) or "–", _day(made.expires, "never")),
            *(_day(one.used_at, "never"), "revoked" if one.revoked_at else ""),
        )
    Console().print(table)


def make_namespace(name: str, asked: Mapping[str, Any], releasing: Mapping[str, Any]) -> None:
    """Make a namespace."""
    here = house()
    releases = _changed(releasing) if _says(releasing) else None
    _namespaces(here).create(name, Said(**asked), releases, by=actor(here))
    sys.stdout.write(f"{name} is there\n")
    if releases is not None:
        tell_of_releasing(here, releases)


def change_namespace(
    name: str,
    asked: Mapping[str, Any],
    releasing: Mapping[str, Any],
    unsaid: Collection[str] = (),
) -> None:
    """Change what a namespace records, and how it releases.

    Args:
        name: of the namespace.
        asked: what it is to record; None leaves what was said.
        releasing: how it is to release; None leaves that.
        unsaid: what is to go by each host's settings again.

    Raises:
        NotFound: there is none of this name.
        Invalid: something is to be said and unsaid at once.
    """
    if both := [one for one in unsaid if asked[one] is not None]:
        raise Invalid(f"{both[0]} cannot be said and left to hosts at once.", "give one of both")
    here = house()
    releases = None
    if _says(releasing):
        was = _namespaces(here).releasing().get(name, Releasing())
        releases = _changed(releasing, was)
    said = Said(**asked) if _says(asked) or not (unsaid or releases) else None
    _namespaces(here).set(name, said, releases, unsaid=unsaid, by=actor(here))
    sys.stdout.write(f"{name} is set\n")
    if releases is not None:
        tell_of_releasing(here, releases)


def give(endpoint: str, name: str) -> None:
    """Let a namespace own an endpoint."""
    here = house()
    known = endpoints(here.ledger)  # before it is given, by which it is known
    _namespaces(here).give(endpoint, name, by=actor(here))
    sys.stdout.write(f"{endpoint} belongs to {name}\n")
    tell_of_endpoint(here, endpoint, known)


def show_namespaces(*, as_json: bool) -> None:
    """List namespaces."""
    home = house()
    here = _namespaces(home)
    owners, releasing = here.owners(), here.releasing()
    used = weigh(home.settings.journal, home.settings.call_sizes).used()
    said = here.said()
    found = {
        name: {
            **asdict(recording),
            "by_host": sorted(set(asdict(recording)) - set(said[name].named)),
            **asdict(releasing.get(name, Releasing())),
            "bytes": used.get(name, 0),
            "endpoints": sorted(one for one, owner in owners.items() if owner == name),
        }
        for name, recording in here.list().items()
    }
    if as_json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return
    columns = ("name", "captures", "of", "strict", "when full", "days", "MB here", "owns")
    table = Table(*columns, "policy", "approves", box=None)
    for name, one in found.items():
        owns = ", ".join(one["endpoints"]) or ("the rest" if name == DEFAULT else "–")
        told = {
            "capture": one["capture"],
            "sample": f"{one['sample']:.0%}",
            "strict": "yes" if one["strict"] else "no",
            "when_full": one["when_full"],
            "days": str(one["days"]),
        }
        marked = (f"{word} *" if key in one["by_host"] else word for key, word in told.items())
        most = f" of {one['most_mb']}" if one["most_mb"] else ""
        if most and "most_mb" in one["by_host"]:
            most += " *"
        words = (name, *marked)
        kept = (f"{one['bytes'] / MB:.1f}{most}",)
        by = one["policy"] or "its own", ", ".join(one["roles"]) or "by policy"
        table.add_row(*map(cell, (*words, *kept, owns, *by)))
    Console().print(table)
    if any(one["by_host"] for one in found.values()):
        sys.stdout.write("* as this host's settings have it, since nobody said otherwise\n")


def _keys(here: House) -> Keys:
    return Keys(here.ledger, here.settings.pepper_file)


def _namespaces(here: House) -> Namespaces:
    return Namespaces(here.ledger, here.settings.recording)


def _says(asked: Mapping[str, Any]) -> bool:
    return any(one is not None for one in asked.values())


def _changed(asked: Mapping[str, Any], was: Releasing | None = None) -> Releasing:
    named = {name: one for name, one in asked.items() if one is not None}
    return replace(was or Releasing(), **named)


def _plain(one: Key) -> dict[str, Any]:
    plain = asdict(one)
    return {**plain.pop("made"), **plain}


def _day(at: float, never: str) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat() if at else never
