"""The call record is read by right and on record, and says who stands behind an answer."""

import csv
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet
import pytest

from infra.calls.exporting import Form
from infra.calls.lines import Payload
from infra.calls.query import Query
from infra.calls.vault import Vault
from infra.identity import Identity
from infra.ledger import Ledger, schema
from infra.ledger.rows import release_row
from infra.settings import Settings
from release.errors import Invalid, NotFound, Refused
from release.releases import Event
from serving.journal import JournalWriter
from tasks.calls import Erasure, erase
from tasks.finding import (
    EXPORTED,
    REPLAYED,
    SEARCHED,
    SHOWN,
    account,
    export,
    find,
    replay,
    ship,
    show,
)
from tasks.wiring import House
from tests.fakes.call_lines import a_call
from tests.fakes.nouns import a_release, an_approval, judged
from tests.fakes.receiver import Receiver, receiving

AUDITOR = Identity(name="uma", role="auditor")
ADA = Identity(name="ada", role="admin")
AT = 1_790_000_000.0
READINGS = (SEARCHED, SHOWN, EXPORTED, REPLAYED)


class Journal:
    """A gateway's journal with sealed payloads."""

    def __init__(self, settings: Settings) -> None:
        self._vault = Vault(settings.calls_secrets)
        self._writer = JournalWriter(settings.journal, "host/g1")

    def write(self, text: str, label: str, answered: str = "", **more: Any) -> None:
        number = self._writer.sequence + 1
        output = msgspec.json.encode({"label": label, "score": 0.9})
        payload = Payload(input=[text], output=msgspec.Raw(output), salt="00" * 16)
        plain = msgspec.json.encode(payload)
        commitment = sha256(plain).hexdigest()
        key, sealed = self._vault.seal("default", AT, plain, commitment)
        named = {"capture": "full", "commitment": commitment, "key": key, **more}
        line = a_call(number, at=AT, **named)
        self._writer.write(msgspec.structs.replace(line, digest=answered), sealed)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[House]:
    settings = Settings(home=tmp_path)
    made = House(
        settings=settings, ledger=Ledger.open(settings.ledger), clock=lambda: AT + 3 * 86_400
    )
    yield made
    made.ledger.close()


@pytest.fixture
def journal(here: House) -> Journal:
    return Journal(here.settings)


def told(here: House) -> list[str]:
    return [event.sentence for _, event in here.ledger.events(kinds=READINGS)]


def test_whoever_looks_is_recorded_with_what_was_looked_for(here: House, journal: Journal) -> None:
    journal.write("我的订单在哪里", "shipping", user="ann")
    journal.write("it is broken", "support", user="bob")
    (hit,) = find(here, AUDITOR, Query(text="订单"))
    assert hit.line.user == "ann"
    assert told(here) == ["uma searched the call record and saw 1 calls"]
    (event,) = [event for _, event in here.ledger.events(kinds=(SEARCHED,))]
    assert (event.actor, dict(event.data)) == ("uma", {"text": "订单"})


@pytest.mark.parametrize("role", ["viewer", "requester", "release-manager"])
def test_only_few_may_read_it(here: House, journal: Journal, role: str, tmp_path: Path) -> None:
    journal.write("a text", "a label")
    somebody = Identity(name="ned", role=role)
    for read in (
        lambda: find(here, somebody, Query()),
        lambda: show(here, somebody, "r1"),
        lambda: account(here, somebody, Query()),
        lambda: export(here, somebody, Query(), tmp_path / "out"),
        lambda: replay(here, somebody, Query(), tmp_path / "out.csv"),
    ):
        with pytest.raises(Refused, match="ned is .* and may not read the call record"):
            read()
    assert told(here) == []


def test_a_call_is_shown_with_its_payload_until_that_is_erased(
    here: House, journal: Journal
) -> None:
    journal.write("it is broken", "support", user="bob")
    journal.write("where is it", "shipping", user="ann")
    (shown,) = show(here, AUDITOR, "r1")
    assert shown.payload is not None and list(shown.payload.input) == ["it is broken"]
    assert msgspec.json.decode(shown.payload.output)["label"] == "support"
    erase(here, ADA, Erasure(namespace="default", user="bob", why="he asked"))
    (shown,) = show(here, AUDITOR, "r1")
    assert shown.payload is None and shown.kept
    assert find(here, AUDITOR, Query(text="broken")) == []
    assert len(find(here, AUDITOR, Query(text="where"))) == 1
    with pytest.raises(NotFound, match="No call is recorded with the id 'r9'"):
        show(here, AUDITOR, "r9")


