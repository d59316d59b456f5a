"""Calls reach other systems once each, however busy these are."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import msgspec
import pytest

from infra.calls.formats import Exported, ecs, otlp
from infra.calls.lines import Payload
from infra.calls.shipping import BATCH, Shipper
from release.errors import Refused, Unavailable
from tests.fakes.call_lines import a_call

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


@dataclass
class Receiver:
    """A server with the bulk API and OTLP, as busy as it is told to be."""

    url: str = ""
    kept: dict[str, Any] = field(default_factory=dict)
    logs: list[Any] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    busy_items: int = 0
    """So many calls are told to come later."""

    busy: int = 0
    """So many requests are."""

    bad: str = ""
    """Id of a request whose call is refused."""

    rejected: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def take(self, path: str, body: bytes) -> tuple[int, Any]:
        self.asked.append(path)
        if self.busy:
            self.busy -= 1
            return 503, {}
        if path.endswith("/v1/logs"):
            self.logs.append(json.loads(body))
            rejected = {"rejectedLogRecords": str(self.rejected), "errorMessage": "too old"}
            return 200, {"partialSuccess": rejected} if self.rejected else {}
        lines = [json.loads(one) for one in body.splitlines()]
        pairs = zip(lines[::2], lines[1::2], strict=True)
        return 200, {"items": [{"create": self._one(*pair)} for pair in pairs]}

    def _one(self, action: Any, document: Any) -> dict[str, Any]:
        if self.busy_items:
            self.busy_items -= 1
            return {"status": 429, "error": {"reason": "queue is full"}}
        if document["http"]["request"]["id"] == self.bad:
            return {"status": 400, "error": {"reason": "no such field"}}
        id_ = action["create"]["_id"]
        if id_ in self.kept:
            return {"status": 409, "error": {"reason": "version conflict"}}
        self.kept[id_] = document
        return {"status": 201}


@contextmanager
def receiving(receiver: Receiver) -> Iterator[Shipper]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.headers = dict(self.headers)
            body = self.rfile.read(int(self.headers["content-length"]))
            status, answer = receiver.take(self.path, body)
            said = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        yield Shipper(f"{url}/calls", authorization="ApiKey abc", pause=lambda _: None)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


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
