"""Gathers what the journals of a host are held against, and proves each.

Erasures and removals go on meanwhile, each on record before it touches anything. So the record is
read again behind whatever seems wrong, and what is new in it is believed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.calls.checkpoints import Checkpoint, is_of, public_key, read
from infra.calls.erase import DISCARDED, ERASING
from infra.calls.proofs import Known, Proof
from infra.calls.retention import REMOVED
from infra.calls.terms import composed
from infra.calls.vault import Vault
from infra.calls.verify import beside, prove, segments_in
from infra.ledger import Ledger
from infra.processes import host_name
from release.errors import Invalid, Unavailable
from release.releases import Event
from tasks.wiring import House


@dataclass(frozen=True, slots=True, kw_only=True)
class _Anchors:
    """Those of one gateway; in files there may be many, which are read as they are needed."""

    gateway: str
    ledger: Ledger
    files: Sequence[Path]

    def __iter__(self) -> Iterator[Checkpoint]:
        yield from self.ledger.anchors(self.gateway)
        for path in self.files:
            yield from (one for one in _filed(path) if one.gateway == self.gateway)


def proofs(here: House, given: Path | None) -> list[Proof]:
    """Prove the journal of every gateway that has one, or has an anchor.

    Args:
        here: the house.
        given: a file of anchors, besides what settings name.

    Raises:
        Unavailable: a secret, or a file of anchors, cannot be read.
        Invalid: there are no anchors in the file.
    """
    settings = here.settings
    if given is not None and next(_filed(given), None) is None:
        raise Invalid(f"There is no anchor in {given}.", "it has one a line, as JSON")
    files = [one for one in (settings.anchors_file, given) if one is not None]
    there = {place.name for place in settings.journal.glob("*/")}
    anchored = here.ledger.anchored()
    # A ledger of our own knows none but our gateways; others may be many hosts'.
    ours = set() if settings.ledger_url else set(anchored)
    everyone = {*anchored, *(one.gateway for path in files for one in _filed(path))}
    ours |= there | {name for name in everyone if is_of(host_name(), name)}
    found = [
        _proof(here, _Anchors(gateway=name, ledger=here.ledger, files=files))
        for name in sorted(ours)
    ]
    return found + [
        Proof(gateway=name, elsewhere=True, anchored=anchored.get(name, 0))
        for name in sorted(everyone - ours)
    ]


def _proof(here: House, anchors: _Anchors) -> Proof:
    secrets = here.settings.calls_secrets
    vault, public = Vault(secrets), public_key(secrets)
    place = here.settings.journal / anchors.gateway
    events = _events(here)
    while True:
        told = Known(
            beside=beside(place),
            anchors=anchors,
            public=public,
            vault=vault,
            erasures=_erasures(events),
            removed=_removed(anchors.gateway, events),
        )
        found = prove(anchors.gateway, segments_in(place), told)
        later = _events(here)
        if (found.good and not found.unrecorded) or later == events:
            return found
        events = later


def _events(here: House) -> list[Event]:
    return [one for _, one in here.ledger.events(kinds=(ERASING, DISCARDED, REMOVED))]


def _erasures(events: Iterable[Event]) -> Mapping[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for one in events:
        if one.kind in (ERASING, DISCARDED):
            singly = (f"call:{name}" for name in one.data.get("calls", ()))
            for what in (str(one.data["what"]), *singly):
                key = (str(one.data["namespace"]), composed(what))
                found[key] = max(found.get(key, 0), int(one.at * 1e6))
    return found


def _removed(gateway: str, events: Iterable[Event]) -> int:
    gone = [
        int(one.data["segment"])
        for one in events
        if one.kind == REMOVED and one.data["gateway"] == gateway
    ]
    return max(gone, default=0)


def _filed(path: Path) -> Iterator[Checkpoint]:
    """Read a file of anchors; a line that is none tells no more than one that was taken away.

    Raises:
        Unavailable: it cannot be read.
    """
    try:
        yield from (one for _, one in read(path) if one is not None)
    except OSError as error:
        raise Unavailable(f"The anchors in {path} cannot be read: {error.strerror}.") from error
