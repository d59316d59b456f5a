"""Ticks over a real ledger and a real journal."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.calls.lines import Share
from infra.ledger import Ledger
from infra.settings import Settings
from release.releases import Event, Phase, Release
from serving.journal import JournalWriter
from serving.windows import read_windows
from tasks.advance import advance, settle
from tasks.reconcile import STALE_SECONDS, due
from tasks.wiring import House, house
from tests.fakes.call_lines import a_call
from tests.fakes.nouns import a_release, judged, variant
from tests.infra.world import claimed, opened

MODEL = "docs-router"
NOW = 1000.0


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    settings = Settings()
    made = House(settings=settings, ledger=Ledger.open(settings.ledger), clock=lambda: NOW)
    yield made
    made.ledger.close()
    house.cache_clear()


def traffic(here: House, windows: int) -> None:
    """Let a gateway have answered badly, long ago, one request a window."""
    writer = JournalWriter(here.settings.journal, "host/g1")
    for number in range(windows):
        counted = (Share(digest=variant(1).digest, requests=1, failures=1),)
        writer.write(
            a_call(number + 1, at=number, endpoint=MODEL, outcome="timeout", counted=counted)
        )
        writer.close_window()
    writer.close()


def test_traffic_of_before_is_no_evidence(here: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.windows.MOST_READ", 2000)
    traffic(here, 200)
    some, _ = read_windows(here.settings.journal, {})
    assert 0 < len(some) < 20, "one reading took it all: nothing was tested"
    release = opened(here.ledger)
    advance(here, release.id)
    assert here.ledger.cursors(MODEL)["host_g1"].window == 200
    assert here.ledger.evidence(release.id) == {}


def test_whoever_slept_cannot_settle_what_has_moved_on(here: House) -> None:
    stale = opened(here.ledger)
    claim, before = claimed(here.ledger), here.ledger.desired(MODEL)
    moved = replace(judged(stale), phase=Phase.AWAITING_APPROVAL)
    _commit(here, claim, before.generation, moved)
    assert settle(here, stale, "it cannot be built").phase is Phase.AWAITING_APPROVAL
    assert here.ledger.release(stale.id) == moved


def _commit(here: House, claim: object, expected: int, release: Release) -> None:
    from infra.ledger import Change, Claim

    assert isinstance(claim, Claim)
    here.ledger.commit(claim, Change(release=release, expected=expected), NOW)
    here.ledger.yield_claim(claim)


def test_a_release_is_due_only_when_it_is_late_and_nobody_holds_it(
    here: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.reconcile.house", lambda: here)
    late = replace(a_release(), not_before=NOW - STALE_SECONDS - 1)
    event = Event(kind="opened", at=0, actor="rita", sentence="", release=late.id, model=MODEL)
    here.ledger.open_release(late, event)
    assert [one.id for one in due.fn()] == [late.id]
    claim = here.ledger.claim(MODEL, "at work", 20, NOW)
    assert due.fn() == []
    here.ledger.yield_claim(claim)
    assert [one.id for one in due.fn()] == [late.id]


def test_a_release_that_was_just_opened_is_not_due(
    here: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.reconcile.house", lambda: here)
    fresh = replace(a_release(), not_before=NOW + 40)
    event = Event(kind="opened", at=0, actor="rita", sentence="", release=fresh.id, model=MODEL)
    here.ledger.open_release(fresh, event)
    assert due.fn() == []
