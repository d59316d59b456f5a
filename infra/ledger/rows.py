"""Nouns to rows and back."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any

from sqlalchemy import RowMapping

from release.errors import Invalid
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

_SAME_IN_RELEASE = (
    "id",
    "requester",
    "suite",
    "opened_at",
    "stable_policy",
    "verdict",
    "step",
    "since",
    "waiting_for",
    "not_before",
    "reason",
    "closed_at",
)

# One policy is read for every row of every release that it decided.
_policy = lru_cache(maxsize=64)(Policy.frozen)


def release_row(one: Release) -> dict[str, Any]:
    """Lay a release out in columns."""
    return {name: getattr(one, name) for name in _SAME_IN_RELEASE} | {
        "model": one.candidate.model,
        "version": one.candidate.version,
        "open_model": None if one.phase.closed else one.candidate.model,
        "policy_text": one.policy.text,
        "stable": document(one.stable),
        "phase": str(one.phase),
        "chosen": asdict(one.chosen) if one.chosen else None,
    }


def release_of(row: RowMapping) -> Release:
    """Read a release back."""
    chosen = row["chosen"]
    return Release(
        candidate=Candidate(model=row["model"], version=row["version"]),
        policy=_policy(row["policy_text"]),
        stable=variant_of(row["stable"]),
        phase=Phase(row["phase"]),
        chosen=Chosen(variant=Variant.from_json(chosen["variant"]), report=chosen["report"])
        if chosen
        else None,
        **{name: row[name] for name in _SAME_IN_RELEASE},
    )


def event_row(one: Event, *, once: str = "") -> dict[str, Any]:
    """Lay an event out in columns.

    Args:
        one: the event.
        once: key of which a release, or a model where the event has none, has one event at most.
    """
    row = {one_field.name: getattr(one, one_field.name) for one_field in fields(one)}
    return row | {
        "release": one.release or None,
        "data": dict(one.data),
        "once": f"{one.release or one.model}:{once}" if once else None,
    }


def event_of(row: RowMapping) -> Event:
    """Read an event back."""
    plain = {name: row[name] for name in ("kind", "at", "actor", "sentence", "data", "model")}
    return Event(**plain, release=row["release"] or "")


def approval_row(one: Approval) -> dict[str, Any]:
    """Lay an approval out in columns."""
    return asdict(one)


def approval_of(row: RowMapping) -> Approval:
    """Read an approval back."""
    return Approval(**{name: value for name, value in row.items() if name != "seq"})


def desired_row(one: Desired) -> dict[str, Any]:
    """Lay what is desired out in columns; who owns the row is not part of it."""
    return {
        "generation": one.generation,
        "champion": document(one.champion),
        "canary": document(one.canary),
        "previous": document(one.previous),
        "canary_percent": one.canary_percent,
        "shadow_percent": one.shadow_percent,
        "lease_until": one.lease_until,
        "policy_text": one.policy_text,
    }


def desired_of(row: RowMapping) -> Desired:
    """Read what is desired back."""
    return Desired(
        model=row["model"],
        generation=row["generation"],
        champion=variant_of(row["champion"]),
        canary=variant_of(row["canary"]),
        previous=variant_of(row["previous"]),
        canary_percent=row["canary_percent"],
        shadow_percent=row["shadow_percent"],
        lease_until=row["lease_until"],
        policy_text=row["policy_text"],
    )


def gateway_of(row: RowMapping) -> GatewayStatus:
    """Read a gateway's status back."""
    return GatewayStatus(**{name: value for name, value in row.items() if name != "agent"})


def replica_of(row: RowMapping) -> ReplicaStatus:
    """Read a replica's status back."""
    return ReplicaStatus(**dict(row))


def document(variant: Variant | None) -> dict[str, Any] | None:
    """Give a variant as a JSON document."""
    return asdict(variant) if variant else None


def variant_of(data: Mapping[str, Any] | None) -> Variant | None:
    """Read a variant back from its document.

    Raises:
        Invalid: it says of the variant what this Slipway does not know.
    """
    try:
        return Variant.from_json(data) if data else None
    except TypeError as error:
        raise Invalid(f"The ledger's variant {data!r:.200} cannot be read: {error}.") from error
