"""Looks, after the fact, for personal data that redaction did not know, and erases it by right.

No answer waits for this: it reads what was recorded, in a process of its own.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from infra.calls.erase import Found, payloads
from infra.calls.lines import CallLine, Payload
from infra.calls.terms import said_in
from infra.calls.vault import Vault
from infra.identity import Identity
from infra.personal import Spot
from release.callers import Capture
from release.errors import Invalid
from release.releases import Event
from tasks.calls import Erasure, erase
from tasks.finding import check_reader
from tasks.known import check_namespace
from tasks.wiring import House

INSPECTED = "calls-inspected"
"""Kind of event."""

Find = Callable[[str], Sequence[Spot]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which calls to look into."""

    namespace: str = ""
    """Whose; empty means every one's."""

    since_us: int = 0
    until_us: int = 2**62

    def covers(self, call: CallLine) -> bool:
        """Whether a call is among them, and was redacted: in full more was wanted."""
        return call.capture == Capture.REDACTED and self.since_us <= call.at_us < self.until_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A payload that tells of a person although it was redacted."""

    gateway: str
    line: CallLine
    kinds: Mapping[str, int]
    """What was found, and how often; never the words themselves."""

    @property
    def name(self) -> str:
        """The call, as an erasure names it."""
        return f"{self.gateway}/{self.line.sequence}"


@dataclass(slots=True, kw_only=True)
class Inspection:
    """What an inspection came to."""

    inspected: int = 0
    unread: int = 0
    """Payloads that are not what was sealed; `verify` says more."""

    leaks: list[Leak] = field(default_factory=list)


def inspect(here: House, by: Identity, window: Window, find: Find) -> Inspection:
    """Look into redacted payloads; that somebody did is recorded.

    Raises:
        Refused: `by` may not read the call record.
        NotFound: nobody knows the namespace.
        Unavailable: a secret cannot be read.
    """
    check_reader(by)
    found, vault = Inspection(), Vault(here.settings.calls_secrets)
    for one in _redacted(here, window):
        try:
            payload = vault.open(one.call, _sealed(one))
        except Invalid:
            found.unread += 1
            continue
        if payload is None:
            continue  # it was erased meanwhile
        found.inspected += 1
        if kinds := Counter(spot.kind for text in _texts(payload) for spot in find(text)):
            found.leaks.append(Leak(gateway=one.gateway, line=one.call, kinds=kinds))
    if window.namespace and not found.inspected + found.unread:
        check_namespace(here, vault, window.namespace)
    much = f"{found.inspected} payloads and found {len(found.leaks)} that tell of a person"
    here.ledger.note(
        Event(
            kind=INSPECTED,
            at=here.clock(),
            actor=by.name,
            sentence=f"{by.name} inspected {much}",
            data={"namespace": window.namespace, "calls": [one.name for one in found.leaks]},
        )
    )
    return found


def erase_leaks(here: House, by: Identity, leaks: Sequence[Leak], why: str) -> int:
    """Erase the payloads that were found; give how many are gone now and were not before.

    Raises:
        Refused: `by` is no admin.
        Invalid: there is no reason.
    """
    namespaces = sorted({one.line.namespace for one in leaks})
    gone = 0
    for namespace in namespaces:
        named = frozenset(one.name for one in leaks if one.line.namespace == namespace)
        gone += len(erase(here, by, Erasure(namespace=namespace, why=why, calls=named)))
    return gone


def _redacted(here: House, window: Window) -> Iterator[Found]:
    for one in payloads(here.settings.journal, window.namespace):
        if window.covers(one.call):
            yield one


def _sealed(one: Found) -> str:
    try:
        with one.path.open("rb") as file:
            file.seek(one.offset)
            return file.read(one.size).decode()
    except FileNotFoundError:
        return ""  # its segment was too old, and went meanwhile


def _texts(payload: Payload) -> Iterator[str]:
    yield from (one for one in payload.input if isinstance(one, str))
    yield from said_in(bytes(payload.output))
