"""The call record: `slipway calls`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from infra.calls.filed import BadLines
    from infra.calls.proofs import Proof
    from infra.calls.query import Query

calls = typer.Typer(
    help="Every call that was made: find it, prove it, erase it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

MOST_FAULTS = 20
"""Of a gateway's that are named, the first of them."""

Text = Annotated[str, typer.Argument(help="Anywhere in what was asked or answered; 3 characters.")]
Endpoint = Annotated[str | None, typer.Option(help="That was asked.")]
Version = Annotated[
    int | None, typer.Option("--version", "-v", help="That answered, or was asked last.")
]
User = Annotated[str | None, typer.Option(help="That called, as proven.")]
Key = Annotated[str | None, typer.Option(help="Id of the key or token that called.")]
Tenant = Annotated[str | None, typer.Option(help="For whom it was, as proven.")]
Namespace = Annotated[str | None, typer.Option(help="That the call is of.")]
Arm = Annotated[str | None, typer.Option(help="champion, canary, pinned or shadow.")]
Outcome = Annotated[str | None, typer.Option(help="ok, or the kind of the error.")]
Since = Annotated[str, typer.Option(help="Such as 2026-11-26T08:30, in UTC.")]
Until = Annotated[str, typer.Option(help="Before this moment.")]
Below = Annotated[int | None, typer.Option(help="The page after this number.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to make.")]


@calls.command()
def search(
    text: Text = "",
    endpoint: Endpoint = None,
    version: Version = None,
    user: User = None,
    key: Key = None,
    tenant: Tenant = None,
    namespace: Namespace = None,
    arm: Arm = None,
    outcome: Outcome = None,
    status: Annotated[int | None, typer.Option(help="HTTP status, such as 503.")] = None,
    since: Since = "",
    until: Until = "",
    below: Below = None,
    most: Annotated[int, typer.Option(help="Calls of a page, 1 to 1000.")] = 20,
) -> None:
    """Find calls, the newest first; that you looked is recorded."""
    from console.finding import search as find

    who = {"user": user, "caller": key, "tenant": tenant, "namespace": namespace}
    what = {"version": version, "arm": arm, "outcome": outcome, "status": status}
    find(_query(text, endpoint, since, until, below=below, most=most, **who, **what))


@calls.command()
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of the request.")],
    below: Below = None,
) -> None:
    """Show all that is known of a call, with what was asked and answered where it was kept."""
    from console.finding import show as tell

    _end(good=tell(id_, below))


@calls.command()
def who(
    text: Text = "",
    id_: Annotated[str | None, typer.Option("--id", help="Of the request.")] = None,
    endpoint: Endpoint = None,
    user: User = None,
    arm: Arm = None,
    at: Annotated[str, typer.Option(help="The newest call until then, that included.")] = "",
) -> None:
    """Say which version answered a call, who released it, and who approved that."""
    from dataclasses import replace

    from console.finding import moment_after
    from console.finding import who as tell

    query = _query(text, endpoint, "", "", id=id_, user=user, arm=arm, most=1)
    tell(replace(query, until_us=moment_after(at)))


@calls.command()
def export(
    text: Text = "",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to make.")] = None,
    to: Annotated[str, typer.Option(help="Address, such as http://host:9200/calls.")] = "",
    form: Annotated[str, typer.Option("--format", help="jsonl, ecs, otlp or parquet.")] = "jsonl",
    endpoint: Endpoint = None,
    version: Version = None,
    user: User = None,
    key: Key = None,
    tenant: Tenant = None,
    namespace: Namespace = None,
    since: Since = "",
    until: Until = "",
) -> None:
    """Write calls to a file or send them, with what was asked and answered where it was kept."""
    from console.finding import export as write
    from console.finding import form_of

    who = {"user": user, "caller": key, "tenant": tenant, "namespace": namespace}
    query = _query(text, endpoint, since, until, version=version, **who)
    _end(good=write(query, out, to, form_of(form)))


@calls.command()
def replay(
    out: Out,
    endpoint: Endpoint = None,
    version: Version = None,
    user: User = None,
    namespace: Namespace = None,
    arm: Arm = None,
    since: Since = "",
    until: Until = "",
) -> None:
    """Write what was asked as a table for `slipway suite`, labelled with what was answered."""
    from console.finding import replay as write

    named = {"version": version, "user": user, "namespace": namespace, "arm": arm}
    _end(good=write(_query("", endpoint, since, until, outcome="ok", **named), out))


def _query(
    text: str, endpoint: str | None, since: str, until: str, **named: "str | int | None"
) -> "Query":
    from console.finding import moment
    from infra.calls.query import Query

    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    return Query(
        text=text, endpoint=endpoint, since_us=moment(since), until_us=moment(until), **given
    )


@calls.command()
def verify(
    anchors: Annotated[
        Path | None, typer.Option(help="Anchors from elsewhere, as JSON one a line.")
    ] = None,
) -> None:
    """Prove that nothing was changed, cut off, or erased but on record; code 1 if not."""
    from release.wording import tame
    from tasks.calls import verify as prove
    from tasks.proving import unlike_anchors
    from tasks.wiring import house

    good, proofs = True, prove(house(), anchors)
    for bad in unlike_anchors(house(), anchors):
        good &= not bad.costly
        sys.stdout.write("".join(f"{tame(line)}\n" for line in _told_of_lines(bad)))
    for proof in proofs:
        good &= proof.lawful
        sys.stdout.write("".join(f"{tame(line)}\n" for line in _told(proof)))
    _end(good=good)


