"""The call record is read by right and on record, and says who stands behind an answer."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from infra.calls.exporting import Form
from infra.calls.numbers import DAY_US
from infra.calls.query import Query
from infra.identity import Identity
from infra.ledger import schema
from infra.ledger.rows import release_row
from release.errors import NotFound, Refused
from release.releases import Event, Release
from tasks.calls import Erasure, _asked, erase
from tasks.finding import PAGE, SEARCHED, SHOWN, account, find, show
from tasks.taking import EXPORTED, EXPORTING, REPLAYED, REPLAYING, export, replay, ship
from tasks.wiring import House
from tests.fakes.nouns import a_release, an_approval, judged
from tests.fakes.recorded import ADA, AT, AUDITOR, Journal, a_house

READINGS = (SEARCHED, SHOWN, EXPORTING, EXPORTED, REPLAYING, REPLAYED)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as made:
        yield made


@pytest.fixture
def journal(here: House) -> Journal:
    return Journal(here.settings)


def told(here: House) -> list[str]:
    return [event.sentence for _, event in here.ledger.events(kinds=READINGS)]


def test_whoever_looks_is_recorded_with_what_was_looked_for(here: House, journal: Journal) -> None:
    journal.write("我的订单在哪里", "shipping", user="ann")
    journal.write("it is broken", "support", user="bob")
    (hit,) = find(here, AUDITOR, Query(text="订单"))
    assert hit.line.user == "ann"
    assert told(here) == ["uma searched the call record and saw 1 calls"]
    (event,) = [event for _, event in here.ledger.events(kinds=(SEARCHED,))]
    assert (event.actor, dict(event.data)) == ("uma", {"text": "订单"})


@pytest.mark.parametrize("role", ["viewer", "requester", "release-manager"])
def test_only_few_may_read_it(here: House, journal: Journal, role: str, tmp_path: Path) -> None:
    journal.write("a text", "a label")
    somebody = Identity(name="ned", role=role)
    (tmp_path / "out").touch()
    for read in (
        lambda: find(here, somebody, Query()),
        lambda: show(here, somebody, "r1"),
        lambda: account(here, somebody, Query()),
        lambda: export(here, somebody, Query(), tmp_path / "out"),
        lambda: ship(here, somebody, Query(), "http://127.0.0.1:9/x", Form.ECS),
        lambda: replay(here, somebody, Query(), tmp_path / "out.csv"),
    ):
        with pytest.raises(Refused, match="ned is .* and may not read the call record"):
            read()
    assert told(here) == [] and [one.name for one in tmp_path.glob("*out*")] == ["out"]


def test_a_call_is_shown_with_its_payload_until_that_is_erased(
    here: House, journal: Journal
) -> None:
    journal.write("it is broken", "support", user="bob")
    journal.write("where is it", "shipping", user="ann")
    (shown,) = show(here, AUDITOR, "r1")
    assert shown.payload is not None and list(shown.payload.input) == ["it is broken"]
    assert msgspec.json.decode(shown.payload.output)["label"] == "support"
    erase(here, ADA, Erasure(namespace="default", user="bob", why="he asked"))
    (shown,) = show(here, AUDITOR, "r1")
    assert shown.payload is None and shown.kept
    assert find(here, AUDITOR, Query(text="broken")) == []
    assert len(find(here, AUDITOR, Query(text="where"))) == 1
    with pytest.raises(NotFound, match="No call is recorded with the id 'r9'"):
        show(here, AUDITOR, "r9")


def test_an_erasure_that_was_interrupted_is_finished_by_the_next(
    here: House, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.write("it is broken", "support", user="bob")
    find(here, AUDITOR, Query())
    erasure = Erasure(namespace="default", user="bob", why="he asked")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tasks.calls._forget", dies)
        with pytest.raises(KeyboardInterrupt):
            erase(here, ADA, erasure)
    assert len(find(here, AUDITOR, Query(text="broken"))) == 1
    assert erase(here, ADA, erasure) == []
    assert find(here, AUDITOR, Query(text="broken")) == []


def test_erasing_a_day_looks_through_that_day_of_the_store_alone(
    here: House, journal: Journal
) -> None:
    journal.write("it is broken", "support")
    assert len(find(here, AUDITOR, Query(text="broken"))) == 1
    day = f"{datetime.fromtimestamp(AT, UTC):%Y-%m-%d}"
    erasure = Erasure(namespace="default", day=day, why="it is old")
    asked = _asked(erasure, int(here.clock() * 1e6))
    assert asked.since_us is not None and asked.until_us is not None
    assert asked.since_us <= AT * 1e6 < asked.until_us <= asked.since_us + DAY_US + 1
    assert erase(here, ADA, erasure) == [("host_g1", 1)]
    assert find(here, AUDITOR, Query(text="broken")) == []


def test_a_request_id_that_was_used_often_is_shown_page_by_page(
    here: House, journal: Journal
) -> None:
    for _ in range(PAGE + 3):
        journal.write("it is broken", "support", id="mine")
    page = show(here, AUDITOR, "mine")
    rest = show(here, AUDITOR, "mine", page[-1].number)
    assert [one.line.sequence for one in (*page, *rest)] == list(range(PAGE + 3, 0, -1))
    assert (len(page), len(rest)) == (PAGE, 3)


def released(here: House, release: Release, at: float, who: str) -> None:
    """Open a release of the second version, judged and approved, by somebody."""
    opened = replace(release, requester=who, opened_at=at)
    here.ledger.open_release(opened, Event(kind="opened", at=at, actor=who, sentence="opened"))
    table = schema.releases
    with here.ledger.database.write() as connection:
        chosen = release_row(judged(opened))["chosen"]
        mine = table.c.id == release.id
        connection.execute(table.update().where(mine).values(chosen=chosen))
    yes = replace(an_approval(judged(opened)), at=at + 1)
    other = replace(yes, who="eve", variant="sha256:another of its variants")
    for one in (yes, other):
        here.ledger.approve(one, Event(kind="approved", at=at + 1, actor=one.who, sentence="yes"))


def move(here: House, kind: str, at: float, release: str = "", generation: int = 0) -> None:
    here.ledger.note(
        Event(
            kind=kind,
            at=at,
            actor="slipway",
            sentence=f"{kind} it",
            data={"generation": generation} if generation else {},
            release=release,
            model="docs-router",
        )
    )


def test_who_released_and_approved_an_answer_is_one_question(here: House, journal: Journal) -> None:
    first = a_release()
    again = replace(first, id="docs-router-2-again")
    chosen = judged(first).chosen
    assert chosen is not None
    digest = chosen.variant.digest
    released(here, first, AT - 900, "rita")
    move(here, "promoted", AT - 800, first.id)
    with here.ledger.database.write() as connection:
        connection.execute(schema.releases.update().values(open_model=None))
    # The same content once more, later: called off before it served anybody.
    released(here, again, AT - 500, "rob")
    move(here, "warming", AT - 400, again.id)
    move(here, "restored", AT - 300, again.id)
    named = {"model": "docs-router", "endpoint": "docs-router", "version": 2}
    journal.write("where is it", "shipping", answered=digest, **named)
    journal.write("of a variant that nobody released", "x", answered="sha256:other", **named)
    found = account(here, AUDITOR, Query(text="where is it", endpoint="docs-router"))
    assert found.release is not None and found.since is not None
    assert (found.release.id, found.release.requester) == (first.id, "rita")
    assert (found.since.kind, found.since.at) == ("promoted", AT - 800)
    assert [(one.who, one.at) for one in found.approvals] == [("max", AT - 899)]
    assert account(here, AUDITOR, Query(text="nobody released")).release is None
    with pytest.raises(NotFound, match="No such call is recorded"):
        account(here, AUDITOR, Query(text="never asked"))
    # Nobody hides who answers by being refused.
    journal.write("refused", "x", outcome="refused", status=403, endpoint="docs-router")
    found = account(here, AUDITOR, Query(endpoint="docs-router", most=1))
    assert found.line.digest == "sha256:other"
    assert account(here, AUDITOR, Query(text="refused")).line.status == 403


def test_what_was_asked_in_vain_answered_nothing(here: House, journal: Journal) -> None:
    journal.write("where is it", "x", answered="sha256:one", version=1)
    failed = {"outcome": "timeout", "status": 504, "version": 2, "id": "late"}
    journal.write("where is it", "x", answered="sha256:two", **failed)
    found = account(here, AUDITOR, Query(text="where is it", most=1)).line
    assert (found.id, found.digest, found.outcome) == ("r1", "sha256:one", "ok")
    found = account(here, AUDITOR, Query(id="late", most=1)).line
    assert (found.id, found.digest, found.outcome) == ("late", "sha256:two", "timeout")


def test_the_routes_that_a_call_went_by_tell_whose_release_it_met(
    here: House, journal: Journal
) -> None:
    first = a_release()
    again = replace(first, id="docs-router-2-again")
    chosen = judged(first).chosen
    assert chosen is not None
    released(here, first, AT - 900, "rita")
    move(here, "promoted", AT - 800, first.id, generation=3)
    with here.ledger.database.write() as connection:
        connection.execute(schema.releases.update().values(open_model=None))
    released(here, again, AT - 500, "rob")
    # By its own clock the call came before that.
    move(here, "step", AT + 5, again.id, generation=5)
    digest = chosen.variant.digest
    for text, generation, arm in (("by the old", 4, "champion"), ("by the new", 5, "canary")):
        named = {"model": "docs-router", "generation": generation, "arm": arm}
        journal.write(text, "x", digest, **named)
    # A copy is the canary's, and answered nobody: it is no answer to who answered.
    named = {"model": "docs-router", "generation": 5, "arm": "shadow", "shadow": True}
    journal.write("by the old", "y", digest, **named)
    copied = account(here, AUDITOR, Query(text="by the old", arm="shadow"))
    assert copied.release is not None and copied.release.requester == "rob"
    for text, requester in (("by the old", "rita"), ("by the new", "rob")):
        found = account(here, AUDITOR, Query(text=text))
        assert found.release is not None and found.release.requester == requester
