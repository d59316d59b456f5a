"""The call record as people read it: searched, shown, accounted for, and that on record."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from msgspec import structs

from infra.calls.indexing import Indexer
from infra.calls.lines import CallLine, Payload
from infra.calls.neighbours import Last
from infra.calls.numbers import calendar
from infra.calls.onrecord import Covers, OnRecord
from infra.calls.query import Hit, Query
from infra.calls.segments import at as line_at
from infra.calls.segments import ends_in
from infra.calls.stores import Calls, opened
from infra.calls.vault import Vault
from infra.calls.waiting import READER_SECONDS, Busy
from infra.identity import Identity
from release.errors import Invalid, NotFound, Refused
from release.redaction import unquoted
from release.releases import Approval, Event, Release
from release.standing import MOVES, brought, standings
from tasks.naming import tell_of_search
from tasks.wiring import House

READERS = ("admin", "auditor")
"""Roles that may read the call record."""

SEARCHED, SHOWN = "calls-searched", "call-shown"
"""Kinds of events."""

MOST_HOSTS = 8
"""Other hosts that are named."""

PAGE = 50
"""Calls that are shown at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A call, with what was asked and answered where that was kept."""

    number: int
    """In the order of arrival."""

    line: CallLine
    payload: Payload | None
    kept: bool = True
    """Whether its line is still there, in its segment."""

    unreadable: str = ""
    """Why the payload that was kept cannot be told; empty where none was, or it was erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What opens payloads, but for those that are erased on record."""

    vault: Vault
    erased: Covers


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounted:
    """Who stands behind an answer, or behind what was asked in vain."""

    line: CallLine
    release: Release | None
    """The release that brought the variant there; None where no release of this ledger did."""

    since: Event | None = None
    """What made the variant answer then: a promotion, a step of a canary, a rollback."""

    approvals: tuple[Approval, ...] = ()
    others: bool = False
    """Whether older calls have the id that was asked for: clients may use one again."""


def check_reader(by: Identity) -> None:
    """Let nobody read the call record whose role does not allow it.

    Raises:
        Refused: naming the role and those that may.
    """
    if by.role not in READERS:
        said = f"{by.name} is {by.role} and may not read the call record."
        raise Refused(said, f"it takes {' or '.join(READERS)}")


@contextmanager
def reading(here: House, by: Identity) -> Iterator[Calls]:
    """Open the call store for a reader, with all that gateways have written until now.

    Where others write for long, and be it one that stands still, a reader goes by what is folded.

    Raises:
        Refused: `by` may not read the call record.
        Unavailable: the store cannot be opened.
    """
    check_reader(by)
    store = opened(here.settings)
    try:
        erased = OnRecord(lambda: here.ledger)
        indexer = Indexer(here.settings.journal, store, Vault(here.settings.calls_secrets), erased)
        try:
            _catch_up(indexer)
        except Busy as error:
            here.say(
                f"{error.message} The newest calls may be missing: only what is folded is seen."
            )
        if elsewhere := store.elsewhere():
            here.say(_told_of(elsewhere))
        yield store
    finally:
        store.close()


def _told_of(elsewhere: Sequence[Last]) -> str:
    """Say how far other hosts' calls are there: nobody but them knows what they have not folded."""
    named = sorted(elsewhere, key=lambda one: -(one[1] or 0))
    said = [
        f"{gateway} {'none of late' if at_us is None else _until(at_us)}"
        for gateway, at_us in named[:MOST_HOSTS]
    ]
    more = f", and {len(named) - MOST_HOSTS} hosts more" if len(named) > MOST_HOSTS else ""
    what = "Of other hosts there is what they folded, the last calls (UTC) being"
    return f"{what} {', '.join(said)}{more}"


def _until(at_us: int) -> str:
    return f"{datetime.fromtimestamp(calendar(at_us) / 1e6, UTC):%Y-%m-%d %H:%M:%S}"


def _catch_up(indexer: Indexer) -> None:
    """Fold what was written until now, and no more: calls may come faster than they are folded."""
    ends, before = ends_in(indexer.folder), None
    while True:
        indexer.fold(wait=READER_SECONDS)
        places = indexer.store.places()
        behind = [one for one in ends if one.gateway not in places or places[one.gateway] < one]
        if not behind or places == before:
            return
        before = places


def find(here: House, by: Identity, query: Query) -> list[Hit]:
    """Give one page of calls, the newest first.

    Raises:
        Refused: `by` may not read the call record.
    """
    with reading(here, by) as store:
        hits = store.page(query)
        if not hits and query.below is None:
            tell_of_search(here, store, query)
    note(here, by, SEARCHED, f"searched the call record and saw {len(hits)} calls", query)
    return hits


