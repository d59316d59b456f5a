"""An erasure says what it did, and refuses to seem done where it names nobody."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.calls.checkpoints import Signer
from infra.calls.query import Query
from release.errors import NotFound, Unavailable
from tasks.calls import ERASED, ERASING, Erasure, erase, verify
from tasks.finding import find
from tasks.known import nearest
from tasks.wiring import House
from tests.fakes.recorded import ADA, AUDITOR, Journal, a_house

ZOE = "Zoë"
APART = unicodedata.normalize("NFD", ZOE)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as house:
        Signer(house.settings.calls_secrets)
        yield house


def an_erasure(**what: str) -> Erasure:
    return Erasure(namespace="default", why="asked", **what)  # type: ignore[arg-type]


def texts(here: House) -> list[str]:
    return [hit.line.user for hit in find(here, AUDITOR, Query(text="parcel"))]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"user": "Bob"}, r"user 'Bob' is recorded in default: nothing .* mean 'bob'"),
        ({"user": "boob"}, r"user 'boob' is .* mean 'bob'"),
        ({"user": "x"}, r"user 'x' is .*see slipway calls search"),
        ({"key": "35ffb8e5b194"}, r"key '35ffb8e5b194' is .* mean '35ffb8e5b193'"),
        ({"id": "order-12"}, r"id 'order-12' is .* mean 'order-1'"),
    ],
)
def test_whom_nobody_knows_is_not_said_to_be_erased(
    here: House, what: dict[str, str], said: str
) -> None:
    journal = Journal(here.settings)
    journal.write("parcel", "beta", user="bob", id="order-1")
    journal.write("parcel", "beta", caller="35ffb8e5b193")
    with pytest.raises(NotFound, match=said):
        erase(here, ADA, an_erasure(**what))
    assert list(here.ledger.events(kinds=(ERASING, ERASED))) == []


def test_one_who_is_erased_already_is_known_and_so_is_one_of_whom_nothing_was_kept(
    here: House,
) -> None:
    journal = Journal(here.settings)
    journal.write("parcel", "beta", user="bob")
    assert erase(here, ADA, an_erasure(user="bob")) == [("host_g1", 1)]
    assert erase(here, ADA, an_erasure(user="bob")) == []


def test_the_calls_of_one_id_are_erased_and_no_others(here: House) -> None:
    journal = Journal(here.settings)
    for id_ in ("one", "two", "one"):
        journal.write("parcel", "beta", user="bob", id=id_)
    gone = erase(here, ADA, an_erasure(id="one"))
    assert gone == [("host_g1", 1), ("host_g1", 3)]
    (hit,) = find(here, AUDITOR, Query(text="parcel"))
    assert hit.line.id == "two"
    for path in here.settings.call_store.parent.glob("calls.db*"):
        path.unlink()
    assert len(texts(here)) == 1
    (proof,) = verify(here)
    assert proof.lawful and proof.erased == 2
    told = [event for _, event in here.ledger.events(kinds=(ERASED,))]
    assert told[0].data["what"] == "id:one"


@pytest.mark.parametrize("form", [ZOE, APART])
def test_a_user_is_found_and_erased_however_the_name_is_composed(here: House, form: str) -> None:
    journal = Journal(here.settings)
    for user in (ZOE, APART, "Zoe"):
        journal.write("parcel", "beta", user=user)
    assert len(find(here, AUDITOR, Query(user=form))) == 2
    assert len(find(here, AUDITOR, Query(user=form, text="parcel"))) == 2
    assert len(erase(here, ADA, an_erasure(user=form))) == 2
    assert texts(here) == ["Zoe"]
    (proof,) = verify(here)
    assert proof.lawful and proof.erased == 2


def test_with_the_call_store_down_an_erasure_says_what_is_done_and_what_is_not(
    here: House,
) -> None:
    journal = Journal(here.settings)
    journal.write("parcel", "beta", user="bob")
    assert texts(here) == ["bob"]
    aside = here.settings.call_store.with_name("aside")
    here.settings.call_store.rename(aside)
    here.settings.call_store.mkdir()
    said = (
        "^1 payloads of default, user:bob, are erased and that is on record, but the call store"
        r" finds their texts still: The call store .* \(the same command finishes it"
    )
    with pytest.raises(Unavailable, match=said):
        erase(here, ADA, an_erasure(user="bob"))
    here.settings.call_store.rmdir()
    aside.rename(here.settings.call_store)
    (proof,) = verify(here)
    assert proof.lawful and proof.erased == 1
    assert erase(here, ADA, an_erasure(user="bob")) == []
    assert texts(here) == []


@pytest.mark.parametrize(
    ("name", "near"), [("ANN", "ann"), ("zoe", ""), ("b", ""), ("anm", "ann"), (APART, "")]
)
def test_the_nearest_name_is_told(name: str, near: str) -> None:
    assert nearest(name, ["ann", "", "robert"]) == near
