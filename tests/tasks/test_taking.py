"""Calls are taken out of the record by right and on record, whatever of them was altered."""

import csv
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet
import pytest

from infra.calls.exporting import Form
from infra.calls.query import Query
from release.errors import Invalid, Refused, SlipwayError, Unavailable
from release.releases import Event
from tasks.calls import Erasure, erase
from tasks.finding import find, show
from tasks.taking import EXPORTED, EXPORTING, REPLAYED, REPLAYING, Taken, export, replay, ship
from tasks.wiring import House
from tests.fakes.receiver import Receiver, receiving
from tests.fakes.recorded import ADA, AT, AUDITOR, Journal, a_house

KINDS = (EXPORTING, EXPORTED, REPLAYING, REPLAYED)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as made:
        yield made


@pytest.fixture
def journal(here: House) -> Journal:
    return Journal(here.settings)


def events(here: House) -> list[Event]:
    return [event for _, event in here.ledger.events(kinds=KINDS)]


def told(here: House) -> list[str]:
    return [one.sentence for one in events(here)]


def test_calls_are_exported_with_what_was_asked(
    here: House, journal: Journal, tmp_path: Path
) -> None:
    journal.write("我的订单", "物流", user="ann")
    journal.write("another", "x", user="bob")
    out = tmp_path / "calls.jsonl"
    assert export(here, AUDITOR, Query(user="ann"), out) == Taken(calls=1)
    (line,) = [json.loads(one) for one in out.read_text(encoding="utf-8").splitlines()]
    assert (line["id"], line["input"], line["output"]["label"]) == ("r1", ["我的订单"], "物流")
    assert out.stat().st_mode & 0o077 == 0
    with pytest.raises(Invalid, match="cannot be made: File exists"):
        export(here, AUDITOR, Query(), out)
    begun, ended = events(here)
    assert begun.sentence == "uma is exporting calls to calls.jsonl"
    assert dict(begun.data) == {"user": "ann", "to": "calls.jsonl"}
    assert ended.sentence == "uma exported 1 calls to calls.jsonl" and ended.data["calls"] == 1


def test_calls_are_exported_as_a_table(here: House, journal: Journal, tmp_path: Path) -> None:
    journal.write("我的订单", "物流", user="ann")
    journal.write("another", "x")
    journal.alter_payload(1)
    out = tmp_path / "calls.parquet"
    assert export(here, AUDITOR, Query(), out, Form.PARQUET) == Taken(calls=2, unreadable=1)
    first, second = pyarrow.parquet.read_table(out).to_pylist()
    assert (first["id"], second["user"], second["at_us"]) == ("r2", "ann", int(AT * 1e6))
    assert json.loads(second["input"]) == ["我的订单"]
    assert json.loads(second["output"])["label"] == "物流"
    assert second["unreadable"] is None and "not the one that was sealed" in first["unreadable"]


