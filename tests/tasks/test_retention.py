"""Segments go once all in them is past its days and in the store; the rest is proven as before."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from infra.callers.namespaces import Namespaces
from infra.calls.discarding import Discarding
from infra.calls.indexing import Indexer, _sweep
from infra.calls.limits import Limits, Weights, weigh
from infra.calls.numbers import DAY_US
from infra.calls.query import Query
from infra.calls.retention import (
    REMOVED,
    YOUNG_US,
    Outlived,
    note_removal,
    outlived,
    remove,
)
from infra.calls.sqlite import CallStore
from infra.calls.vault import Vault
from infra.identity import Identities
from infra.ledger import Change, Ledger
from infra.settings import Settings
from release.callers import Recording, Said
from release.errors import Unavailable
from release.evidence import Cursor
from release.releases import Phase
from serving.journal import JournalWriter
from serving.windows import read_windows
from tasks.calls import verify
from tasks.wiring import House
from tests.fakes.call_lines import a_call
from tests.fakes.journals import AT, a_journal, write_call
from tests.infra.world import claimed, opened, widened

KEEP = Recording(days=50)
KEEPS = Limits(recordings={"default": Recording(days=5)}, otherwise=KEEP)
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


def left(here: House, gateway: str = "host_g1") -> list[int]:
    return sorted(int(one.stem) for one in (here.settings.journal / gateway).glob("0*.jsonl"))


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
    assert outlived(journal, 9, {"another": LATER_US, "default": 0}.__getitem__) is None
    first = journal / "00000001.jsonl"
    first.write_bytes(first.read_bytes() + b"not a line\n")
    assert outlived(journal, 9, {"default": LATER_US}.__getitem__) is None, (
        "it is to be looked into"
    )
    assert left(here) == [1, 2, 3, 4, 5, 6]


def lay(here: House, monkeypatch: pytest.MonkeyPatch, *namespaces: str) -> None:
    """Lay a journal with a segment for each namespace named, each of one call; two more follow."""
    monkeypatch.setattr("serving.journal.SEGMENT_BYTES", 1)
    vault = Vault(here.settings.calls_secrets)
    writer = JournalWriter(here.settings.journal, "host/g2")
    for hour, name in enumerate(namespaces):
        write_call(writer, vault, namespace=name, at=AT + 3600 * hour)
        writer.close_window()
    write_call(writer, vault)
    writer.close()


def test_calls_of_a_namespace_that_nobody_made_go_by_the_days_of_the_house(
    here: House, indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(here, monkeypatch, "nobody-made-it", "default", "default")
    indexer.fold()
    swept(here, indexer)
    assert left(here, "host_g2") == [1, 2, 3, 4, 5], "the house keeps them for 50 days"
    assert swept(here, indexer, LATER_US + 50 * DAY_US) == 1
    assert left(here, "host_g2") == [4, 5]


def test_what_fits_is_worked_out_once_however_often_it_is_asked() -> None:
    asked = list[str]()

    class Counted(Weights):
        def fitting(self, namespace: str, most: int) -> int:
            asked.append(namespace)
            return most

    wants = Recording(days=3650, most_mb=1)
    limits = Limits(recordings={}, otherwise=wants, weights=Counted())
    for name in ("a", "b", "a", "a", "b"):
        assert limits.oldest(name, 0) == 10**6
    assert asked == ["a", "b"]


def test_the_oldest_of_a_namespace_go_once_it_takes_too_much(
    here: House, indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.calls.limits.CHUNK", 1)
    monkeypatch.setattr("infra.calls.limits.MB", 1)
    lay(here, monkeypatch, *("shop", "keeps", "shop", "shop", "shop", "shop"))
    indexer.fold()
    weights = weigh(here.settings.journal, here.settings.call_sizes)
    each = weights.used()["shop"] // 5
    recordings = {"shop": Recording(most_mb=2 * each + 10), "keeps": Recording(), "default": KEEP}
    limits = Limits(recordings=recordings, otherwise=KEEP, weights=weights)
    gone = indexer.sweep(LATER_US, limits, partial(note_removal, here.ledger, AT))
    assert gone == 3 and len(indexer.store.page(Query(namespace="shop"))) == 2
    # The second holds a call that its namespace still wants, and with it all that came later.
    assert left(here, "host_g2") == [2, 3, 4, 5, 6, 7, 8]
    limits = replace(limits, recordings={**recordings, "keeps": Recording(most_mb=1)})
    indexer.sweep(LATER_US, limits, partial(note_removal, here.ledger, AT))
    assert left(here, "host_g2") == [5, 6, 7, 8]
    (proof, _) = verify(here)[::-1]
    assert proof.gateway == "host_g2" and proof.faults == []


def test_the_sweep_goes_by_settings_and_ledger(
    here: House, indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(here, monkeypatch, "shop", "gone", "gone")
    people = Identities(here.ledger)
    ada = people.prove(people.add("ada", "admin", by=None))
    Namespaces(here.ledger, Recording()).create("shop", Said(days=9), by=ada)
    indexer.fold()
    settings = Settings(home=here.settings.home, record_days=5)
    discarding = Discarding(settings.journal, Vault(settings.calls_secrets))
    for day, kept, places in ((3, 34, [1, 2, 3, 4, 5]), (6, 1, [1, 2, 3, 4, 5]), (10, 0, [4, 5])):
        now = AT + day * 86_400
        monkeypatch.setattr("time.time", lambda now=now: now)
        _sweep(indexer, discarding, settings)
        assert len(indexer.store.page(Query())) == kept
        assert left(here, "host_g2") == places
    assert sum(weigh(settings.journal, settings.call_sizes).used().values()) > 0


def test_each_byte_of_a_journal_is_weighed_once(here: House) -> None:
    journal, file = here.settings.journal, here.settings.call_sizes
    paths = sorted((journal / "host_g1").glob("0*.jsonl"))
    lines = [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]
    whole = sum(len(line) for line in lines if line.startswith(b'{"call"'))
    assert weigh(journal, file).used() == {"default": whole}
    # What was weighed before is not looked at again, be it as it may.
    paths[0].write_bytes(b"x" * paths[0].stat().st_size)
    with paths[-1].open("ab") as last:
        last.write(lines[1] + b'{"at":5.0,"endpoint":"old"}\n' + b'{"call":torn')
    more = len(lines[1]) + len(b'{"at":5.0,"endpoint":"old"}\n')
    assert weigh(journal, file).used() == {"default": whole + more}
    paths[0].write_bytes(b"")
    first = sum(len(one) for one in lines[:6] if one.startswith(b'{"call"'))
    assert weigh(journal, file).used() == {"default": whole + more - first}
    file.write_bytes(b"broken")
    assert weigh(journal, file).used() == {"default": whole + more - first}


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
    found = outlived(journal, 6, {"default": LATER_US}.__getitem__)
    assert found is not None and found.segment == 4
    note_removal(here.ledger, AT, found)
    found.paths[0].unlink()
    (proof,) = verify(here)
    assert proof.faults == [] and proof.first == 6
    swept(here, indexer)
    (proof,) = verify(here)
    assert proof.faults == [] and left(here) == [5, 6]
    assert indexer.store.page(Query()) == []


def test_segments_of_calls_that_count_nothing_go_as_well(
    here: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.journal.SEGMENT_BYTES", 2_000)
    monkeypatch.setattr("serving.journal.WINDOW_SECONDS", -1)
    writer = JournalWriter(here.settings.journal, "host/g2")
    for number in range(1, 41):
        writer.write(a_call(number, at=AT, digest="sha256:a" if number == 1 else ""))
        if writer.due(time.time()):
            writer.close_window()
    writer.close()
    kept = left(here, "host_g2")
    found = outlived(writer.place, kept[-1], {"default": LATER_US}.__getitem__)
    assert len(kept) > 5 and found is not None
    # But for the one with the last window.
    assert [int(one.stem) for one in found.paths] == kept[:-2]
    remove(found, partial(note_removal, here.ledger, AT))
    writer = JournalWriter(here.settings.journal, "host/g2")
    writer.write(a_call(41, at=AT, digest="sha256:a"))
    writer.close()
    windows = [
        one for one in read_windows(here.settings.journal, {})[0] if one.gateway == "host_g2"
    ]
    numbers = [one.number for one in windows]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert [len(one.tallies) for one in windows] == [0] * (len(windows) - 1) + [1]
    assert [one.faults for one in verify(here)] == [[], []]


def test_what_a_watched_release_has_not_counted_stays(
    here: House, indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexer.fold()
    settings = Settings(home=here.settings.home, record_days=5)
    monkeypatch.setattr("time.time", lambda: AT + 6 * 86_400)

    def stay() -> list[int]:
        _sweep(indexer, Discarding(settings.journal, Vault(settings.calls_secrets)), settings)
        return left(here)

    release, claim = opened(here.ledger), claimed(here.ledger)
    watched = widened(here.ledger, claim, release)
    assert stay() == [1, 2, 3, 4, 5, 6]
    at = Cursor(gateway="host_g1", window=3, segment=3, offset=10)
    change = Change(desired=watched, expected=watched.generation, cursors=(at,))
    watched = here.ledger.commit(claim, change, 100.0)
    assert stay() == [3, 4, 5, 6]
    over = replace(release, phase=Phase.REJECTED)
    ended = Change(release=over, desired=watched, expected=watched.generation)
    here.ledger.commit(claim, ended, 100.0)
    assert stay() == [5, 6]


def test_what_is_young_stays_however_little_is_kept(
    here: House, indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.calls.limits.MB", 1)
    indexer.fold()
    weights = weigh(here.settings.journal, here.settings.call_sizes)
    limits = Limits(recordings={}, otherwise=Recording(most_mb=1), weights=weights)
    now_us = int(AT * 1e6) + YOUNG_US
    indexer.sweep(now_us, limits, partial(note_removal, here.ledger, AT))
    assert left(here) == [1, 2, 3, 4, 5, 6]
    indexer.sweep(now_us + 1, limits, partial(note_removal, here.ledger, AT))
    assert left(here) == [5, 6]
