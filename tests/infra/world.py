"""Shorthands of the ledger's tests."""

import time
from dataclasses import replace

from infra.ledger import Change, Claim, Ledger
from release.errors import Conflict
from release.releases import Desired, Event, Phase, Release
from tests.fakes.nouns import a_release, judged, variant

MODEL = "docs-router"


def an_event(kind: str = "told", *, release: str = "", model: str = MODEL) -> Event:
    return Event(
        kind=kind, at=1.0, actor="ada", sentence=f"it was {kind}", release=release, model=model
    )


def opened(ledger: Ledger, version: int = 2) -> Release:
    """Open a release on what is in production."""
    release = judged(a_release(version, stable=ledger.desired(MODEL).champion))
    ledger.open_release(release, an_event("opened", release=release.id))
    return release


def claimed(ledger: Ledger, owner: str = "one", *, force: bool = False) -> Claim:
    return ledger.claim(MODEL, owner, 10, 100.0, force=force)


def canary(before: Desired, percent: float = 5.0, version: int = 2) -> Desired:
    return replace(before, canary=variant(version), canary_percent=percent, lease_until=115.0)


def widened(ledger: Ledger, claim: Claim, release: Release, percent: float = 5.0) -> Desired:
    """Commit one step of a rollout, as a controller would."""
    before = ledger.desired(MODEL)
    change = Change(
        release=replace(release, phase=Phase.CANARY),
        desired=canary(before, percent),
        expected=before.generation,
        events=(an_event("step", release=release.id),),
    )
    return ledger.commit(claim, change, 100.0)


def hammer(url: str, owner: str, times: int, *, force: bool) -> int:
    """Change one row `times` times against others who do the same; give the tries it took."""
    ledger, done, tries = Ledger.open(url), 0, 0
    while done < times:
        tries += 1
        try:
            claim = ledger.claim(MODEL, owner, 60, 100.0, force=force)
            before = ledger.desired(MODEL)
            if not force:
                # Long enough between reading and writing that the others come in between.
                time.sleep(0.002)
            change = Change(
                # Each writer adds one to what it read: a lost update would be missing here.
                desired=replace(before, lease_until=before.lease_until + 1),
                expected=before.generation,
                events=(an_event("hammered"),),
                bump=True,
            )
            ledger.commit(claim, change, 100.0)
            done += 1
        except Conflict:
            continue
    ledger.close()
    return tries


def closed(ledger: Ledger, release: Release, phase: Phase = Phase.REJECTED) -> Release:
    """Close a release without moving anything."""
    claim, before = claimed(ledger), ledger.desired(MODEL)
    done = replace(release, phase=phase, closed_at=100.0)
    ledger.commit(claim, Change(release=done, expected=before.generation), 100.0)
    ledger.yield_claim(claim)
    return done
