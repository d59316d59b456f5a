"""Hosts that share a call store: what one of them reads and erases, and is told of others."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.calls.indexing import opening
from infra.calls.query import Query
from infra.calls.sqlite import CallStore
from tasks.calls import Erasure, erase
from tasks.finding import find
from tasks.wiring import House
from tests.fakes.recorded import ADA, AUDITOR, Journal, a_house
from tests.infra import postgres

_numbers = count(1)
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
        opening(here.settings).close()
    assert files(here) == []
    died.close()


def test_the_store_of_a_host_alone_stays(alone: House) -> None:
    Journal(alone.settings).write("it is broken", "support", user="bob")
    find(alone, AUDITOR, Query())
    before = alone.settings.call_store.stat().st_ino
    opening(alone.settings).close()
    erase(alone, ADA, BOB)
    assert alone.settings.call_store.stat().st_ino == before
