"""The call record as people read it: searched, shown, exported, replayed, and that on record."""

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from infra.calls.exporting import Form, written
from infra.calls.formats import Exported
from infra.calls.indexing import Indexer
from infra.calls.lines import CallLine, Payload
from infra.calls.query import Hit, Query
from infra.calls.segments import at as line_at
from infra.calls.segments import ends_in
from infra.calls.shipping import Shipper
from infra.calls.stores import Calls, every, opened
from infra.calls.vault import Vault
from infra.identity import Identity
from release.errors import Invalid, NotFound, Refused
from release.releases import Approval, Event, Release
from tasks.wiring import House

READERS = ("admin", "auditor")
"""Roles that may read the call record."""

SEARCHED, SHOWN, EXPORTED, REPLAYED = (
    *("calls-searched", "call-shown"),
    *("calls-exported", "calls-replayed"),
)
"""Kinds of events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A call, with what was asked and answered where that was kept."""

    line: CallLine
    payload: Payload | None
    kept: bool
    """Whether the segment that it lay in is still there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounted:
    """Who stands behind an answer."""

    line: CallLine
    release: Release | None
    """The release that brought the variant there; None where no release of this ledger did."""

    approvals: tuple[Approval, ...] = ()


@contextmanager
def reading(here: House, by: Identity) -> Iterator[Calls]:
    """Open the call store for a reader, with all that gateways have written until now.

    Raises:
        Refused: `by` may not read the call record.
        Unavailable: the store cannot be opened.
    """
    if by.role not in READERS:
        said = f"{by.name} is {by.role} and may not read the call record."
        raise Refused(said, f"it takes {' or '.join(READERS)}")
    store = opened(here.settings)
    try:
        indexer = Indexer(here.settings.journal, store, _vault(here))
        _catch_up(indexer)
        yield store
    finally:
        store.close()


def _catch_up(indexer: Indexer) -> None:
    """Fold what was written until now, and no more: calls may come faster than they are folded."""
    ends, before = ends_in(indexer.folder), None
    while True:
        indexer.fold()
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
    _note(here, by, SEARCHED, f"searched the call record and saw {len(hits)} calls", query)
    return hits


def show(here: House, by: Identity, id_: str) -> list[Shown]:
    """Give every call with an id, which clients may have used twice, with its payload.

    Raises:
        NotFound: there is none.
        Refused: `by` may not read the call record.
    """
    query = Query(id=id_)
    with reading(here, by) as store:
        hits = store.page(query)
    if not hits:
        raise NotFound(f"No call is recorded with the id {id_[:80]!r}.", "see slipway calls search")
    _note(here, by, SHOWN, f"read the call {id_}", query)
    vault = _vault(here)
    return [_shown(here, vault, hit) for hit in hits]


def account(here: House, by: Identity, query: Query) -> Accounted:
    """Say which version answered, released and approved by whom: of the newest call that matches.

    Raises:
        NotFound: no call matches.
        Refused: `by` may not read the call record.
    """
    hits = find(here, by, query)
    if not hits:
        raise NotFound("No such call is recorded.", "see slipway calls search")
    line = hits[0].line
    brought = [
        one
        for one in here.ledger.releases(line.model)
        if one.opened_at * 1e6 <= line.at_us
        and one.chosen is not None
        and one.chosen.variant.digest == line.digest
    ]
    release = max(brought, key=lambda one: one.opened_at, default=None)
    if release is None:
        return Accounted(line=line, release=None)
    given = here.ledger.approvals(release.id)
    approvals = tuple(one for one in given if one.granted and one.at * 1e6 <= line.at_us)
    return Accounted(line=line, release=release, approvals=approvals)


def export(here: House, by: Identity, query: Query, out: Path, form: Form = Form.JSONL) -> int:
    """Write every call that matches to a file, payloads included; give how many.

    Raises:
        Refused: `by` may not read the call record.
        Invalid: the file is there already.
    """
    with _fresh(out) as file, reading(here, by) as store:
        count = written(file, _exported(here, every(store, query)), form)
    _note(here, by, EXPORTED, f"exported {count} calls to {out.name}", query)
    return count


def ship(here: House, by: Identity, query: Query, to: str, form: Form) -> int:
    """Send every call that matches to where others search them; give how many.

    Args:
        here: the house.
        by: who asks.
        query: which calls.
        to: address, see `Shipper`.
        form: `ecs` for the bulk API, or `otlp`.

    Raises:
        Refused: `by` may not read the call record, or a call is not taken there.
        Unavailable: nobody answers there, or is too busy for too long.
        Invalid: nothing is sent in this form, or the address is none.
    """
    if form not in (Form.ECS, Form.OTLP):
        raise Invalid(f"Nothing is sent as {form}.", "it is ecs or otlp; or write a file by --out")
    if not to.startswith(("http://", "https://")):
        raise Invalid(f"{to[:80]!r} is no address.", "such as http://elastic:9200/calls")
    shipper = Shipper(to, here.settings.export_authorization.get_secret_value())
    try:
        with reading(here, by) as store:
            calls = _exported(here, every(store, query))
            (shipper.bulk if form == Form.ECS else shipper.otlp)(calls)
    finally:
        if shipper.sent:
            _note(here, by, EXPORTED, f"sent {shipper.sent} calls to {to}", query)
    return shipper.sent


def replay(here: House, by: Identity, query: Query, out: Path) -> tuple[int, int]:
    """Write recorded texts, each once, as a table that `slipway suite` takes.

    The label is what was answered then: it says whether a candidate would answer the same, and not
    whether that is right.

    Returns:
        How many texts were written, and how many calls had none that could be.

    Raises:
        Refused: `by` may not read the call record.
        Invalid: the file is there already.
    """
    texts: dict[str, str] = {}
    without, vault = 0, _vault(here)
    with reading(here, by) as store:
        for hit in every(store, query):
            said = _labelled(_shown(here, vault, hit).payload)
            without += not said
            for text, label in said:
                texts.setdefault(text, label)
    with _fresh(out) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as plain:
        table = csv.writer(plain)
        table.writerow(("text", "label"))
        table.writerows(texts.items())
    _note(here, by, REPLAYED, f"took {len(texts)} recorded texts for a suite", query)
    return len(texts), without


@contextmanager
def _fresh(out: Path) -> Iterator[BinaryIO]:
    """Open a file that only its owner may read, and that is not there yet."""
    try:
        out.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        raise Invalid(f"{out} cannot be made: {error.strerror}.", "name another file") from error
    with out.open("wb") as file:
        yield file


def _shown(here: House, vault: Vault, hit: Hit) -> Shown:
    found = line_at(here.settings.journal, hit.gateway, hit.segment, hit.offset)
    if found is None or found.line != hit.line:
        return Shown(line=hit.line, payload=None, kept=False)
    payload = vault.open(found.line, found.sealed)
    return Shown(line=hit.line, payload=payload, kept=True)


def _exported(here: House, hits: Iterable[Hit]) -> Iterator[Exported]:
    vault = _vault(here)
    for hit in hits:
        payload = _shown(here, vault, hit).payload
        yield Exported(gateway=hit.gateway, line=hit.line, payload=payload)


def _vault(here: House) -> Vault:
    """Open the vault, once for all calls of a reading: it keeps the keys that it has unwrapped."""
    return Vault(here.settings.calls_secrets)


def _labelled(payload: Payload | None) -> list[tuple[str, str]]:
    """Give each text of a call with the label that it was given; none where there are no labels."""
    if payload is None:
        return []
    output = msgspec.json.decode(payload.output)
    rows = output if isinstance(output, list) else [output]
    texts = list(payload.input)
    if len(rows) != len(texts):
        return []
    return [
        (text, str(row["label"]))
        for text, row in zip(texts, rows, strict=True)
        if isinstance(text, str) and isinstance(row, dict) and "label" in row
    ]


def _note(here: House, by: Identity, kind: str, what: str, query: Query) -> None:
    asked = {
        name: getattr(query, name)
        for name in Query.__dataclass_fields__
        if getattr(query, name) not in (None, "") and name != "most"
    }
    here.ledger.note(
        Event(kind=kind, at=here.clock(), actor=by.name, sentence=f"{by.name} {what}", data=asked)
    )
