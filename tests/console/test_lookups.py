"""Who looked into the call record and who erased in it is told by command."""

import json
from pathlib import Path

import pytest

from console.lookups import what_of
from infra.calls.query import Query
from infra.identity import Identity
from release.errors import Invalid, Refused
from release.releases import Event
from tasks.calls import Erasure, erase
from tasks.finding import find, show
from tasks.lookups import lookups
from tests.fakes.recorded import ADA, AUDITOR, Journal, a_house
from tests.system.home import Home


def test_lookups_and_erasures_are_listed_the_newest_first_a_page_at_a_time(tmp_path: Path) -> None:
    with a_house(tmp_path) as here:
        Journal(here.settings).write("a parcel", "beta", user="bob")
        find(here, AUDITOR, Query(text="parcel", user="bob"))
        show(here, AUDITOR, "r1")
        erase(here, ADA, Erasure(namespace="default", user="bob", why="he asked"))
        here.ledger.note(Event(kind="other", at=1.0, actor="x", sentence="x"))
        found = lookups(here, AUDITOR)
        assert [one.kind for _, one in found] == [
            *("payloads-erased", "payloads-erasing", "call-shown", "calls-searched"),
        ]
        assert found == lookups(here, ADA)
        assert [one.actor for _, one in found] == ["ada", "ada", "uma", "uma"]
        assert [one.data.get("why") for _, one in found[:2]] == ["he asked"] * 2
        assert what_of(found[-1][1]) == "text parcel, user bob"
        assert what_of(found[0][1]) == "namespace default, what user:bob, payloads 1"
        page = lookups(here, AUDITOR, most=3)
        assert page + lookups(here, AUDITOR, below=page[-1][0], most=3) == found
        with pytest.raises(Refused, match="eve is viewer and may not read"):
            lookups(here, Identity(name="eve", role="viewer"))
        with pytest.raises(Invalid, match="1 to 1000 events, not 0"):
            lookups(here, AUDITOR, most=0)


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.people()
    Journal(home.house.settings).write("我的订单", "beta", user="bob")
    for text in ("订单", "parcel"):
        home.slipway("calls", "search", text, who="ada")
    told = home.slipway("calls", "log", "--most", "1", who="ada").stdout.splitlines()
    assert "calls-searched" in told[1] and "text parcel" in told[1] and "ada" in told[1]
    assert told[2].startswith("older ones: --below ")
    below = told[2].rpartition(" ")[2]
    (line,) = home.slipway(
        "calls", "log", "--below", below, "--json", who="ada"
    ).stdout.splitlines()
    event = json.loads(line)
    assert (event["kind"], event["who"], event["data"]) == (
        *("calls-searched", "ada"),
        {"text": "订单"},
    )
    assert event["what"] == "ada searched the call record and saw 1 calls"
    home.house.ledger.close()
