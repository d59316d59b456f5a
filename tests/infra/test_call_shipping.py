"""Calls reach other systems once each, however busy these are."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.json
import pyarrow.parquet
import pytest

from infra.calls.exporting import Form, written
from infra.calls.formats import PAYLOAD, Exported, ecs, otlp, record
from infra.calls.lines import Payload
from infra.calls.shipping import BATCH, Shipper
from release.errors import Invalid, Refused, Unavailable
from tests.fakes.call_lines import a_call
from tests.fakes.receiver import Receiver, receiving

OUTPUT = msgspec.Raw(b'{"label":"x"}')


def calls(count: int) -> list[Exported]:
    return [
        Exported(
            gateway="g1",
            line=a_call(number, at=float(number), user="ann", total_us=1_500),
            payload=Payload(input=["我的订单"], output=OUTPUT, salt="00"),
        )
        for number in range(1, count + 1)
    ]


def test_every_call_is_there_once_though_some_are_told_to_come_later() -> None:
    receiver = Receiver(busy_items=7, busy=2)
    with receiving(receiver) as shipper:
        shipper.bulk(calls(BATCH + 20))
        assert shipper.sent == len(receiver.kept) == BATCH + 20
        shipper.bulk(calls(BATCH + 20))
    assert len(receiver.kept) == BATCH + 20, "sent again, they are not there twice"
    assert receiver.headers["authorization"] == "ApiKey abc"
    assert set(receiver.asked) == {"/calls/_bulk"}


def test_who_stays_busy_is_given_up_and_said() -> None:
    for busy in (Receiver(busy=99), Receiver(busy_items=9_999)):
        with receiving(busy) as shipper, pytest.raises(Unavailable):
            shipper.bulk(calls(3))


def test_a_call_that_is_not_taken_is_named_and_the_others_are_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("infra.calls.shipping.BATCH", 2)
    receiver = Receiver(bad="r2")
    with receiving(receiver) as shipper:
        with pytest.raises(Refused, match="does not take 1 calls, and took 4") as caught:
            shipper.bulk(calls(5))
        assert "the first of them, r2: no such field" in str(caught.value)
    assert len(receiver.kept) == 4 and len(receiver.asked) == 3


def test_who_takes_none_of_a_batch_is_sent_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.calls.shipping.BATCH", 1)
    receiver = Receiver(bad="r2", rejected=1)
    with receiving(receiver) as shipper, pytest.raises(Refused, match="1 calls, and took 1"):
        shipper.bulk(calls(5))
    assert len(receiver.asked) == 2
    with receiving(receiver) as shipper, pytest.raises(Refused, match="1 calls, and took 0"):
        shipper.otlp(calls(5))
    assert len(receiver.logs) == 1


@pytest.mark.parametrize(
    "says",
    [
        *(b"ok", b"", b"<html>", b"\xff", b"7", b"{}", b'{"items":null}', b'{"items":[]}'),
        *(b'{"items":[1,2]}', b'{"items":[{"create":{}},{"create":{}}]}', b'{"items":[{},{}]}'),
        b'{"items":[{"create":{"status":201}}]}',
        b'{"items":[{"create":{"status":201},"b":{"status":201}},{"a":{"status":201}}]}',
    ],
)
def test_who_answers_as_no_bulk_api_does_has_taken_nothing(says: bytes) -> None:
    with (
        receiving(Receiver(says=says)) as shipper,
        pytest.raises(Refused, match="which does not say that it took any call") as caught,
    ):
        shipper.bulk(calls(2))
    assert shipper.sent == 0 and repr(says.decode(errors="replace"))[:80] in str(caught.value)


@pytest.mark.parametrize(
    "says",
    [
        *(b"ok", b"<html>", b"\xff", b"[]", b'{"partialSuccess":7}'),
        *(b'{"partialSuccess":{"rejectedLogRecords":%s}}' % one for one in (b'"x"', b"3", b"-1")),
    ],
)
def test_who_answers_as_no_receiver_of_logs_does_has_taken_nothing(says: bytes) -> None:
    with (
        receiving(Receiver(says=says)) as shipper,
        pytest.raises(Refused, match="which does not say that it took any call"),
    ):
        shipper.otlp(calls(2))
    assert shipper.sent == 0


@pytest.mark.parametrize(
    "says",
    [b"", b"{}", b'{"partialSuccess":{}}', b'{"partialSuccess":null,"of a later version":1}'],
)
def test_whatever_says_that_logs_were_taken_is_believed(says: bytes) -> None:
    with receiving(Receiver(says=says)) as shipper:
        shipper.otlp(calls(2))
    assert shipper.sent == 2


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ('"no room"', '"no room"'),
        ('{"reason":"no room"}', "no room"),
        ('{"type":"odd"}', '{"type":"odd"}'),
        ("null", "it does not say why, but 400"),
    ],
)
def test_what_was_taken_of_a_batch_is_counted_and_the_rest_said(error: str, why: str) -> None:
    items = f'{{"create":{{"status":201}}}},{{"create":{{"status":400,"error":{error}}}}}'
    says = f'{{"items":[{items},{{"create":{{"status":409}}}}]}}'.encode()
    with receiving(Receiver(says=says)) as shipper, pytest.raises(Refused) as caught:
        shipper.bulk(calls(3))
    assert shipper.sent == 2 and f"the first of them, r2: {why}" in str(caught.value)


def test_a_request_is_bounded_in_bytes_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.calls.batches.MOST_BYTES", 20_000)
    payload = Payload(input=["x" * 6_000], output=OUTPUT, salt="00")
    large = [replace(one, payload=payload) for one in calls(7)]
    huge = replace(large[0], payload=Payload(input=["x" * 30_000], output=OUTPUT, salt="00"))
    receiver = Receiver()
    with receiving(receiver) as shipper:
        shipper.bulk(large)
        assert receiver.asked == ["/calls/_bulk"] * 4 and receiver.largest <= 20_000
        shipper.otlp(large)
        records = [one["resourceLogs"][0]["scopeLogs"][0]["logRecords"] for one in receiver.logs]
        assert [len(one) for one in records] == [2, 2, 2, 1]
        assert len(receiver.asked) == 8 and receiver.largest <= 20_500
        shipper.otlp([huge, huge])
        assert len(receiver.asked) == 10 and receiver.largest > 30_000, "it goes alone"


def test_what_is_too_large_is_halved_down_to_one_call_and_that_is_told() -> None:
    many = calls(20)
    payload = Payload(input=["x" * 30_000], output=OUTPUT, salt="00")
    many[6] = replace(many[6], payload=payload)
    receiver = Receiver(most=20_000)
    with receiving(receiver) as shipper:
        for send in (shipper.bulk, shipper.otlp):
            with pytest.raises(Refused, match="does not take 1 calls, and took 19") as caught:
                send(many)
            assert "the first of them, r7, has 3" in str(caught.value)
            assert "413" in str(caught.value)
            shipper.sent = shipper.refused = 0
    assert len(receiver.kept) == 19
    assert (
        sum(len(one["resourceLogs"][0]["scopeLogs"][0]["logRecords"]) for one in receiver.logs)
        == 19
    )


def test_one_call_that_goes_alone_and_is_too_large_does_not_end_an_export(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("infra.calls.batches.MOST_BYTES", 20_000)
    few = calls(3)
    payload = Payload(input=["x" * 30_000], output=OUTPUT, salt="00")
    few[0] = replace(few[0], payload=payload)
    receiver = Receiver(most=20_000)
    with receiving(receiver) as shipper, pytest.raises(Refused, match="1 calls, and took 2"):
        shipper.bulk(few)
    receiver = Receiver(most=10)
    with receiving(receiver) as shipper, pytest.raises(Refused, match="3 calls, and took 0"):
        shipper.bulk(calls(3))


def test_what_is_asked_of_an_address_is_asked_of_the_place_behind_it() -> None:
    receiver = Receiver()
    with receiving(receiver):
        asked = Shipper(f"{receiver.url}/calls/?pipeline=a%20b#part")
        asked.bulk(calls(1))
        asked.otlp(calls(1))
    behind = ["/calls/_bulk?pipeline=a%20b", "/calls/v1/logs?pipeline=a%20b"]
    assert receiver.asked == behind and len(receiver.kept) == 1


@pytest.mark.parametrize("value", ["Bearer ü", "a\nb", "ApiKey a\r\nhost: b"])
def test_what_can_be_no_header_is_said_and_not_shown(value: str) -> None:
    with pytest.raises(Invalid, match="SLIPWAY_EXPORT_AUTHORIZATION can be no header") as caught:
        Shipper("http://127.0.0.1:9/calls", value)
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    "to", ["ftp://host/calls", "calls", "http://", "http://[::1", "http://a\x01b/"]
)
def test_what_is_no_address_is_said(to: str) -> None:
    with pytest.raises(Invalid, match="is no address"):
        Shipper(to)


def test_nobody_there_is_said() -> None:
    shipper = Shipper("http://127.0.0.1:9/calls", pause=lambda _: None)
    with pytest.raises(Unavailable, match="takes no calls"):
        shipper.bulk(calls(1))


def test_logs_are_sent_as_otlp_and_what_is_rejected_is_said() -> None:
    receiver = Receiver(busy=1)
    with receiving(receiver) as shipper:
        shipper.otlp(calls(3))
        assert shipper.sent == 3 and receiver.asked == ["/calls/v1/logs"] * 2
        receiver.rejected = 2
        with pytest.raises(Refused, match="does not take 2 calls, and took 4.*too old"):
            shipper.otlp(calls(3))
    (scope,) = receiver.logs[0]["resourceLogs"][0]["scopeLogs"]
    record = scope["logRecords"][0]
    assert record["timeUnixNano"] == "1000000000" and record["severityText"] == "INFO"
    told = {one["key"]: one["value"] for one in record["attributes"]}
    assert told["user.id"] == {"stringValue": "ann"}
    assert told["http.response.status_code"] == {"intValue": "200"}
    assert json.loads(record["body"]["stringValue"])["input"] == ["我的订单"]


def test_a_gateway_that_counts_from_1_again_takes_no_id_that_was_given_before() -> None:
    first, again = calls(1)[0], Exported(gateway="g1", line=a_call(1, at=7.5))
    assert first.id == calls(1)[0].id != again.id


@pytest.mark.parametrize(
    ("at_us", "iso", "nanoseconds"),
    [
        (2**63 - 1, "9999-12-31T23:59:59.000000Z", "9223372036854775807"),
        (253_402_300_799 * 10**6 + 7, "9999-12-31T23:59:59.000000Z", "9223372036854775807"),
        (-(2**62), "1970-01-01T00:00:00.000000Z", "0"),
    ],
)
def test_a_moment_that_no_calendar_has_is_told_as_the_nearest(
    at_us: int, iso: str, nanoseconds: str
) -> None:
    line = msgspec.structs.replace(a_call(1, total_us=2**62), at_us=at_us)
    far = Exported(gateway="g1", line=line)
    assert (ecs(far)["@timestamp"], ecs(far)["event"]["duration"]) == (iso, 2**63 - 1)
    told = record(far)
    assert told["timeUnixNano"] == nanoseconds
    assert {"key": "event.duration", "value": {"intValue": str(2**63 - 1)}} in told["attributes"]


def test_a_document_has_the_names_of_the_common_schema() -> None:
    (call,) = calls(1)
    document = ecs(call)
    assert document["@timestamp"] == "1970-01-01T00:00:01.000000Z"
    assert document["event"] | {"id": ""} == {
        "id": "",
        "kind": "event",
        "category": ["web"],
        "action": "model-call",
        "outcome": "success",
        "duration": 1_500_000,
        "sequence": 1,
    }
    assert document["slipway"]["output"] == {"label": "x"} and "error" not in document
    failed = Exported(gateway="g1", line=a_call(2, outcome="timeout", error="late", status=504))
    assert ecs(failed)["error"] == {"type": "timeout", "message": "late"}
    assert "input" not in ecs(failed)["slipway"]
    (record,) = otlp([failed])["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert (record["severityText"], record["body"]) == ("ERROR", {"stringValue": "late"})


def test_who_called_and_why_nothing_answered_is_told_beside_a_payload() -> None:
    (call,) = calls(1)
    more: dict[str, Any] = {
        "caller": "35ff",
        "commitment": "c0",
        "error": "late",
        "outcome": "timeout",
    }
    program = replace(call, line=a_call(1, **more))
    document = ecs(program)
    assert "user" not in document, "a program is no user"
    assert (document["slipway"]["caller"], document["slipway"]["commitment"]) == ("35ff", "c0")
    assert document["error"] == {"type": "timeout", "message": "late"}
    told = {one["key"]: one["value"].get("stringValue") for one in record(program)["attributes"]}
    assert "user.id" not in told
    names = ("slipway.caller", "slipway.commitment", "slipway.gateway", "error.message")
    assert [told[name] for name in names] == ["35ff", "c0", "g1", "late"]
    assert "input" in record(program)["body"]["stringValue"]
    rescued = replace(call, line=a_call(1, error="the canary was late"))
    assert ecs(rescued)["error"] == {"message": "the canary was late"}
    assert ecs(rescued)["event"]["outcome"] == "success"


@pytest.mark.parametrize("form", [Form.JSONL, Form.ECS, Form.PARQUET])
def test_a_column_has_one_type_however_payloads_were_kept(form: Form, tmp_path: Path) -> None:
    rows = msgspec.Raw(b'[{"label":"x","score":0.5}]')
    kept = {
        "full": Payload(input=["a text"], output=rows, salt="00"),
        "ids": Payload(input=[[1, 2]], output=msgspec.Raw(b'[{"embedding":[0.5]}]'), salt="00"),
        "failed": Payload(input=["a text"], output=msgspec.Raw(b"null"), salt="00"),
        "hash": Payload(input=["00ff"], output=msgspec.Raw(b'"ff00"'), salt="00"),
        "none": None,
    }
    mixed = [
        Exported(gateway="g1", line=a_call(1, capture=name), payload=payload)
        for name, payload in kept.items()
    ]
    out = tmp_path / "calls"
    with out.open("wb") as file:
        assert written(file, mixed, form) == 5
    if form is Form.PARQUET:
        read = pyarrow.parquet.read_table(out).to_pylist()
    else:
        read = pyarrow.json.read_json(out).to_pylist()
        read = [one.get("slipway", one) for one in read]
    text, ids, failed, hashed, none = read
    assert "a text" in str(text["input"]) and "label" in str(text["output"])
    assert ids["input"] is None and str(ids["input_ids"]).replace(" ", "") == "[[1,2]]"
    assert failed["output"] in (None, "null")
    assert (hashed["input"], hashed["output"], hashed["output_hash"]) == (None, None, "ff00")
    assert "00ff" in str(hashed["input_hash"])
    assert {none[name] for name in PAYLOAD} == {None}
