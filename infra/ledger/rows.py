"""Nouns to rows and back."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import RowMapping

from release.evidence import Cursor
from release.policy import Policy
from release.releases import (
    Approval,
    Chosen,
    Desired,
    Event,
    GatewayStatus,
    Phase,
    Release,
    ReplicaStatus,
)
from release.variants import Candidate, Variant

Row = RowMapping


def dump(value: Any) -> str:
    """Encode plain data."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def release_row(release: Release) -> dict[str, Any]:
    """Columns of a release."""
    body = asdict(release)
    body["policy"] = release.policy.text
    model = release.candidate.model
    return {
        "id": release.id,
        "model": model,
        "open_model": None if release.phase.closed else model,
        "body": dump(body),
    }


def release_of(row: Row) -> Release:
    """Read a release."""
    body = json.loads(row["body"])
    chosen = body["chosen"]
    body["candidate"] = Candidate(**body["candidate"])
    body["policy"] = Policy.frozen(body["policy"])
    body["stable"] = _variant(body["stable"])
    body["phase"] = Phase(body["phase"])
    body["chosen"] = (
        Chosen(variant=Variant.from_json(chosen["variant"]), report=chosen["report"])
        if chosen
        else None
    )
    return Release(**body)


def _variant(data: Mapping[str, Any] | None) -> Variant | None:
    return Variant.from_json(data) if data else None


def event_row(event: Event, once: str | None = None) -> dict[str, Any]:
    """Columns of an event."""
    return {**asdict(event), "data": dump(dict(event.data)), "once": once}


def event_of(row: Row) -> Event:
    """Read an event."""
    return Event(
        kind=row["kind"],
        at=row["at"],
        actor=row["actor"],
        sentence=row["sentence"],
        data=json.loads(row["data"]),
        release=row["release"],
        model=row["model"],
    )


def approval_of(row: Row) -> Approval:
    """Read an approval."""
    return Approval(**json.loads(row["body"]))


_ARMS = ("champion", "canary", "previous")


def desired_row(desired: Desired) -> dict[str, Any]:
    """Columns of a desired row, its ownership left out."""
    body = {
        **{name: asdict(arm) if (arm := getattr(desired, name)) else None for name in _ARMS},
        "canary_percent": desired.canary_percent,
        "policy_text": desired.policy_text,
    }
    return {
        "model": desired.model,
        "generation": desired.generation,
        "body": dump(body),
        "lease_until": desired.lease_until,
    }


def desired_of(row: Row) -> Desired:
    """Read a desired row."""
    body = json.loads(row["body"])
    return Desired(
        model=row["model"],
        generation=row["generation"],
        champion=_variant(body["champion"]),
        canary=_variant(body["canary"]),
        canary_percent=body["canary_percent"],
        lease_until=row["lease_until"],
        previous=_variant(body["previous"]),
        policy_text=body["policy_text"],
    )


def cursor_of(row: Row) -> Cursor:
    """Read a cursor."""
    return Cursor(
        gateway=row["gateway"], window=row["window"], segment=row["segment"], offset=row["offset"]
    )


def gateway_of(row: Row) -> GatewayStatus:
    """Read what a gateway was seen to serve."""
    return GatewayStatus(**json.loads(row["body"]))


def replica_of(row: Row) -> ReplicaStatus:
    """Read what a replica said of itself."""
    return ReplicaStatus(**json.loads(row["body"]))
