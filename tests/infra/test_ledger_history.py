from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from infra.ledger import Change, Ledger
from infra.ledger.rows import event_row, release_row
from infra.ledger.schema import events, releases
from release.errors import Conflict, Invalid, NotFound, Unavailable
from release.releases import Phase
from tests.fakes.nouns import a_release, a_report, an_approval, variant
from tests.infra.world import MODEL, an_event, claimed, closed, opened


def test_a_release_opens_with_its_first_event_and_is_found_again(ledger: Ledger) -> None:
    release = opened(ledger)
    assert ledger.release(release.id) == release
    assert ledger.releases(MODEL, open_only=True) == [release]
    [(_, event)] = ledger.events(release.id)
    assert event.kind == "opened"


def test_a_model_has_one_open_release_at_most(ledger: Ledger) -> None:
    release = opened(ledger, 2)
    with pytest.raises(Conflict, match=release.id):
        opened(ledger, 3)
    assert ledger.releases() == [release]
    assert len(ledger.events()) == 1


def test_the_tables_themselves_refuse_a_second_open_release(ledger: Ledger) -> None:
    release = opened(ledger)
    other = release_row(replace(release, id="another"))
    with pytest.raises(Conflict, match="own rules"), ledger.database.write() as connection:
        connection.execute(sa.insert(releases).values(other))


def test_after_one_closed_the_next_opens_and_ids_are_never_taken_again(ledger: Ledger) -> None:
    first = closed(ledger, opened(ledger, 2))
    with pytest.raises(Conflict, match="exists"):
        ledger.open_release(a_release(2), an_event("opened", release=first.id))
    second = opened(ledger, 3)
    assert ledger.releases() == [first, second]
    assert ledger.releases(open_only=True) == [second]
    assert ledger.releases("another") == []


def test_a_release_that_would_put_back_a_former_champion_does_not_open(ledger: Ledger) -> None:
    claim, before = claimed(ledger), ledger.desired(MODEL)
    moved = Change(desired=replace(before, champion=variant(1)), expected=0)
    ledger.commit(claim, moved, 100.0)
    with pytest.raises(Conflict, match="moved while"):
        ledger.open_release(a_release(2, stable=None), an_event("opened"))
    assert opened(ledger).stable == variant(1)


def test_a_release_that_is_missing_is_named_with_those_that_are_there(ledger: Ledger) -> None:
    with pytest.raises(NotFound, match="none yet"):
        ledger.release("nothing")
    release = opened(ledger)
    with pytest.raises(NotFound) as found:
        ledger.release("nothing")
    assert release.id in found.value.hint


def test_events_are_numbered_in_order_and_can_be_read_on_from_any(ledger: Ledger) -> None:
    release = opened(ledger)
    for kind in ("built", "measured"):
        assert ledger.note(an_event(kind, release=release.id))
    assert ledger.note(an_event("image", model="another"))
    numbers = [number for number, _ in ledger.events()]
    assert numbers == sorted(set(numbers)) and len(numbers) == 4
    assert [event.kind for _, event in ledger.events(release.id)] == ["opened", "built", "measured"]
    assert [event.kind for _, event in ledger.events(model="another")] == ["image"]
    assert [event.kind for _, event in ledger.events(after=numbers[1])] == ["measured", "image"]


def test_an_event_with_a_key_is_told_once_a_release(ledger: Ledger) -> None:
    first = closed(ledger, opened(ledger, 2))
    second = opened(ledger, 3)
    assert ledger.note(an_event("built", release=first.id), once="built:int8")
    assert not ledger.note(an_event("built", release=first.id), once="built:int8")
    assert ledger.note(an_event("built", release=first.id), once="built:fp32")
    assert ledger.note(an_event("built", release=second.id), once="built:int8")
    assert ledger.note(an_event("image"), once="x") and not ledger.note(an_event("image"), once="x")
    with pytest.raises(NotFound, match="nobody"):
        ledger.note(an_event("built", release="nobody"))


def test_an_answer_and_its_event_are_kept_together_and_given_once(ledger: Ledger) -> None:
    release = opened(ledger)
    yes = an_approval(release)
    ledger.approve(yes, an_event("approved", release=release.id))
    with pytest.raises(Conflict, match="max has answered .* yes"):
        ledger.approve(replace(yes, granted=False), an_event("rejection", release=release.id))
    other = replace(yes, report="sha256:later")
    ledger.approve(other, an_event("approved", release=release.id))
    ledger.approve(replace(yes, who="mia"), an_event("approved", release=release.id))
    assert ledger.approvals(release.id) == [yes, other, replace(yes, who="mia")]
    assert [event.kind for _, event in ledger.events(release.id)].count("approved") == 3
    assert all(event.kind != "rejection" for _, event in ledger.events())