@calls.command()
def erase(
    namespace: Annotated[str, typer.Option(help="Whose payloads.")],
    why: Annotated[str, typer.Option("--why", "-m", help="Reason, for the record.")],
    day: Annotated[str, typer.Option(help="All of this day's, such as 2026-11-26, in UTC.")] = "",
    user: Annotated[str, typer.Option(help="All of this user's.")] = "",
    key: Annotated[str, typer.Option(help="All that this key or token asked, by its id.")] = "",
    id_: Annotated[str, typer.Option("--id", help="All calls with this id of a request.")] = "",
) -> None:
    """Erase what was asked and answered, of a day, a user, a key or an id; that it was is provable.

    Of all but a day calls that are under way are waited for, and erased too; later ones are kept.
    """
    from console.people import actor
    from tasks.calls import Erasure
    from tasks.calls import erase as act
    from tasks.wiring import house

    here = house()
    erasure = Erasure(namespace=namespace, day=day, user=user, key=key, id=id_, why=why)
    gone = act(here, actor(here), erasure)
    none = "" if gone else ": none was kept, or all were erased before"
    sys.stdout.write(f"{len(gone)} payloads of {namespace} are erased{none}\n")


@calls.command()
def log(
    below: Annotated[int | None, typer.Option(help="The page after this number.")] = None,
    most: Annotated[int, typer.Option(help="Events of a page, 1 to 1000.")] = 50,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one event a line.")] = False,
) -> None:
    """List who searched, showed, exported or erased calls, the newest first, and why."""
    from console.lookups import log as tell

    tell(below, most, as_json=as_json)


@calls.command()
def inspect(
    namespace: Annotated[str, typer.Option(help="Whose payloads; every one's if absent.")] = "",
    since: Since = "",
    until: Until = "",
    least: Annotated[float, typer.Option(help="Score from which a spot counts, 0..1.")] = 0.4,
    *,
    erase_found: Annotated[
        bool, typer.Option("--erase", help="Erase the payloads that are found.")
    ] = False,
    why: Annotated[str, typer.Option("--why", "-m", help="Reason, for the record.")] = "",
) -> None:
    """Look for what redaction missed, by presidio (an extra); code 1 if any of it stays."""
    from console.inspecting import inspect as look

    if look(namespace, since, until, least, why if erase_found else None):
        raise typer.Exit(1)


def _end(*, good: bool) -> None:
    if not good:
        raise typer.Exit(1)


def _told_of_lines(bad: "BadLines") -> list[str]:
    """Say which lines of a file of anchors are none, and what that costs."""
    lines = []
    for one in bad.told:
        if one.covered_by:
            costs = f"line {one.covered_by} proves all that it did"
        elif one.torn:
            costs = "nothing relied on it"
        else:
            costs = "NOT PROVEN: what it anchored"
        lines.append(f"  line {one.number}: {one.why}; {costs}")
    if bad.more:
        lines.append(f"  {bad.more} lines more are no anchors")
    return [f"{bad.path}: some lines are no anchors", *lines]


def _told(proof: "Proof") -> list[str]:
    """Say what was found of a gateway's journal."""
    if proof.elsewhere:
        until = f" up to call {proof.anchored}" if proof.anchored else ""
        return [f"{proof.gateway}: anchored{until} by another host, and to be proven there"]
    head = f"{proof.gateway}: calls {proof.first} to {proof.last}"
    lines = [f"  NOT PROVEN: {fault}" for fault in proof.faults[:MOST_FAULTS]]
    if more := proof.faults[MOST_FAULTS:]:
        lines.append(f"  NOT PROVEN: {len(more)} faults more")
    if proof.good:
        since = proof.last - proof.anchored
        lines.append(f"  proven up to call {proof.anchored} by the last anchor; {since} since then")
    if proof.erased:
        said = f", {proof.unrecorded} by nobody on record" if proof.unrecorded else ", as recorded"
        lines.append(f"  {proof.erased} payloads are erased{said}{_nobodys(proof)}")
    if proof.unfinished:
        said = "by an erasure that was interrupted: do it again"
        lines.append(f"  {proof.unfinished} payloads are erased in part, {said}")
    if proof.standing:
        said = f"call {proof.first_standing} is the first: do the erasure again"
        lines.append(
            f"  NOT ERASED: {proof.standing} payloads stand that are erased on record; {said}"
        )
    if proof.old:
        lines.append(f"  {proof.old} segments are from before the call record and prove nothing")
    return [head, *lines]


def _nobodys(proof: "Proof") -> str:
    """Name the calls that nobody on record has erased."""
    if not proof.nobodys:
        return ""
    more = proof.unrecorded - len(proof.nobodys)
    named = ", ".join(map(str, proof.nobodys))
    return f": calls {named}{f' and {more} more' if more else ''}"
