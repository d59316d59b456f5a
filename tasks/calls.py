"""The call record as people handle it: proven, and erased by right; erasures are recorded."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.calls.erase import ERASED, ERASING, Found, overwrite, payloads
from infra.calls.lines import CallLine
from infra.calls.numbers import DAY_US
from infra.calls.onrecord import ID, KEY, USER, ways_to
from infra.calls.proofs import Proof
from infra.calls.query import Query
from infra.calls.stores import every, leave_no_image, opened
from infra.calls.terms import composed
from infra.calls.vault import Vault, ends_us
from infra.calls.waiting import Unswept
from infra.identity import Identity
from infra.processes import working_in
from release.errors import Invalid, NotFound, Refused, Unavailable
from release.names import MOST_NAMED
from release.releases import Event
from serving.gateway.presence import anyone_present
from serving.gateway.snapshot import Snapshot
from tasks.known import check_known, check_namespace
from tasks.proving import proofs
from tasks.wiring import House

__all__ = ["ERASED", "ERASING", "Erasure", "erase", "verify"]

_Call = tuple[str, int, int]
"""Gateway, sequence and moment of a call: a gateway that began anew has counted from 1 again."""

GRACE = timedelta(minutes=5)
"""For so long after a day's end a call of it may still be under way."""

WRITTEN_SECONDS = 1.0
"""A call has its line so soon after its deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What is to be erased, and why."""

    namespace: str
    why: str
    day: str = ""
    """All of this day's, such as `2026-11-26`, in UTC."""

    user: str = ""
    """Or all of this user's."""

    key: str = ""
    """Or all that this key or token asked, by its id: programs have no user."""

    id: str = ""
    """Or all with this id, which a client gave a request, or retries of it."""

    calls: frozenset[str] = frozenset()
    """Or these calls' alone, each as `gateway/sequence`."""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.day, self.user, self.key, self.id, self.calls))) != 1:
            hint = "--day 2026-11-26, --user ann, --key 35ffb8e5b193, or --id REQUEST"
            raise Invalid("Give a day, a user, a key or an id, and one of them alone.", hint)
        if not self.why:
            raise Invalid("An erasure needs a reason.", "--why …")

    @property
    def what(self) -> str:
        """Name it as the record of erasures does."""
        if self.calls:
            return f"{len(self.calls)} calls"
        if self.id:
            return f"{ID}{self.id}"
        return self.day or (f"{USER}{composed(self.user)}" if self.user else f"{KEY}{self.key}")

    def covers(self, call: CallLine, gateway: str) -> bool:
        """Whether a call's payload is to be erased."""
        if call.namespace != self.namespace:
            return False
        if self.calls:
            return f"{gateway}/{call.sequence}" in self.calls
        if self.day:
            return call.key == f"{self.namespace}/{self.day}"
        return self.what in ways_to(call, gateway)


def erase(
    here: House, by: Identity, erasure: Erasure, *, wait: Callable[[float], None] = time.sleep
) -> list[tuple[str, int]]:
    """Erase payloads; one that was interrupted is finished by doing it again, and never harms.

    It is recorded before anything is touched, so that one that was interrupted is known. A user's
    calls that arrive later are not covered: they are kept, until the next erasure. Those that had
    arrived are, also where they are written only now: once the longest of them must have ended, a
    user's payloads are looked for again.

    Args:
        here: the house.
        by: who erases.
        erasure: what, and why.
        wait: lets seconds go by.

    Returns:
        Gateway and sequence of every call whose payload is gone now and was not before.

    Raises:
        Refused: `by` is no admin.
        Invalid: the day is none, or is not over.
        NotFound: the day never had payloads, nobody knows the namespace, or no call of the user,
            the key or the id is recorded in it.
        Unavailable: the call store does not answer; says what is erased all the same.
    """
    check_eraser(by)
    vault = Vault(here.settings.calls_secrets)
    if erasure.day:
        _check_day(here, vault, erasure)
    else:
        check_namespace(here, vault, erasure.namespace)
    now = here.clock()
    if not (erasure.day or erasure.calls):
        check_known(here, by, _asked(erasure, int(now * 1e6)))
    _note(here, by, erasure, ERASING, "is erasing", now)
    found = _payloads(here, erasure, int(now * 1e6))
    if not erasure.day:
        gone = _overwritten(found)
    elif vault.destroyed(erasure.namespace, erasure.day):
        gone = []
    else:
        gone = [_call(one) for one in found]
        vault.destroy(erasure.namespace, erasure.day)
    _forget(here, erasure, gone, int(now * 1e6))
    if not (erasure.day or erasure.calls) and (seconds := _longest_call(here)):
        wait(seconds)
        later = _overwritten(_payloads(here, erasure, int(now * 1e6)))
        gone += later
        _forget(here, erasure, gone, int(now * 1e6))
    _note(here, by, erasure, ERASED, "erased", here.clock(), len(gone))
    return [(gateway, sequence) for gateway, sequence, _ in gone]


def check_eraser(by: Identity) -> None:
    """Let nobody erase payloads but an admin.

    Raises:
        Refused: naming the role.
    """
    if by.role != "admin":
        raise Refused(f"{by.name} is {by.role} and may not erase payloads.", "it takes an admin")


def _call(found: Found) -> _Call:
    return found.gateway, found.call.sequence, found.call.at_us


def _overwritten(found: Iterable[Found]) -> list[_Call]:
    return [_call(one) for one in overwrite(found)]


