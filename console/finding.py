"""What was called: `slipway calls search`, `show`, `who`, `export` and `replay`.

What ends in a bool says whether every payload that was kept could be told.
"""

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.table import Table

from console.people import actor
from console.wording import cell
from infra.calls.exporting import Form
from infra.calls.numbers import calendar
from infra.calls.query import Query
from infra.calls.shipping import named
from release.errors import Invalid
from release.wording import tame
from tasks import finding, taking
from tasks.wiring import house

if TYPE_CHECKING:
    from infra.calls.lines import CallLine


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)

_WRITTEN = re.compile(
    r"(?:\d{4}-?W\d\d(?:-?\d)?|\d{4}-?\d\d-?\d\d)"
    r"(?P<hours>.\d\d(?P<minutes>:?\d\d(?P<seconds>:?\d\d(?:[.,](?P<part>\d+))?)?)?(?:Z|[+-].*)?)?"
)
"""A moment as ISO 8601 has it: how much of it was written."""


def moment(given: str) -> int | None:
    """Read a moment such as 2026-11-26T08:30 or 2026-11-26, in UTC where it does not say.

    Returns:
        Microseconds since the epoch; None where nothing is given.

    Raises:
        Invalid: it is none.
    """
    if not given:
        return None
    try:
        read = datetime.fromisoformat(given)
    except ValueError:
        said = f"{given[:40]!r} is no moment."
        raise Invalid(said, "such as 2026-11-26T08:30, in UTC") from None
    aware = read if read.tzinfo else read.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _US


def moment_after(given: str) -> int | None:
    """Read a moment as `moment` does, and give the first one that is not part of it any more.

    What is written is meant whole: `08:30:20.454` covers that millisecond, `08:30` that minute and
    a date its day. Calls have microseconds, and are told to people by the millisecond.

    Raises:
        Invalid: it is none.
    """
    begins = moment(given)
    return None if begins is None else begins + _covers(given) // _US


def _covers(given: str) -> timedelta:
    """Say for how long a moment is, as it was written."""
    written = _WRITTEN.fullmatch(given)
    if written is None:
        return _US
    if part := written["part"]:
        return timedelta(microseconds=int("1".ljust(7 - len(part), "0")))
    if written["seconds"]:
        return timedelta(seconds=1)
    if written["minutes"]:
        return timedelta(minutes=1)
    return timedelta(hours=1) if written["hours"] else timedelta(days=1)


def form_of(given: str) -> Form:
    """Read the name of a format.

    Raises:
        Invalid: it is none.
    """
    try:
        return Form(given)
    except ValueError:
        raise Invalid(
            f"There is no format {given[:40]!r}.", f"it is one of {', '.join(Form)}"
        ) from None


def search(query: Query) -> None:
    """Print one page of calls, and how to get the next."""
    here = house()
    hits = finding.find(here, actor(here), query)
    table = Table(
        "at (UTC)", "id", "endpoint", "version", "arm", "user or key", "outcome", "ms", box=None
    )
    for hit in hits:
        line = hit.line
        cells = (
            *(_at(line), line.id, line.endpoint, str(line.version or ""), line.arm),
            *(line.user or line.caller, line.outcome, f"{line.total_us / 1e3:.1f}"),
        )
        # Clients name their requests as they like.
        table.add_row(*map(cell, cells))
    Console(soft_wrap=True).print(table)
    if len(hits) == query.most:
        sys.stdout.write(f"older ones: --below {hits[-1].number}\n")


def show(id_: str, below: int | None = None) -> bool:
    """Print the calls of an id with all that is known of them, and how to get the next."""
    here = house()
    found = finding.show(here, actor(here), id_, below)
    for shown in found:
        line = shown.line
        sys.stdout.write(f"at (UTC): {_at(line)}\n")
        for name, value in msgspec.to_builtins(line).items():
            if value and name != "at_us":
                said = (
                    value if isinstance(value, str | int) else msgspec.json.encode(value).decode()
                )
                sys.stdout.write(f"{name}: {_exactly(str(said))}\n")
        for text in _payload(shown):
            sys.stdout.write(f"{text}\n")
    if len(found) == finding.PAGE:
        sys.stdout.write(f"older ones: --below {found[-1].number}\n")
    return _readable(sum(bool(one.unreadable) for one in found))


