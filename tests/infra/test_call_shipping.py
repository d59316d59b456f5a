"""Calls reach other systems once each, however busy these are."""

import json

import msgspec
import pytest

from infra.calls.formats import Exported, ecs, otlp
from infra.calls.lines import Payload
from infra.calls.shipping import BATCH, Shipper
from release.errors import Refused, Unavailable
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


def test_a_call_that_is_not_taken_is_named_with_the_reason() -> None:
    with (
        receiving(Receiver(bad="r2")) as shipper,
        pytest.raises(Refused, match="does not take the call r2: no such field"),
    ):
        shipper.bulk(calls(3))


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
        with pytest.raises(Refused, match="refuses 2 of 3 calls: too old"):
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
