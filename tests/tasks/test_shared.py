"""Hosts that share a call store: what one of them reads and erases, and is told of others."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from infra.calls.days import LOCK
from infra.calls.query import Query
from infra.calls.sqlite import CallStore
from infra.calls.stores import opening
from tasks.calls import ERASED, Erasure, erase
from tasks.finding import find
from tasks.taking import export
from tasks.wiring import House
from tests.fakes.recorded import ADA, AT, AUDITOR, Journal, a_house
from tests.infra import postgres

_numbers = count(1)
DAY = f"{datetime.fromtimestamp(AT, UTC):%Y-%m-%d}"
BOB = Erasure(namespace="default", user="bob", why="he asked")


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[House]:
    """A house whose calls are searched on its host alone."""
    with a_house(tmp_path / "a") as made:
        yield made


@pytest.fixture
def url(postgres_server: str) -> str:
    return postgres.create_database(postgres_server, f"shared_by_tasks_{next(_numbers)}")


@pytest.fixture
def here(alone: House, url: str) -> House:
    """The same house, once it shares a call store."""
    return sharing(alone, url)


@pytest.fixture
def there(tmp_path: Path, url: str, here: House) -> Iterator[House]:
    """Another host's house, with the same ledger and call store."""
    with a_house(tmp_path / "b") as made:
        yield replace(sharing(made, url), ledger=here.ledger)


def sharing(house: House, url: str) -> House:
    return replace(house, settings=house.settings.model_copy(update={"calls_url": SecretStr(url)}))


def files(house: House) -> list[str]:
    return sorted(one.name for one in house.settings.call_store.parent.glob("calls.db*"))


@pytest.mark.parametrize("by", ["erasing", "indexing"])
def test_no_image_of_before_is_left_where_calls_are_searched_elsewhere(
    alone: House, here: House, by: str
) -> None:
    Journal(alone.settings).write("my secret is swordfish", "support", user="bob")
    assert len(find(alone, AUDITOR, Query(text="swordfish"))) == 1
    # One that died leaves its log, in which the texts lie.
    died = CallStore(alone.settings.call_store)
    assert len(files(alone)) == 3
    if by == "erasing":
        assert len(erase(here, ADA, BOB)) == 1
    else:
        opening(here.settings, here.say).close()
    assert files(here) == []
    died.close()


def test_the_store_of_a_host_alone_stays(alone: House) -> None:
    Journal(alone.settings).write("it is broken", "support", user="bob")
    find(alone, AUDITOR, Query())
    before = alone.settings.call_store.stat().st_ino
    opening(alone.settings, alone.say).close()
    erase(alone, ADA, BOB)
    assert alone.settings.call_store.stat().st_ino == before


def found(house: House, text: str) -> list[str]:
    return [one.line.id for one in find(house, AUDITOR, Query(text=text))]


def hearing(house: House) -> tuple[House, list[str]]:
    said = list[str]()
    return replace(house, say=said.append), said


@pytest.mark.parametrize(
    "erasure", [BOB, Erasure(namespace="default", day=DAY, why="it is old")], ids=["user", "day"]
)
def test_an_erasure_reaches_the_texts_of_every_host(
    here: House, there: House, erasure: Erasure
) -> None:
    Journal(here.settings).write("the words of bob here", "support", user="bob")
    journal = Journal(there.settings)
    journal.write("the words of bob there", "support", user="bob")
    journal.write("the words of ann there", "support", user="ann")
    assert len(found(here, "the words")) == 1 and len(found(there, "the words")) == 3
    journal.write("the words of bob there, unread", "support", user="bob")
    here, said = hearing(here)
    assert len(erase(here, ADA, erasure)) == 1
    left = 1 if erasure.user else 0
    assert len(found(here, "the words")) == left
    many = 1 if erasure.user else 2
    (told,) = (one for one in said if "are of other hosts" in one)
    assert told.startswith(f"{many} calls of {erasure.what} are of other hosts (host_g1)")
    # What nobody had folded yet comes without its text, and so does all where it is made anew.
    assert len(found(there, "the words")) == left
    with psycopg.connect(there.settings.calls_url.get_secret_value()) as db:
        db.execute("drop schema slipway_calls cascade")
    assert len(found(there, "the words")) == left
    assert len(find(there, AUDITOR, Query())) == 3
    # The journals of the other host are its own matter.
    assert len(erase(there, ADA, erasure)) == (2 if erasure.user else 3)


def test_calls_that_came_after_an_erasure_are_kept(here: House, there: House) -> None:
    Journal(here.settings).write("his first", "support", user="bob")
    erase(here, ADA, BOB)
    later = here.clock() + 1
    Journal(there.settings).write("the words of bob", "support", user="bob", at=later)
    assert len(found(there, "the words")) == 1


def test_a_host_that_is_alone_is_told_of_no_other(alone: House) -> None:
    Journal(alone.settings).write("the words of bob", "support", user="bob")
    find(alone, AUDITOR, Query())
    alone, said = hearing(alone)
    assert len(erase(alone, ADA, BOB)) == 1 and said == []


@contextmanager
def writing(house: House) -> Iterator[None]:
    """Let somebody write into a house's call store, and not come to an end."""
    if url := house.settings.calls_url.get_secret_value():
        with psycopg.connect(url) as db:
            db.execute("select pg_advisory_xact_lock(%s)", [LOCK])
            yield
        return
    with closing(sqlite3.connect(house.settings.call_store, isolation_level=None)) as file:
        file.execute("begin immediate")
        yield


@pytest.mark.parametrize("which", ["alone", "here"])
def test_a_reader_does_not_wait_for_whoever_writes(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    house, said = hearing(request.getfixturevalue(which))
    journal = Journal(house.settings)
    journal.write("the first words", "support")
    assert len(found(house, "words")) == 1 and said == []
    journal.write("the newest words", "support")
    began = time.monotonic()
    with writing(house):
        assert len(found(house, "words")) == 1
        assert export(house, AUDITOR, Query(), tmp_path / "calls.jsonl").calls == 1
    assert time.monotonic() - began < 12, "it waits for 2 s each, and not for 20"
    assert len(said) == 2
    for one in said:
        assert "is busy" in one and "The newest calls may be missing" in one
    assert len(found(house, "words")) == 2 and len(said) == 2


def test_an_erasure_beside_a_long_reader_is_done_and_says_what_follows(here: House) -> None:
    Journal(here.settings).write("the words of bob", "support", user="bob")
    assert len(found(here, "words")) == 1
    here, said = hearing(here)
    with psycopg.connect(here.settings.calls_url.get_secret_value()) as reader:
        reader.execute("select count(*) from slipway_calls.calls")
        assert len(erase(here, ADA, BOB)) == 1
        assert found(here, "words") == []
    (told,) = said
    assert "is found no more" in told and "an indexer takes it out" in told
    assert len(here.ledger.events(kinds=(ERASED,))) == 1


def test_a_reader_is_told_how_far_other_hosts_have_folded(
    here: House, there: House, tmp_path: Path
) -> None:
    journal = Journal(there.settings)
    for seconds in (0, 90, 30):
        journal.write("some words", "support", at=AT + seconds)
    found(there, "words")
    here, said = hearing(here)
    assert len(found(here, "words")) == 3
    export(here, AUDITOR, Query(), tmp_path / "calls.jsonl")
    newest = f"{datetime.fromtimestamp(AT + 30, UTC):%Y-%m-%d %H:%M:%S}"
    assert len(said) == 2 and all(f"host_g1 {newest}" in one for one in said)
    there, none = hearing(there)
    found(there, "words")
    assert none == [], "the one that reads has folded all of its own"