def who(query: Query) -> None:
    """Print which version answered or was asked in vain, who released it, and who approved that."""
    here = house()
    found = finding.account(here, actor(here), query)
    line = found.line
    call = f"call {line.id} to {line.endpoint or 'no endpoint'} at {_at(line)}"
    if line.shadow:
        call = f"a copy of {call}, which the champion answered"
    said = [f"{call}: {_what_became(line)}"]
    if line.digest:
        said += [f"content {line.digest}, routes {line.generation}", *_behind(found)]
    if found.others:
        said.append("older calls have this id as well: slipway calls show tells them")
    sys.stdout.write("".join(f"{tame(one)}\n" for one in said))


def _what_became(line: "CallLine") -> str:
    # Lines of before say no version where nothing answered.
    what = f"{line.model}{f'@{line.version}' if line.version else ''}/{line.variant}"
    if finding.answered(line):
        return f"{what} answered, as {line.arm}"
    asked = f"; {what} was asked, as {line.arm}" if line.digest else ""
    return f"nothing answered, it was {line.outcome} ({line.status}){asked}"


def _behind(found: finding.Accounted) -> Iterator[str]:
    release = found.release
    if release is None:
        yield "no release of this ledger brought that variant"
        return
    yield f"released by {release.requester} in {release.id}"
    if (since := found.since) is not None:
        yield f"there since {_moment(since.at)}: {since.sentence}"
    for one in found.approvals:
        yield f"approved by {one.who} at {_moment(one.at)}: {one.why or 'no reason'}"
    if not found.approvals:
        yield "approved by nobody, as its policy allowed"


def export(query: Query, out: Path | None, to: str, form: Form) -> bool:
    """Write calls to a file, or send them.

    Raises:
        Invalid: neither a file nor an address is given, or both are.
    """
    if (out is None) == (not to):
        raise Invalid("Give a file or an address, and not both.", "--out calls.jsonl, or --to URL")
    here = house()
    if out is None:
        taken = taking.ship(here, actor(here), query, to, form)
    else:
        taken = taking.export(here, actor(here), query, out, form)
    sys.stdout.write(f"{taken.calls} calls are in {out or named(to)}\n")
    return _readable(taken.unreadable)


def replay(query: Query, out: Path) -> bool:
    """Write recorded texts as a table for a suite."""
    here = house()
    taken = taking.replay(here, actor(here), query, out)
    said = f"{taken.calls} texts are in {out}; {taken.without} calls had none to replay"
    if taken.redacted:
        said += f", {taken.redacted} texts are not as they were asked: something was taken out"
    sys.stdout.write(f"{said}\n")
    sys.stdout.write("their label is what was answered then: see slipway suite\n")
    return _readable(taken.unreadable)


def _readable(unreadable: int) -> bool:
    """Say how many payloads were kept and cannot be told."""
    if unreadable:
        said = f"{unreadable} payloads are not what was sealed and were left out"
        sys.stderr.write(f"slipway: {said} (see slipway calls verify)\n")
    return not unreadable


def _payload(shown: finding.Shown) -> list[str]:
    if not shown.kept:
        return ["payload: its segment is not on this host any more"]
    if shown.unreadable:
        return [f"payload: it cannot be told: {tame(shown.unreadable)}"]
    if shown.payload is None:
        return ["payload: none was kept, or it is erased"]
    asked = [f"asked: {_exactly(str(one))}" for one in shown.payload.input]
    # JSON has escapes of its own.
    return [*asked, f"answered: {tame(bytes(shown.payload.output).decode())}"]


def _exactly(text: str) -> str:
    """Write a text so that escapes in it are told from those that stand for a character of it."""
    return tame(text.replace("\\", "\\\\"))


def _at(line: "CallLine") -> str:
    return _moment(calendar(line.at_us) / 1e6)


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
