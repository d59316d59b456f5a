"""A call in the forms that other systems take. Pure.

`ecs` is a document in the Elastic Common Schema, for Elasticsearch and OpenSearch; `otlp` is the
body of an OTLP/HTTP logs request in JSON, for Loki, Elasticsearch and OpenTelemetry collectors.
What those have no name for is under `slipway.`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec

from infra.calls.lines import CallLine, Payload
from infra.calls.numbers import MOST_NUMBER, calendar
from release.callers import Capture

OURS = (
    *("caller", "namespace", "endpoint", "model", "version", "variant", "digest", "arm"),
    *("generation", "rule", "protocol", "items", "tokens", "capture", "commitment"),
    *("queue_us", "tokenize_us", "compute_us", "shadow"),
)
"""Fields of a line that are told under `slipway.`."""

PAYLOAD = ("input", "input_ids", "input_hash", "output", "output_hash")
"""Fields of a payload: each has one type, whatever was asked and however it was kept."""

INFO, ERROR = 9, 17
"""Severities of OTLP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A call to be taken elsewhere."""

    gateway: str
    line: CallLine
    payload: Payload | None = None
    unreadable: str = ""
    """Why the payload that was kept is left out."""

    @property
    def id(self) -> str:
        """The same for the same call, however often it is exported, and never another's."""
        # With its time: a gateway whose folder was deleted counts from 1 again.
        which = f"{self.gateway}/{self.line.sequence}/{self.line.at_us}"
        return sha256(which.encode()).hexdigest()[:40]


def plain(call: Exported) -> dict[str, Any]:
    """Give a call as it is recorded, with its payload."""
    made: dict[str, Any] = {"gateway": call.gateway, **msgspec.to_builtins(call.line)}
    made |= _payload(call)
    if call.unreadable:
        made["unreadable"] = call.unreadable
    return made


def _payload(call: Exported) -> dict[str, Any]:
    """Give what was kept of a payload, under names of `PAYLOAD`."""
    if call.payload is None:
        return {}
    asked, output = list(call.payload.input), msgspec.json.decode(call.payload.output)
    if call.line.capture == Capture.HASH:
        return {"input_hash": asked, "output_hash": output}
    # Who asks by token ids asks nothing by texts.
    ids = bool(asked) and not isinstance(asked[0], str)
    return {"input_ids" if ids else "input": asked, "output": output}


def ecs(call: Exported) -> dict[str, Any]:
    """Give a call as a document of the Elastic Common Schema."""
    line = call.line
    made: dict[str, Any] = {
        "@timestamp": _iso(line.at_us),
        "event": {
            "id": call.id,
            "kind": "event",
            "category": ["web"],
            "action": "model-call",
            "outcome": "success" if line.outcome == "ok" else "failure",
            "duration": _nanoseconds(line.total_us),
            "sequence": line.sequence,
        },
        "http": {"request": {"id": line.id}, "response": {"status_code": line.status}},
        "service": {"name": line.endpoint},
        "observer": {"name": call.gateway},
        "slipway": {name: getattr(line, name) for name in OURS},
    }
    if line.version:
        made["service"]["version"] = str(line.version)
    if line.user:
        made["user"] = {"id": line.user}
    if line.tenant:
        made["organization"] = {"id": line.tenant}
    if line.outcome != "ok":
        made["error"] = {"type": line.outcome, "message": line.error}
    elif line.error:
        made["error"] = {"message": line.error}
    made["slipway"] |= _payload(call)
    if call.unreadable:
        made["slipway"]["unreadable"] = call.unreadable
    return made


def otlp(calls: Sequence[Exported]) -> dict[str, Any]:
    """Give calls as the body of one OTLP/HTTP logs request."""
    return logs([record(call) for call in calls])


def logs(records: Sequence[object]) -> dict[str, Any]:
    """Give records as the body of one OTLP/HTTP logs request."""
    return {
        "resourceLogs": [
            {
                "resource": {"attributes": _attributes({"service.name": "slipway"})},
                "scopeLogs": [{"scope": {"name": "slipway.calls"}, "logRecords": list(records)}],
            }
        ]
    }


def record(call: Exported) -> dict[str, Any]:
    """Give a call as a record of OTLP."""
    line, failed = call.line, call.line.outcome != "ok"
    told = {
        "event.id": call.id,
        "event.sequence": line.sequence,
        "http.request.id": line.id,
        "http.response.status_code": line.status,
        "event.outcome": "failure" if failed else "success",
        "event.duration": _nanoseconds(line.total_us),
        "user.id": line.user,
        "organization.id": line.tenant,
        "error.type": line.outcome if failed else "",
        "error.message": line.error,
        "slipway.gateway": call.gateway,
        **{f"slipway.{name}": getattr(line, name) for name in OURS},
        "slipway.unreadable": call.unreadable,
    }
    said = _payload(call)
    text = msgspec.json.encode(said).decode() if said else line.error or line.outcome
    return {
        "timeUnixNano": str(_nanoseconds(calendar(line.at_us))),
        "severityNumber": ERROR if failed else INFO,
        "severityText": "ERROR" if failed else "INFO",
        "body": {"stringValue": text},
        "attributes": _attributes(told),
    }


def _attributes(told: Mapping[str, object]) -> list[dict[str, Any]]:
    """Give attributes in the JSON of OTLP, which writes whole numbers as strings."""
    return [
        {"key": name, "value": _value(value)}
        for name, value in told.items()
        if value not in ("", None)
    ]


def _value(value: object) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"stringValue": str(value)}


def _nanoseconds(us: int) -> int:
    """Give a time in nanoseconds, or as many as others can hold."""
    return min(us * 1_000, MOST_NUMBER - 1)


def _iso(at_us: int) -> str:
    seconds, rest = divmod(calendar(at_us), 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"
