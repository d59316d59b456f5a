"""Gathers what the journals of a host are held against, and proves each.

Erasures and removals go on meanwhile, each on record before it touches anything. So the record is
read again behind whatever seems wrong, and what is new in it is believed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.calls.checkpoints import Checkpoint, is_of, public_key
from infra.calls.erase import DISCARDED, ERASING
from infra.calls.filed import BadLines, anchors_in, bad_lines
from infra.calls.onrecord import ways_of
from infra.calls.proofs import Known, Proof
from infra.calls.retention import REMOVED
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

    def __iter__(self) -> Iterator[tuple[str, Checkpoint]]:
        yield from (("an anchor in the ledger", one) for one in self.ledger.anchors(self.gateway))
        for path in self.files:
            for number, one in _filed(path):
                if one.gateway == self.gateway:
                    yield f"the anchor in line {number} of {path}", one


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
    files = _files(here, given)
    there = {place.name for place in settings.journal.glob("*/")}
    anchored = here.ledger.anchored()
    # A ledger of our own knows none but our gateways; others may be many hosts'.
    ours = set() if settings.ledger_url else set(anchored)
    everyone = {*anchored, *(one.gateway for path in files for _, one in _filed(path))}
    mine = host_name(settings.name)
    ours |= there | {name for name in everyone if is_of(mine, name)}
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
            for what in ways_of(one):
                key = (str(one.data["namespace"]), what)
                found[key] = max(found.get(key, 0), int(one.at * 1e6))
    return found


def _removed(gateway: str, events: Iterable[Event]) -> int:
    gone = [
        int(one.data["segment"])
        for one in events
        if one.kind == REMOVED and one.data["gateway"] == gateway
    ]
    return max(gone, default=0)


def unlike_anchors(here: House, given: Path | None) -> list[BadLines]:
    """Look for lines of files of anchors that are none: what they proved, nobody knows.

    Args:
        here: the house.
        given: a file of anchors, besides what settings name.

    Raises:
        Unavailable: a file cannot be read.
    """
    with _translated():
        return [found for path in _files(here, given) if (found := bad_lines(path)).told]


def _files(here: House, given: Path | None) -> list[Path]:
    """Name the files of anchors that there are to be, each once; ours is made with its first."""
    ours = here.settings.anchors_file
    kept = ours if ours is not None and ours.exists() else None
    return list(dict.fromkeys(one for one in (kept, given) if one is not None))


def _filed(path: Path) -> Iterator[tuple[int, Checkpoint]]:
    with _translated():
        yield from anchors_in(path)


@contextmanager
def _translated() -> Iterator[None]:
    """Say of a file of anchors that it cannot be read.

    Raises:
        Unavailable: naming it.
    """
    try:
        yield
    except OSError as error:
        said = f"The anchors in {error.filename} cannot be read: {error.strerror}."
        raise Unavailable(said) from error