def test_a_closed_or_missing_release_takes_no_answer(ledger: Ledger) -> None:
    release = opened(ledger)
    closed(ledger, release, Phase.ROLLED_BACK)
    with pytest.raises(Conflict, match="rolled-back"):
        ledger.approve(an_approval(release), an_event("approved"))
    with pytest.raises(NotFound):
        ledger.approve(replace(an_approval(release), release="nothing"), an_event("approved"))


def test_the_first_report_on_a_variant_stays(ledger: Ledger) -> None:
    release = opened(ledger)
    first = a_report(0.9, low=0.88, high=0.92, difference=(0.01, -0.01, 0.03))
    second = a_report(0.8, low=0.78, high=0.82, recipe="torch-fp32")
    for report in (first, second, first):
        ledger.add_report(release.id, report)
    assert ledger.reports(release.id) == [first, second]
    assert [one.digest for one in ledger.reports(release.id)] == [first.digest, second.digest]
    with pytest.raises(Conflict, match=first.digest):
        ledger.add_report(release.id, a_report(0.95, low=0.93, high=0.97))
    with pytest.raises(NotFound):
        ledger.add_report("nothing", first)
    assert ledger.reports(release.id) == [first, second]


@pytest.mark.parametrize("table", ["events", "approvals"])
def test_history_cannot_be_rewritten(ledger: Ledger, table: str) -> None:
    release = opened(ledger)
    ledger.approve(an_approval(release), an_event("approved", release=release.id))
    before = ledger.events(), ledger.approvals(release.id)
    own = "INSERT OR REPLACE INTO {0} SELECT * FROM {0}"
    for statement in (
        "UPDATE {0} SET at = 2",
        "DELETE FROM {0}",
        own if ledger.database.is_sqlite else "TRUNCATE {0} CASCADE",
    ):
        with (
            pytest.raises((Conflict, Unavailable), match="append-only"),
            ledger.database.write() as connection,
        ):
            connection.exec_driver_sql(statement.format(table))
    assert (ledger.events(), ledger.approvals(release.id)) == before


def test_a_text_that_the_database_cannot_hold_is_refused_as_input(ledger: Ledger) -> None:
    odd = replace(an_event(), sentence="\0")
    if ledger.database.is_sqlite:
        ledger.note(odd)
        assert [event for _, event in ledger.events()] == [odd]
    else:
        with pytest.raises(Invalid, match="NUL"):
            ledger.note(odd)


def test_events_are_read_by_kind(ledger: Ledger) -> None:
    for kind in ("built", "measured", "built", "judged"):
        ledger.note(an_event(kind))
    kinds = [event.kind for _, event in ledger.events(kinds=("built", "judged"))]
    assert kinds == ["built", "built", "judged"]
    assert ledger.events(model="another", kinds=("built",)) == []
    assert len(ledger.events()) == 4


def test_events_of_a_kind_are_found_without_reading_the_others(ledger: Ledger) -> None:
    rows = [event_row(an_event("step")) for _ in range(5_000)]
    for _ in range(2):
        with ledger.database.write() as connection:
            connection.execute(sa.insert(events), rows)
        ledger.note(an_event("erasing"))
    with ledger.database.write() as connection:
        connection.execute(sa.insert(events), rows)
    for analyzed in (False, True):
        if analyzed:
            with ledger.database.write() as connection:
                connection.exec_driver_sql("ANALYZE")
        for after, found in ((0, 2), (5_001, 1), (10_002, 0)):
            assert _looked_at(ledger, kinds=("erasing",), after=after) < 10
            assert len(ledger.events(kinds=("erasing",), after=after)) == found


def _looked_at(ledger: Ledger, **asked: Any) -> int:
    """Count the events that the database looks at for a question; many where it counts none."""
    statements = list[tuple[str, Any]]()

    def hear(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        statements.append((statement, values))

    engine = ledger.database.engine
    sa.event.listen(engine, "before_cursor_execute", hear)
    ledger.events(**asked)
    sa.event.remove(engine, "before_cursor_execute", hear)
    ((statement, values),) = [one for one in statements if "FROM events" in one[0]]
    with ledger.database.read() as connection:
        if ledger.database.is_sqlite:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            wanted = "SEARCH events USING INDEX ix_events_kind (kind=? AND seq>?)"
            return 0 if [row[3] for row in plan] == [wanted] else 10_000
        plans = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
        return _rows(connection.exec_driver_sql(plans, values).scalar_one()[0]["Plan"])


def _rows(plan: dict[str, Any]) -> int:
    """Add up what a plan of PostgreSQL's has read, and thrown away again."""
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    return int(own) + sum(_rows(one) for one in plan.get("Plans", ()))
