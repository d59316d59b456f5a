"""A day's key goes once what it sealed is past its days and gone, on record, and nothing sooner."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from infra.calls.checkpoints import Signer
from infra.calls.discarding import Discarding, note_discarded
from infra.calls.erase import DISCARDED
from infra.calls.indexing import Indexer, _sweep
from infra.calls.retention import Outlived, note_removal, remove
from infra.calls.segments import paths_in
from infra.calls.sqlite import CallStore
from infra.calls.vault import Vault
from infra.ledger import Ledger
from infra.settings import Settings
from release.errors import Unavailable
from serving import journal
from serving.journal import JournalWriter
from tasks.calls import verify
from tasks.wiring import House
from tests.fakes.journals import AT, signed, write_call

DAY = 86_400
DAYS = ["2026-09-21", "2026-09-22", "2026-09-23"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A journal of three days in four segments: the third has a call of the first day."""
    settings = Settings(home=tmp_path)
    made = House(settings=settings, ledger=Ledger.open(settings.ledger), clock=lambda: AT)
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1)
    writer = JournalWriter(settings.journal, "host/g1")
    vault = Vault(settings.calls_secrets, settings.journal)
    # Midnight passes while a call of the first day is under way.
    for day in (0, 1, 0, 2):
        if writer.sequence:
            writer.close_window()
        write_call(writer, vault, at=AT + day * DAY)
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 2**30)
    writer.close()
    (settings.calls_secrets / "days" / "default" / "0-notes").touch()
    again = JournalWriter(settings.journal, "host/g1")
    made.ledger.anchor(signed(again, Signer(settings.calls_secrets)))
    again.close()
    yield made
    made.ledger.close()


def left(here: House) -> list[str]:
    return [day for _, day in Vault(here.settings.calls_secrets).days()]


def discarding(here: House) -> Discarding:
    return Discarding(here.settings.journal, Vault(here.settings.calls_secrets))


def before(days: float) -> Callable[[str], int]:
    """Keep nothing that is of before a moment, so many days after the beginning of the first."""
    first = AT // DAY * DAY
    return lambda _namespace: int((first + days * DAY) * 1e6)


def removed(here: House, segments: int) -> None:
    paths = tuple(paths_in(here.settings.journal / "host_g1")[:segments])
    remove(Outlived(gateway="host_g1", paths=paths), partial(note_removal, here.ledger, AT))


def test_a_key_goes_with_the_last_segment_that_names_it(here: House) -> None:
    record, mine = partial(note_discarded, here.ledger, AT), discarding(here)
    assert left(here) == DAYS and len(paths_in(here.settings.journal / "host_g1")) == 4
    assert mine.discard(before(9), record) == 0
    removed(here, 1)
    assert mine.discard(before(1), record) == 0, "the third segment has a call of that day"
    removed(here, 1)
    assert mine.discard(before(1), record) == 0
    assert mine.discard(before(9), record) == 1 and left(here) == [DAYS[0], DAYS[2]]
    removed(here, 1)
    assert mine.discard(before(9), record) == 1 and left(here) == DAYS[2:]
    told = [event for _, event in here.ledger.events(kinds=(DISCARDED,))]
    gone = [{"namespace": "default", "what": day} for day in (DAYS[1], DAYS[0])]
    assert [one.data for one in told] == gone
    assert told[1].sentence == "the key of default for 2026-09-21 went: all that it sealed is gone"
    (proof,) = verify(here)
    assert (proof.faults, proof.calls, proof.erased, proof.unrecorded) == ([], 1, 0, 0)


def test_what_a_discarded_key_had_sealed_is_erased_on_record(here: House) -> None:
    note_discarded(here.ledger, AT, "default", DAYS[0])
    Vault(here.settings.calls_secrets).destroy("default", DAYS[0])
    (proof,) = verify(here)
    assert (proof.faults, proof.erased, proof.unrecorded) == ([], 2, 0)


def test_a_day_that_is_not_past_its_days_keeps_its_key(here: House) -> None:
    removed(here, 3)
    mine, record = discarding(here), partial(note_discarded, here.ledger, AT)
    assert mine.discard(before(0.99), record) == 0
    assert mine.discard(lambda _namespace: 0, record) == 0
    assert left(here) == DAYS


def test_what_was_written_since_is_seen(here: House) -> None:
    removed(here, 3)
    mine, record = discarding(here), partial(note_discarded, here.ledger, AT)
    assert mine.discard(before(1), lambda *_: None) == 1
    writer = JournalWriter(here.settings.journal, "host/g1")
    write_call(writer, Vault(here.settings.calls_secrets), at=AT + 1 * DAY)
    writer.close()
    assert mine.discard(before(9), record) == 0 and left(here) == DAYS[1:]


def test_a_key_whose_end_cannot_be_recorded_stays(here: House) -> None:
    removed(here, 3)

    def refuse(*_: str) -> None:
        raise Unavailable("The ledger does not answer.")

    with pytest.raises(Unavailable):
        discarding(here).discard(before(9), refuse)
    assert left(here) == DAYS


def test_the_indexers_sweep_lets_segments_go_and_then_their_keys(here: House) -> None:
    settings = here.settings.model_copy(update={"record_days": 1})
    store = CallStore(settings.call_store)
    mine = discarding(here)
    indexer = Indexer(settings.journal, store, mine.vault)
    indexer.fold()
    _sweep(indexer, mine, settings)
    store.close()
    assert [int(path.stem) for path in paths_in(settings.journal / "host_g1")] == [4]
    assert left(here) == DAYS[2:]
    assert verify(here)[0].good
