"""Segments go once all in them is past its days and in the store; the rest is proven as before."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from infra.calls.indexing import DAY_US, Indexer, note_removal
from infra.calls.query import Query
from infra.calls.retention import REMOVED, Outlived, outlived
from infra.calls.sqlite import CallStore
from infra.calls.vault import Vault
from infra.ledger import Ledger
from infra.settings import Settings
from release.callers import Recording
from release.errors import Unavailable
from release.evidence import Cursor
from serving.journal import JournalWriter
from serving.windows import read_windows
from tasks.calls import verify
from tasks.wiring import House
from tests.fakes.journals import AT, a_journal, write_call

KEEPS = {"default": Recording(days=5)}
LATER_US = int(AT * 1e6) + 6 * DAY_US


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    settings = Settings(home=tmp_path)
    made = House(settings=settings, ledger=Ledger.open(settings.ledger), clock=lambda: AT)
    # The tests' journals keep their secrets right under the root.
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "calls").symlink_to(tmp_path / "secrets")
    # Six segments of five calls each; a window ends each but the last.
    _, checkpoint = a_journal(tmp_path, monkeypatch, each=5)
    made.ledger.anchor(checkpoint)
    yield made
    made.ledger.close()


@pytest.fixture
def indexer(here: House) -> Iterator[Indexer]:
    settings = here.settings
    store = CallStore(settings.call_store)
    yield Indexer(settings.journal, store, Vault(settings.calls_secrets))
    store.close()


def left(here: House) -> list[int]:
    return sorted(int(one.stem) for one in (here.settings.journal / "host_g1").glob("0*.jsonl"))


def swept(here: House, indexer: Indexer, now_us: int = LATER_US) -> int:
    return indexer.sweep(now_us, KEEPS, partial(note_removal, here.ledger, AT))


def test_segments_past_their_days_go_and_the_rest_is_proven(here: House, indexer: Indexer) -> None:
    whole, _ = read_windows(here.settings.journal, {})
    indexer.fold()
    assert swept(here, indexer) == 30
    # The fifth has the last window, from which the gateway counts on.
    assert left(here) == [5, 6]
    (event,) = [one for _, one in here.ledger.events(kinds=(REMOVED,))]
    assert event.data == {"gateway": "host_g1", "segment": 4}
    assert "segments 1 to 4 of host_g1 went" in event.sentence
    (proof,) = verify(here)
    assert proof.faults == [] and (proof.first, proof.last, proof.anchored) == (21, 30, 30)
    stale = {"host_g1": Cursor(gateway="host_g1", window=1, segment=1, offset=10)}
    assert read_windows(here.settings.journal, stale)[0] == whole[4:]
    writer = JournalWriter(here.settings.journal, "host/g1")
    write_call(writer, Vault(here.settings.calls_secrets))
    writer.close()
    (proof,) = verify(here)
    assert proof.faults == [] and proof.last == 31
    windows, _ = read_windows(here.settings.journal, stale)
    assert [one.number for one in windows] == [5, 6, 7]


def test_what_was_not_indexed_stays(here: House, indexer: Indexer) -> None:
    indexer.fold(most=1)
    assert indexer.store.places()["host_g1"].segment == 1
    swept(here, indexer)
    assert left(here) == [1, 2, 3, 4, 5, 6] and here.ledger.events(kinds=(REMOVED,)) == []


def test_what_a_namespace_still_wants_stays(here: House, indexer: Indexer) -> None:
    indexer.fold()
    assert swept(here, indexer, LATER_US - 2 * DAY_US) == 0
    journal = here.settings.journal / "host_g1"
    assert outlived(journal, 9, {"another": LATER_US}) is None
    first = journal / "00000001.jsonl"
    first.write_bytes(first.read_bytes() + b"not a line\n")
    assert outlived(journal, 9, {"default": LATER_US}) is None, "it is to be looked into"
    assert left(here) == [1, 2, 3, 4, 5, 6]


def test_what_cannot_be_recorded_is_not_removed(here: House, indexer: Indexer) -> None:
    indexer.fold()

    def refuse(found: Outlived) -> None:
        raise Unavailable(f"{found.gateway} cannot be noted.")

    with pytest.raises(Unavailable):
        indexer.sweep(LATER_US, KEEPS, refuse)
    assert left(here) == [1, 2, 3, 4, 5, 6]


def test_a_removal_that_was_cut_short_is_lawful_and_done_again(
    here: House, indexer: Indexer
) -> None:
    indexer.fold()
    journal = here.settings.journal / "host_g1"
    found = outlived(journal, 6, {"default": LATER_US})
    assert found is not None and found.segment == 4
    note_removal(here.ledger, AT, found)
    found.paths[0].unlink()
    (proof,) = verify(here)
    assert proof.faults == [] and proof.first == 6
    swept(here, indexer)
    (proof,) = verify(here)
    assert proof.faults == [] and left(here) == [5, 6]
    assert indexer.store.page(Query()) == []
