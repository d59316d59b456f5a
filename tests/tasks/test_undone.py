"""An erasure on record holds, also where what it overwrote is put back, or the store made anew."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.calls import _told
from infra.calls.checkpoints import Signer
from infra.calls.query import Query
from tasks.calls import Erasure, erase, verify
from tasks.finding import find, show
from tasks.taking import export, replay
from tasks.wiring import House
from tests.fakes.recorded import ADA, AUDITOR, Journal, a_house

BOB = Erasure(namespace="default", why="asked", user="bob")
LAST = Erasure(namespace="default", why="asked", id="r3")
DAY = Erasure(namespace="default", why="asked", day="2026-09-21")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as house:
        Signer(house.settings.calls_secrets)
        yield house


def forget_store(here: House) -> None:
    """Delete the call store, as may be done at any time."""
    for path in here.settings.call_store.parent.glob("calls.db*"):
        path.unlink()


@pytest.mark.parametrize("what", [BOB, DAY, LAST], ids=["user", "day", "id"])
def test_what_is_put_back_after_an_erasure_is_told_and_given_to_nobody(
    here: House, what: Erasure, tmp_path: Path
) -> None:
    journal = Journal(here.settings)
    for user, text in (("ann", "parcel 4711"), ("bob", "parcel 4812"), ("bob", "parcel 4913")):
        journal.write(text, "beta", "sha256:1", user=user, endpoint="tiny")
    left = {BOB: 1, LAST: 2}.get(what, 0)
    for name in ("journal", "secrets"):
        shutil.copytree(here.settings.home / name, tmp_path / "backup" / name)
    erase(here, ADA, what)
    (proof,) = verify(here)
    assert (proof.erased, proof.standing, proof.unrecorded) == (3 - left, 0, 0)
    for name in ("journal", "secrets"):
        shutil.copytree(tmp_path / "backup" / name, here.settings.home / name, dirs_exist_ok=True)
    forget_store(here)
    (proof,) = verify(here)
    assert (proof.erased, proof.standing, proof.first_standing) == (0, 3 - left, left + 1)
    assert not proof.lawful
    assert f"  NOT ERASED: {3 - left} payloads stand" in "\n".join(_told(proof))
    assert len(find(here, AUDITOR, Query(text="parcel"))) == left
    (one,) = show(here, AUDITOR, "r3")
    assert one.payload is None and not one.unreadable
    export(here, AUDITOR, Query(), tmp_path / "out.jsonl")
    lines = [json.loads(one) for one in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sum("input" in one for one in lines) == left and len(lines) == 3
    assert replay(here, AUDITOR, Query(), tmp_path / "out.csv").calls == left
    erase(here, ADA, what)
    (proof,) = verify(here)
    assert (proof.erased, proof.standing) == (3 - left, 0)


def test_what_went_wrong_tells_nothing_of_an_erased_call_once_the_store_is_made_anew(
    here: House,
) -> None:
    journal = Journal(here.settings)
    error = "Row 0 holds '王芳住静安区', which is no token id."
    journal.write("a", "beta", user="bob", outcome="refused", error=error)
    journal.write("a", "beta", user="ann", outcome="refused", error=error)
    asked = Query(text="静安区")
    assert len(find(here, AUDITOR, asked)) == 2
    erase(here, ADA, BOB)
    assert [one.line.user for one in find(here, AUDITOR, asked)] == ["ann"]
    forget_store(here)
    assert [one.line.user for one in find(here, AUDITOR, asked)] == ["ann"]
    (one,) = show(here, AUDITOR, "r1")
    assert one.line.error == "Row 0 holds <8 characters>, which is no token id."
