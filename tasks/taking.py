"""Calls taken out of the record by right: into a file, to another system, as a suite's table.

That it begins is on record before the first call is read, and how many were taken at its end. A
payload that is not what was sealed costs its call the payload, and nothing else.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import msgspec

from infra.calls.exporting import Form, fresh, written
from infra.calls.formats import Exported
from infra.calls.lines import Payload
from infra.calls.query import Hit, Query
from infra.calls.shipping import Shipper, named
from infra.calls.stores import every
from infra.identity import Identity
from release.callers import Capture
from release.errors import Invalid
from release.redaction import lacks_something
from tasks.finding import Opening, Shown, answering, note, opening_of, reading, shown
from tasks.naming import tell_of_search
from tasks.wiring import House

EXPORTING, EXPORTED = "calls-exporting", "calls-exported"
REPLAYING, REPLAYED = "calls-replaying", "calls-replayed"
"""Kinds of events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was taken."""

    calls: int
    """Calls, or texts of a suite."""

    unreadable: int = 0
    """Calls whose payload was kept and cannot be told: it is not what was sealed."""

    without: int = 0
    """Of a suite: calls that had no text to replay."""

    redacted: int = 0
    """Of a suite: texts that are left out, for something was taken out of them."""


@dataclass(slots=True)
class _Reader:
    """Reads payloads of calls where they stand, and counts those that cannot be told."""

    here: House
    opening: Opening
    unreadable: int = 0

    def read(self, hits: Iterable[Hit]) -> Iterator[tuple[Hit, Shown]]:
        for hit in hits:
            found = shown(self.here, self.opening, hit)
            self.unreadable += bool(found.unreadable)
            yield hit, found

    def exported(self, hits: Iterable[Hit]) -> Iterator[Exported]:
        for hit, found in self.read(hits):
            yield Exported(
                gateway=hit.gateway,
                line=found.line,
                payload=found.payload,
                unreadable=found.unreadable,
            )

    @property
    def said(self) -> str:
        return f", {self.unreadable} of them without a payload" if self.unreadable else ""


def export(here: House, by: Identity, query: Query, out: Path, form: Form = Form.JSONL) -> Taken:
    """Write every call that matches to a file, payloads included.

    Raises:
        Refused: `by` may not read the call record.
        Invalid: the file is there already.
    """
    reader = _Reader(here, opening_of(here))
    with reading(here, by) as store, fresh(out) as file:
        note(here, by, EXPORTING, f"is exporting calls to {out.name}", query, to=out.name)
        count = written(file, reader.exported(every(store, query)), form)
        if not count:
            tell_of_search(here, store, query)
    said = f"exported {count} calls to {out.name}{reader.said}"
    note(here, by, EXPORTED, said, query, to=out.name, calls=count)
    return Taken(calls=count, unreadable=reader.unreadable)


def ship(here: House, by: Identity, query: Query, to: str, form: Form) -> Taken:
    """Send every call that matches to where others search them.

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
    shipper = Shipper(to, here.settings.export_authorization.get_secret_value())
    reader = _Reader(here, opening_of(here))
    send: Callable[[Iterable[Exported]], None]
    send = shipper.bulk if form == Form.ECS else shipper.otlp
    where = named(to)
    with reading(here, by) as store:
        note(here, by, EXPORTING, f"is sending calls to {where}", query, to=where)
        try:
            send(reader.exported(every(store, query)))
            if not shipper.sent:
                tell_of_search(here, store, query)
        finally:
            said = f"sent {shipper.sent} calls to {where}{reader.said}"
            note(here, by, EXPORTED, said, query, to=where, calls=shipper.sent)
    return Taken(calls=shipper.sent, unreadable=reader.unreadable)


def replay(here: House, by: Identity, query: Query, out: Path) -> Taken:
    """Write recorded texts, each once, as a table that `slipway suite` takes.

    The label is what was answered then: it says whether a candidate would answer the same, and not
    whether that is right. A text out of which personal data was taken is another one, and left out.

    Raises:
        Refused: `by` may not read the call record.
        Invalid: the file is there already, or calls of several endpoints match.
    """
    # What is known of a text is enough to know it again: there may be more of them than memory.
    known, endpoints, redacted = set[bytes](), set[str](), 0
    reader, without = _Reader(here, opening_of(here)), 0
    with reading(here, by) as store, fresh(out) as file:
        note(here, by, REPLAYING, f"is taking recorded texts to {out.name}", query, to=out.name)
        table = csv.writer(_Utf8(file=file))
        table.writerow(("text", "label"))
        for hit, found in reader.read(every(store, answering(query))):
            said = _labelled(found.payload)
            without += not said
            _check_one(endpoints, hit, said)
            for text, label in said:
                if hit.line.capture == Capture.REDACTED and lacks_something(text):
                    redacted += 1
                    continue
                which = blake2b(text.encode(), digest_size=16).digest()
                if which not in known:
                    known.add(which)
                    table.writerow((text, label))
        if not endpoints:
            tell_of_search(here, store, query)
    what = f"took {len(known)} recorded texts for a suite to {out.name}"
    note(here, by, REPLAYED, what, query, to=out.name, texts=len(known))
    unreadable = reader.unreadable
    return Taken(calls=len(known), unreadable=unreadable, without=without, redacted=redacted)


def _check_one(endpoints: set[str], hit: Hit, said: Sequence[object]) -> None:
    """Refuse texts of a second endpoint: a suite is of one model's labels.

    Raises:
        Invalid: naming both.
    """
    if said:
        endpoints.add(hit.line.endpoint)
    if len(endpoints) > 1:
        both = " and ".join(sorted(endpoints))
        raise Invalid(f"Calls of {both} match, and a suite is of one.", "give --endpoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Utf8:
    """Takes the text of a table."""

    file: BinaryIO

    def write(self, text: str) -> int:
        return self.file.write(text.encode())


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