def _longest_call(here: House) -> float:
    """Give for how many seconds a call of this host may be under way; 0 where none is served.

    Routes outlive the gateways. One that was started before there was a lock is known by its
    process, and one of another container by the lock alone.
    """
    run = here.settings.run
    if not anyone_present(run) and not working_in("serving.gateway.main", run):
        return 0.0
    snapshot = Snapshot.load(run)
    routes = snapshot.routes.routes.values() if snapshot else ()
    # A canary in the shadow is asked the same once more, when the champion's time may be over.
    longest = max((one.guard.deadline_ms + one.guard.canary_ms for one in routes), default=0)
    return longest / 1e3 + WRITTEN_SECONDS if longest else 0.0


def _payloads(here: House, erasure: Erasure, until_us: int) -> Iterator[Found]:
    for one in payloads(here.settings.journal, erasure.namespace):
        young = one.call.at_us > until_us and not erasure.day
        if not young and erasure.covers(one.call, one.gateway):
            yield one


def _forget(here: House, erasure: Erasure, gone: Sequence[_Call], until_us: int) -> None:
    """Let the call store forget what was erased, or say what is erased and what is found still.

    Raises:
        Unavailable: the store does not answer.
    """
    try:
        _forgotten(here, erasure, gone, until_us)
    except Unavailable as error:
        said = (
            f"{len(gone)} payloads of {erasure.namespace}, {erasure.what}, are erased and that is"
            f" on record, but the call store finds their texts still: {error.message}"
        )
        raise Unavailable(said, "the same command finishes it, once the store answers") from error


def _forgotten(here: House, erasure: Erasure, gone: Iterable[_Call], until_us: int) -> None:
    """Let the call store forget what was erased: it was overwritten before, so none comes back.

    All that the erasure covers, and not only what is gone now: the one before may have been
    interrupted here. And what is gone now also where the store does not show it: an indexer may
    have read it just before, and `forget` waits for that one.
    """
    calls: dict[str, list[tuple[int, int]]] = {}
    for gateway, sequence, at_us in gone:
        calls.setdefault(gateway, []).append((sequence, at_us))
    leave_no_image(here.settings)
    store = opened(here.settings, here.say)
    try:
        for hit in every(store, _asked(erasure, until_us)):
            if erasure.covers(hit.line, hit.gateway):
                calls.setdefault(hit.gateway, []).append((hit.line.sequence, hit.line.at_us))
        # What is told of single calls is told of this host's.
        elsewhere = {} if erasure.calls else store.forget_elsewhere(_asked(erasure, until_us))
        try:
            store.forget(calls)
        except Unswept as error:
            here.say(str(error))
    finally:
        store.close()
    if elsewhere:
        named = _listed(sorted(elsewhere))
        here.say(
            f"{sum(elsewhere.values())} calls of {erasure.what} are of other hosts ({named}): they"
            " are found by no text any more, but those hosts' journals may hold their payloads;"
            " erase there too, or destroy what is left of the host"
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"


def _asked(erasure: Erasure, until_us: int) -> Query:
    """Say among which calls of the store those are that an erasure covers."""
    namespace = erasure.namespace
    if not erasure.day:
        user, key, id_ = erasure.user or None, erasure.key or None, erasure.id or None
        return Query(namespace=namespace, user=user, caller=key, id=id_, until_us=until_us + 1)
    ends = ends_us(erasure.day)
    # The moment of a call is rounded, also into the next day.
    return Query(namespace=namespace, since_us=ends - DAY_US, until_us=ends + 1)


def verify(here: House, anchors: Path | None = None) -> list[Proof]:
    """Prove the journals of this host's gateways, those that are not there any more too.

    Args:
        here: the house.
        anchors: a file of anchors from elsewhere, one as JSON a line, to hold them against as well.

    Raises:
        Unavailable: a secret, or a file of anchors, cannot be read.
        Invalid: there are no anchors in the file.
    """
    return proofs(here, anchors)


def _check_day(here: House, vault: Vault, erasure: Erasure) -> None:
    if vault.destroyed(erasure.namespace, erasure.day):
        return  # by one that may have been interrupted
    if not vault.has(erasure.namespace, erasure.day):
        raise NotFound(f"{erasure.namespace} has no payloads of {erasure.day}.")
    over = datetime.fromisoformat(erasure.day).replace(tzinfo=UTC) + timedelta(days=1) + GRACE
    if datetime.fromtimestamp(here.clock(), UTC) < over:
        hint = f"wait until {over:%Y-%m-%d %H:%M} UTC, or erase by --user"
        raise Invalid(f"{erasure.day} is not over: its key is in use.", hint)


def _note(
    here: House,
    by: Identity,
    erasure: Erasure,
    kind: str,
    verb: str,
    now: float,
    count: int | None = None,
) -> None:
    much = "payloads" if count is None else f"{count} payloads"
    data: dict[str, object] = {
        "namespace": erasure.namespace,
        "what": erasure.what,
        "why": erasure.why,
        **({"calls": sorted(erasure.calls)} if erasure.calls else {}),
    }
    here.ledger.note(
        Event(
            kind=kind,
            at=now,
            actor=by.name,
            sentence=f"{by.name} {verb} {much} of {erasure.namespace}, {erasure.what}: "
            f"{erasure.why}",
            data=data if count is None else {**data, "payloads": count},
        )
    )
