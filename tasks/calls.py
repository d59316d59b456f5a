"""The call record as people handle it: proven, and erased by right; erasures are recorded."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from infra.calls.checkpoints import Checkpoint, Signer, checkpoints
from infra.calls.erase import overwrite, payloads
from infra.calls.lines import CallLine
from infra.calls.proofs import Known, Proof
from infra.calls.query import Query
from infra.calls.retention import REMOVED
from infra.calls.stores import every, opened
from infra.calls.vault import Vault
from infra.calls.verify import beside, prove, segments_in
from infra.identity import Identity
from release.errors import Invalid, NotFound, Refused
from release.releases import Event
from tasks.wiring import House

ERASING, ERASED = "payloads-erasing", "payloads-erased"
"""Kinds of events."""

GRACE = timedelta(minutes=5)
"""For so long after a day's end a call of it may still be under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What is to be erased, and why."""

    namespace: str
    why: str
    day: str = ""
    """All of this day's, such as `2026-11-26`, in UTC."""

    user: str = ""
    """Or all of this user's."""

    calls: tuple[str, ...] = ()
    """Or these calls' alone, each as `gateway/sequence`."""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.day, self.user, self.calls))) != 1:
            raise Invalid("Give a day or a user, and not both.", "--day 2026-11-26, or --user ann")
        if not self.why:
            raise Invalid("An erasure needs a reason.", "--why …")

    @property
    def what(self) -> str:
        """Name it as the record of erasures does."""
        if self.calls:
            return f"{len(self.calls)} calls"
        return self.day or f"user:{self.user}"

    def covers(self, call: CallLine, gateway: str) -> bool:
        """Whether a call's payload is to be erased."""
        if call.namespace != self.namespace:
            return False
        if self.calls:
            return f"{gateway}/{call.sequence}" in self.calls
        return call.user == self.user if self.user else call.key == f"{self.namespace}/{self.day}"


def erase(here: House, by: Identity, erasure: Erasure) -> list[tuple[str, int]]:
    """Erase payloads; doing so again is harmless.

    It is recorded before anything is touched, so that one that was interrupted is known.

    Returns:
        Gateway and sequence of every call whose payload is gone now and was not before.

    Raises:
        Refused: `by` is no admin.
        Invalid: the day is none, or is not over.
        NotFound: the day has no payloads.
    """
    if by.role != "admin":
        raise Refused(f"{by.name} is {by.role} and may not erase payloads.", "it takes an admin")
    vault = Vault(here.settings.calls_secrets)
    if erasure.day:
        _check_day(here, vault, erasure)
    _note(here, by, erasure, ERASING, "is erasing", None)
    found = [
        one
        for one in payloads(here.settings.journal, erasure.namespace)
        if erasure.covers(one.call, one.gateway)
    ]
    if erasure.day:
        vault.destroy(erasure.namespace, erasure.day)
    else:
        for one in found:
            overwrite(one)
    _forget(here, erasure, int(here.clock() * 1e6))
    _note(here, by, erasure, ERASED, "erased", len(found))
    return [(one.gateway, one.call.sequence) for one in found]


def _forget(here: House, erasure: Erasure, until_us: int) -> None:
    """Let the call store forget what was erased: it was overwritten before, so none comes back.

    All that the erasure covers, and not only what was overwritten now: the one before may have been
    interrupted here.
    """
    calls: dict[str, list[int]] = {}
    store = opened(here.settings)
    try:
        asked = Query(namespace=erasure.namespace, user=erasure.user or None, until_us=until_us)
        for hit in every(store, asked):
            if erasure.covers(hit.line, hit.gateway):
                calls.setdefault(hit.gateway, []).append(hit.line.sequence)
        store.forget(calls)
    finally:
        store.close()


def verify(here: House) -> list[Proof]:
    """Prove the journals of all gateways of this host.

    Raises:
        Unavailable: a secret cannot be read.
    """
    secrets = here.settings.calls_secrets
    vault, public = Vault(secrets), Signer(secrets).public
    events = [event for _, event in here.ledger.events(kinds=(ERASING, REMOVED))]
    erasures = {
        (str(one.data["namespace"]), what)
        for one in events
        if one.kind == ERASING
        for what in (str(one.data["what"]), *(f"call:{it}" for it in one.data.get("calls", ())))
    }
    filed = list(_filed(here))
    found = []
    for place in sorted(here.settings.journal.glob("*/")):
        # Read before the segments: what is signed while these are read is not missed in them.
        told = Known(
            beside=beside(place),
            anchors=[
                *here.ledger.anchors(place.name),
                *(one for one in filed if one.gateway == place.name),
            ],
            public=public,
            vault=vault,
            erasures=erasures,
            removed=_removed(place.name, events),
        )
        found.append(prove(place.name, segments_in(place), told))
    return found


def _removed(gateway: str, events: Iterable[Event]) -> int:
    gone = [
        int(one.data["segment"])
        for one in events
        if one.kind == REMOVED and one.data["gateway"] == gateway
    ]
    return max(gone, default=0)


def _filed(here: House) -> Iterable[Checkpoint]:
    path = here.settings.anchors
    if path is not None and path.exists():
        yield from (one for _, one in checkpoints(path.read_bytes()) if one is not None)


def _check_day(here: House, vault: Vault, erasure: Erasure) -> None:
    if not vault.has(erasure.namespace, erasure.day):
        said = f"{erasure.namespace} has no payloads of {erasure.day}, or they are erased."
        raise NotFound(said)
    over = datetime.fromisoformat(erasure.day).replace(tzinfo=UTC) + timedelta(days=1) + GRACE
    if datetime.fromtimestamp(here.clock(), UTC) < over:
        hint = f"wait until {over:%Y-%m-%d %H:%M} UTC, or erase by --user"
        raise Invalid(f"{erasure.day} is not over: its key is in use.", hint)


def _note(
    here: House, by: Identity, erasure: Erasure, kind: str, verb: str, count: int | None
) -> None:
    much = "payloads" if count is None else f"{count} payloads"
    data: dict[str, object] = {
        "namespace": erasure.namespace,
        "what": erasure.what,
        "why": erasure.why,
        **({"calls": list(erasure.calls)} if erasure.calls else {}),
    }
    here.ledger.note(
        Event(
            kind=kind,
            at=here.clock(),
            actor=by.name,
            sentence=f"{by.name} {verb} {much} of {erasure.namespace}, {erasure.what}: "
            f"{erasure.why}",
            data=data if count is None else {**data, "payloads": count},
        )
    )