def test_an_erasure_that_was_interrupted_is_finished_by_the_next(
    here: House, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.write("it is broken", "support", user="bob")
    find(here, AUDITOR, Query())
    erasure = Erasure(namespace="default", user="bob", why="he asked")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tasks.calls._forget", dies)
        with pytest.raises(KeyboardInterrupt):
            erase(here, ADA, erasure)
    assert len(find(here, AUDITOR, Query(text="broken"))) == 1
    assert erase(here, ADA, erasure) == []
    assert find(here, AUDITOR, Query(text="broken")) == []


def test_who_released_and_approved_an_answer_is_one_question(here: House, journal: Journal) -> None:
    opened = a_release()
    chosen = judged(opened).chosen
    assert chosen is not None
    digest = chosen.variant.digest
    here.ledger.open_release(opened, Event(kind="opened", at=1.0, actor="ned", sentence="opened"))
    with here.ledger.database.write() as connection:
        row = release_row(judged(opened))
        connection.execute(schema.releases.update().values(chosen=row["chosen"]))
    yes = an_approval(judged(opened))
    here.ledger.approve(yes, Event(kind="approved", at=2.0, actor=yes.who, sentence="yes"))
    named = {"model": "docs-router", "endpoint": "docs-router", "version": 2}
    journal.write("where is it", "shipping", answered=digest, **named)
    journal.write("of a variant that nobody released", "x", answered="sha256:other", **named)
    found = account(here, AUDITOR, Query(text="where is it", endpoint="docs-router"))
    assert found.release is not None and found.release.requester == opened.requester
    assert [one.who for one in found.approvals] == [yes.who]
    assert account(here, AUDITOR, Query(text="nobody released")).release is None
    with pytest.raises(NotFound, match="No such call is recorded"):
        account(here, AUDITOR, Query(text="never asked"))


def test_calls_are_exported_with_what_was_asked(
    here: House, journal: Journal, tmp_path: Path
) -> None:
    journal.write("我的订单", "物流", user="ann")
    journal.write("another", "x", user="bob")
    out = tmp_path / "calls.jsonl"
    assert export(here, AUDITOR, Query(user="ann"), out) == 1
    (line,) = [json.loads(one) for one in out.read_text(encoding="utf-8").splitlines()]
    assert (line["id"], line["input"], line["output"]["label"]) == ("r1", ["我的订单"], "物流")
    assert out.stat().st_mode & 0o077 == 0
    with pytest.raises(Invalid, match="cannot be made: File exists"):
        export(here, AUDITOR, Query(), out)


def test_calls_are_exported_as_a_table(here: House, journal: Journal, tmp_path: Path) -> None:
    journal.write("我的订单", "物流", user="ann")
    journal.write("another", "x")
    out = tmp_path / "calls.parquet"
    assert export(here, AUDITOR, Query(), out, Form.PARQUET) == 2
    first, second = pyarrow.parquet.read_table(out).to_pylist()
    assert (first["id"], second["user"], second["at_us"]) == ("r2", "ann", int(AT * 1e6))
    assert json.loads(second["input"]) == ["我的订单"]
    assert json.loads(second["output"])["label"] == "物流"


def test_calls_are_sent_elsewhere_and_that_is_recorded(here: House, journal: Journal) -> None:
    journal.write("我的订单", "物流", user="ann")
    receiver = Receiver()
    with receiving(receiver) as shipper:
        assert ship(here, AUDITOR, Query(), shipper.to, Form.ECS) == 1
        assert ship(here, AUDITOR, Query(), shipper.to, Form.OTLP) == 1
    (document,) = receiver.kept.values()
    assert document["slipway"]["input"] == ["我的订单"] and len(receiver.logs) == 1
    assert [one.startswith("uma sent 1 calls to http://127") for one in told(here)] == [True, True]
    for to, form, says in (
        ("http://127.0.0.1:9/x", Form.JSONL, "Nothing is sent as jsonl"),
        ("elastic:9200", Form.ECS, "'elastic:9200' is no address"),
    ):
        with pytest.raises(Invalid, match=says):
            ship(here, AUDITOR, Query(), to, form)


def test_recorded_texts_become_a_table_for_a_suite(
    here: House, journal: Journal, tmp_path: Path
) -> None:
    for text in ("a, b", "c\nd", "a, b"):
        journal.write(text, "old" if len(text) > 3 else "new")
    journal.write("gone", "x", user="bob")
    erase(here, ADA, Erasure(namespace="default", user="bob", why="he asked"))
    out = tmp_path / "suite.csv"
    assert replay(here, AUDITOR, Query(), out) == (2, 1)
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["text", "label"]
    assert sorted(rows[1:]) == [["a, b", "old"], ["c\nd", "new"]]