def test_a_table_is_written_in_groups_that_are_bounded_in_bytes(
    here: House, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.calls.batches.MOST_BYTES", 20_000)
    for number in range(5):
        journal.write("x" * 8_000, str(number))
    out = tmp_path / "calls.parquet"
    assert export(here, AUDITOR, Query(), out, Form.PARQUET).calls == 5
    file = pyarrow.parquet.ParquetFile(out)
    groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert groups == [2, 2, 1] and file.read().num_rows == 5


def test_calls_are_sent_elsewhere_and_that_is_recorded(here: House, journal: Journal) -> None:
    journal.write("我的订单", "物流", user="ann")
    receiver = Receiver()
    with receiving(receiver) as shipper:
        secret = shipper.to.replace("http://", "http://bob:hunter2@")
        assert ship(here, AUDITOR, Query(), secret, Form.ECS) == Taken(calls=1)
        assert ship(here, AUDITOR, Query(), shipper.to + "?key=hunter2", Form.OTLP).calls == 1
    (document,) = receiver.kept.values()
    assert document["slipway"]["input"] == ["我的订单"] and len(receiver.logs) == 1
    begun, ended, *_ = told(here)
    assert begun == f"uma is sending calls to {shipper.to}"
    assert ended == f"uma sent 1 calls to {shipper.to}"
    assert "hunter2" not in str(events(here))
    for to, form, says in (
        ("http://127.0.0.1:9/x", Form.JSONL, "Nothing is sent as jsonl"),
        ("elastic:9200", Form.ECS, "'elastic:9200' is no address"),
        ("http://a:secret@[::1", Form.ECS, r"'\[::1' is no address"),
    ):
        with pytest.raises(Invalid, match=says):
            ship(here, AUDITOR, Query(), to, form)
    with pytest.raises(Unavailable) as refused:
        impatient(here, "http://bob:hunter2@127.0.0.1:9/x")
    assert "hunter2" not in str(refused.value) + str(events(here))
    assert told(here)[-1] == "uma sent 0 calls to http://127.0.0.1:9/x"


def impatient(here: House, to: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("infra.calls.shipping.TRIES", 1)
        ship(here, AUDITOR, Query(), to, Form.ECS)


def test_what_was_sent_before_it_failed_is_recorded(
    here: House, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.calls.shipping.BATCH", 2)
    for number in range(3):
        journal.write(f"text {number}", "x")
    with receiving(Receiver(bad="r1")) as shipper, pytest.raises(Refused, match="them, r1"):
        ship(here, AUDITOR, Query(), shipper.to, Form.ECS)
    assert told(here)[-1].startswith("uma sent 2 calls to http://127")


def test_an_altered_payload_costs_its_call_the_payload_and_nothing_else(
    here: House, journal: Journal, tmp_path: Path
) -> None:
    for number in range(4):
        journal.write(f"text {number}", f"label {number}")
    journal.alter_payload(1)
    journal.alter(b'"id":"r3"', b'"id":"x3"')
    out = tmp_path / "calls.jsonl"
    assert export(here, AUDITOR, Query(), out) == Taken(calls=4, unreadable=1)
    lines = [json.loads(one) for one in out.read_text(encoding="utf-8").splitlines()]
    assert [one.get("input") for one in lines] == [["text 3"], ["text 2"], None, ["text 0"]]
    assert lines[2]["unreadable"] == "The payload of call 2 is not the one that was sealed."
    assert told(here)[-1] == "uma exported 4 calls to calls.jsonl, 1 of them without a payload"
    # Once it is indexed, a line is held against what it was then.
    journal.alter(b'"id":"x3"', b'"id":"r3"')
    table = tmp_path / "suite.csv"
    assert replay(here, AUDITOR, Query(), table) == Taken(calls=2, unreadable=2, without=2)
    receiver = Receiver()
    with receiving(receiver) as shipper:
        for form in (Form.ECS, Form.OTLP):
            assert ship(here, AUDITOR, Query(), shipper.to, form) == Taken(calls=4, unreadable=2)
    said = [one["slipway"].get("unreadable") for one in receiver.kept.values()]
    assert sum(bool(one) for one in said) == 2
    assert str(receiver.logs).count("slipway.unreadable") == 2
    (shown,) = show(here, AUDITOR, "r2")
    assert shown.payload is None and "not the one that was sealed" in shown.unreadable
    (shown,) = show(here, AUDITOR, "r1")
    assert shown.payload is not None and not shown.unreadable
    (shown,) = show(here, AUDITOR, "x3")
    assert shown.kept and shown.unreadable == "Its line is not as it was indexed."


def test_a_payload_that_was_taken_out_of_its_line_is_said(here: House, journal: Journal) -> None:
    journal.write("a text", "x")
    path = next(here.settings.journal.glob("*/00000001.jsonl"))
    head, sealed, tail = path.read_bytes().partition(b'"sealed":"')
    path.write_bytes(head + sealed + b'"}\n')
    assert tail
    (shown,) = show(here, AUDITOR, "r1")
    assert shown.unreadable == "Its payload was taken out of its line."


@pytest.mark.parametrize("take", [export, replay])
def test_a_file_is_there_once_it_is_whole(
    here: House,
    journal: Journal,
    tmp_path: Path,
    take: Callable[[House, object, Query, Path], Taken],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journal.write("one", "x")
    out, seen = tmp_path / "taken", list[bool]()

    def breaks(*_: object) -> None:
        seen.append(out.exists())
        raise Unavailable("The disk is gone.")

    with monkeypatch.context() as patched:
        patched.setattr("tasks.taking.shown", breaks)
        with pytest.raises(Unavailable):
            take(here, AUDITOR, Query(), out)
    assert seen == [False] and [one.name for one in tmp_path.glob("*taken*")] == []
    assert [one.kind in (EXPORTING, REPLAYING) for one in events(here)] == [True]

    assert take(here, AUDITOR, Query(), out).calls == 1
    out.unlink()
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", lambda _: out.write_text("somebody else's"))
        with pytest.raises(SlipwayError, match="File exists"):
            take(here, AUDITOR, Query(), out)
    assert out.read_text() == "somebody else's"
    with pytest.raises(Invalid, match="cannot be made: No such file"):
        take(here, AUDITOR, Query(), tmp_path / "nowhere" / "taken")


def test_a_suite_is_of_one_endpoint_and_of_texts_that_are_whole(
    here: House, journal: Journal, tmp_path: Path
) -> None:
    for text in ("from [email]", "as it came"):
        journal.write(text, "x", capture="redacted")
    journal.write("about [email]", "x")
    journal.write("of another", "y", endpoint="docs-other")
    out = tmp_path / "suite.csv"
    with pytest.raises(Invalid, match=r"docs-other and tiny match.*give --endpoint"):
        replay(here, AUDITOR, Query(), out)
    assert not out.exists()
    assert replay(here, AUDITOR, Query(endpoint="tiny"), out) == Taken(calls=2, redacted=1)
    assert "as it came" in out.read_text() and "about [email]" in out.read_text()


def test_texts_are_not_held_until_all_are_read(
    here: House, journal: Journal, tmp_path: Path
) -> None:
    for number in range(60):
        journal.write(f"{number % 59} {'x' * 200_000}", "y")
    find(here, AUDITOR, Query())
    tracemalloc.start()
    assert replay(here, AUDITOR, Query(), tmp_path / "suite.csv").calls == 59
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8_000_000, "of twelve, and some are read anew where the journal ends"


def test_recorded_texts_become_a_table_for_a_suite(
    here: House, journal: Journal, tmp_path: Path
) -> None:
    for text in ("a, b", "c\nd", "a, b"):
        journal.write(text, "old" if len(text) > 3 else "new")
    journal.write("a, b", "what no client was told", arm="shadow", shadow=True)
    journal.write("gone", "x", user="bob")
    erase(here, ADA, Erasure(namespace="default", user="bob", why="he asked"))
    out = tmp_path / "suite.csv"
    assert replay(here, AUDITOR, Query(), out) == Taken(calls=2, without=1)
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["text", "label"]
    assert sorted(rows[1:]) == [["a, b", "old"], ["c\nd", "new"]]
    assert replay(here, AUDITOR, Query(arm="shadow"), tmp_path / "theirs.csv").calls == 1
    assert told(here)[:2] == [
        "uma is taking recorded texts to suite.csv",
        "uma took 2 recorded texts for a suite to suite.csv",
    ]