def show(here: House, by: Identity, id_: str, below: int | None = None) -> list[Shown]:
    """Give the newest calls with an id, which clients may use often, with their payloads.

    Args:
        here: the house.
        by: who asks.
        id_: of the request.
        below: only calls older than the one with this number, which ended the page before.

    Raises:
        NotFound: there is none.
        Refused: `by` may not read the call record.
    """
    query = Query(id=id_, below=below, most=PAGE)
    with reading(here, by) as store:
        hits = store.page(query)
    if not hits:
        raise NotFound(f"No call is recorded with the id {id_[:80]!r}.", "see slipway calls search")
    note(here, by, SHOWN, f"read the call {id_}", query)
    opening = opening_of(here)
    return [shown(here, opening, hit) for hit in hits]


def account(here: House, by: Identity, query: Query) -> Accounted:
    """Say which version answered, released and approved by whom: of the newest call that matches.

    Where nothing answered that one it is the newest that was answered, if any was: whoever is
    refused must not hide who answers the others. Whoever names a request is told of that one, and
    of the version that was asked in vain. Copies that a canary was shown answered nobody: they are
    accounted for where they are asked for.

    Raises:
        NotFound: no call matches.
        Refused: `by` may not read the call record.
    """
    query = answering(query)
    if query.id is not None:
        query = replace(query, most=2)
    hits = find(here, by, query)
    named = query.id is not None or query.outcome is not None
    if hits and not answered(hits[0].line) and not named:
        hits = find(here, by, replace(query, outcome="ok")) or hits
    if not hits:
        raise NotFound("No such call is recorded.", "see slipway calls search")
    line = hits[0].line
    others = query.id is not None and len(hits) > 1
    release, since = _release_of(here, line)
    if release is None:
        return Accounted(line=line, release=None, others=others)
    given = here.ledger.approvals(release.id)
    approvals = tuple(
        one
        for one in given
        if one.granted and one.variant == line.digest and one.at * 1e6 <= line.at_us
    )
    return Accounted(line=line, release=release, since=since, approvals=approvals, others=others)


def answered(line: CallLine) -> bool:
    """Whether a call was answered: one that was not names the version that was asked last."""
    return line.outcome == "ok"


def answering(query: Query) -> Query:
    """Leave out copies that a canary was shown, unless a call's part is asked for."""
    return query if query.arm else replace(query, clients=True)


def _release_of(here: House, line: CallLine) -> tuple[Release | None, Event | None]:
    """Find the release that brought what answered or was asked, and since when that was so."""
    releases = {one.id: one for one in here.ledger.releases(line.model)}
    digests = {id_: one.chosen.variant.digest for id_, one in releases.items() if one.chosen}
    moves = (event for _, event in here.ledger.events(model=line.model, kinds=MOVES))
    found = brought(
        standings(moves),
        digests,
        arm=line.arm,
        digest=line.digest,
        at=line.at_us / 1e6,
        generation=line.generation,
    )
    return (releases[found[0]], found[1]) if found else (None, None)


def shown(here: House, opening: Opening, hit: Hit) -> Shown:
    """Read a call's payload where it stands; one that is erased on record is not read.

    Raises:
        Unavailable: the master key cannot be read.
    """
    found = line_at(here.settings.journal, hit.gateway, hit.segment, hit.offset)
    told = Shown(number=hit.number, line=hit.line, payload=None)
    if found is None or _which(found.line) != _which(hit.line):
        return replace(told, kept=False)
    if found.line != hit.line:
        return replace(told, unreadable="Its line is not as it was indexed.")
    if hit.line.commitment and not found.sealed:
        return replace(told, unreadable="Its payload was taken out of its line.")
    if opening.erased.covers(hit.line, hit.gateway):
        # It may have been put back from a copy. Lines of before quote their client's words.
        return replace(told, line=structs.replace(hit.line, error=unquoted(hit.line.error)))
    try:
        return replace(told, payload=opening.vault.open(found.line, found.sealed))
    except Invalid as error:
        return replace(told, unreadable=str(error))


def _which(line: CallLine) -> tuple[int, int]:
    return line.sequence, line.at_us


def opening_of(here: House) -> Opening:
    """Give what opens payloads, once for all calls of a reading: it keeps what it has learnt."""
    erased = OnRecord(lambda: here.ledger)
    erased.look()
    return Opening(vault=Vault(here.settings.calls_secrets), erased=erased)


def note(here: House, by: Identity, kind: str, what: str, query: Query, **more: object) -> None:
    """Put on record that somebody read calls, and which ones were asked for."""
    asked = {
        name: getattr(query, name)
        for name in Query.__dataclass_fields__
        if getattr(query, name) not in (None, "") and name != "most"
    }
    sentence = f"{by.name} {what}"
    here.ledger.note(
        Event(kind=kind, at=here.clock(), actor=by.name, sentence=sentence, data=asked | more)
    )
