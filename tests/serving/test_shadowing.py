"""What a canary is shown of others' requests: it is judged by it, and no client meets it."""

import asyncio
from dataclasses import replace

import pytest

from infra.calls.lines import CallLine
from release.callers import Capture
from release.evidence import Tally
from release.routes import Guard, Route, Rule
from serving.gateway.dispatch import Call, Dispatcher, Refusal, Reply
from serving.gateway.metrics import Metrics
from serving.gateway.shadowing import LEFT_OUT, MOST_UNDER_WAY
from serving.gateway.table import Endpoint, Table
from serving.journal import tally_of
from serving.replica.messages import Kind
from serving.replica.wire import ReplicaGone
from tests.fakes.notes import Notes
from tests.fakes.wire_replica import standing, variant
from tests.serving.test_dispatch import CANARY, CHAMPION, NONE, Scripted, answers, fails, kind, late
from tests.serving.test_metrics import arm, samples


class Desk:
    """A dispatcher of an endpoint whose canary is in the shadow."""

    def __init__(self, champion: object, canary: object, percent: float = 100.0) -> None:
        route = Route(
            endpoint="tiny",
            generation=1,
            stable=CHAMPION,
            canary=CANARY,
            shadow_percent=percent,
            lease_until=2e10,
            guard=Guard(canary_ms=500, slow_ms=100),
        )
        self.endpoint = Endpoint(route)
        self.notes = Notes()
        pool = Scripted(champion, canary)  # type: ignore[arg-type]
        metrics = Metrics(Table(endpoints={"tiny": self.endpoint}), lambda _arm: True)
        self.dispatcher = Dispatcher(pool, self.notes, metrics)

    async def ask(self, number: int = 0, **more: object) -> Reply | Refusal:
        call = Call(id=str(number), key=str(number), texts=["x"], **more)  # type: ignore[arg-type]
        try:
            return await self.dispatcher.answer(self.endpoint, call)
        except Refusal as error:
            return error

    def ask_all(self, count: int, **more: object) -> list[Reply | Refusal]:
        """Ask so often, one after the other, and wait for what is copied."""

        async def them() -> list[Reply | Refusal]:
            found = [await self.ask(number, **more) for number in range(count)]
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.005)
            return found

        return asyncio.run(them())

    def tally(self, arm: str) -> Tally:
        shares = (one for note in self.notes.records for one in note.counted)
        return sum((tally_of(one) for one in shares if one.digest == arm), Tally())

    @property
    def copies(self) -> list[str]:
        """How copies ended, that have a line."""
        return [one.outcome for one in self.notes.records if one.rule == Rule.SHADOW]


def test_a_canary_is_shown_what_the_champion_has_answered() -> None:
    desk = Desk(answers(), answers())
    found = desk.ask_all(40)
    assert all(isinstance(one, Reply) and one.arm == CHAMPION for one in found)
    assert desk.copies == ["ok"] * 40 and len(desk.notes.records) == 80
    assert desk.tally(CHAMPION.digest) == desk.tally(CANARY.digest) == Tally(requests=40)
    assert desk.endpoint.copies == {"ok": 40}


def test_it_is_shown_its_part_of_them() -> None:
    desk = Desk(answers(), answers(), percent=25)
    desk.ask_all(200)
    assert 30 < len(desk.copies) < 70


def test_a_client_that_calls_all_its_requests_one_id_is_shown_in_part_as_others_are() -> None:
    desk = Desk(answers(), answers(), percent=50)

    async def them() -> None:
        for _ in range(200):
            await desk.ask(7)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.005)

    asyncio.run(them())
    assert 60 < len(desk.copies) < 140


def test_no_client_waits_for_a_copy() -> None:
    async def told() -> list[str]:
        desk = Desk(answers(), answers(0.3))
        async with asyncio.timeout(0.25):
            assert isinstance(await desk.ask(), Reply)
            before = desk.copies
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.005)
        assert desk.tally(CANARY.digest) == Tally(requests=1, slow=1)
        return before

    assert asyncio.run(told()) == []


@pytest.mark.parametrize(
    "how", [ReplicaGone("dead"), kind(Kind.INTERNAL), kind(Kind.TOO_LONG), kind(Kind.OVERLOADED)]
)
def test_what_the_champion_took_and_the_canary_did_not_is_its_failure(how: Exception) -> None:
    desk = Desk(answers(), fails(how))
    found = desk.ask_all(60)
    assert all(isinstance(one, Reply) for one in found), "clients notice nothing"
    # As many as cut it off; after that it is shown nothing more.
    limit = desk.endpoint.route.guard.trip_after
    assert desk.endpoint.tripped == f"{limit} failures in a row, of {limit} at most"
    canary = desk.tally(CANARY.digest)
    assert limit <= canary.requests == canary.failures < 60
    assert desk.tally(CHAMPION.digest) == Tally(requests=60)


def test_a_copy_that_hangs_is_given_the_canarys_time_and_no_more() -> None:
    desk = Desk(answers(), answers(30))
    assert isinstance(desk.ask_all(1)[0], Reply)
    assert desk.copies == ["timeout"]
    assert desk.tally(CANARY.digest) == Tally(requests=1, failures=1)


def test_what_was_only_predicted_is_no_failure() -> None:
    desk = Desk(answers(), fails(late()))
    desk.ask_all(30)
    assert desk.tally(CANARY.digest) == NONE and not desk.endpoint.tripped


@pytest.mark.parametrize("how", [kind(Kind.TOO_LONG), kind(Kind.OVERLOADED), late()])
def test_nothing_is_copied_of_what_says_nothing_of_a_canary(how: Exception) -> None:
    desk = Desk(fails(how), answers())
    assert all(isinstance(one, Refusal) for one in desk.ask_all(10))
    assert desk.copies == [] and desk.endpoint.copies == {}


def test_what_the_champion_failed_at_is_shown_too_and_judged_by_its_own_fault_alone() -> None:
    desk = Desk(fails(kind(Kind.INTERNAL)), fails(kind(Kind.TOO_LONG)))
    desk.ask_all(10)
    assert desk.copies == ["too_long"] * 10 and desk.tally(CANARY.digest) == NONE
    assert desk.tally(CHAMPION.digest) == Tally(requests=10, failures=10)
    desk = Desk(fails(kind(Kind.INTERNAL)), fails(kind(Kind.INTERNAL)))
    desk.ask_all(10)
    assert desk.tally(CANARY.digest) == Tally(requests=10, failures=10)


@pytest.mark.parametrize(
    "more", [{"version": 1}, {"deadline_ms": 900.0}], ids=["pinned", "hurried"]
)
def test_requests_of_which_a_canary_would_meet_none_are_not_copied(more: dict[str, object]) -> None:
    desk = Desk(answers(), answers())
    assert all(isinstance(one, Reply) for one in desk.ask_all(10, **more))
    assert desk.copies == []


@pytest.mark.parametrize("end", ["lease", "tripped"])
def test_copies_end_as_a_share_does(end: str) -> None:
    desk = Desk(answers(), answers())
    if end == "lease":
        desk.endpoint.take(replace(desk.endpoint.route, lease_until=1.0))
    else:
        desk.endpoint.tripped = "25 failures in a row"
    desk.ask_all(10)
    assert desk.copies == []
    assert desk.endpoint.lapsed == (end == "lease")
    assert desk.endpoint.as_json()["shadow"] == 0


def test_copies_beyond_what_may_be_under_way_are_left_out_and_counted() -> None:
    async def them() -> None:
        desk = Desk(answers(), answers(0.3))
        await asyncio.gather(*(desk.ask(number) for number in range(MOST_UNDER_WAY + 20)))
        assert desk.endpoint.copies == {LEFT_OUT: 20}
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.005)
        assert desk.endpoint.copies == {LEFT_OUT: 20, "ok": MOST_UNDER_WAY}

    asyncio.run(them())


def test_a_gateway_that_ends_waits_for_no_copy() -> None:
    async def them() -> None:
        desk = Desk(answers(), answers(30))
        await desk.ask()
        await asyncio.sleep(0.01)
        async with asyncio.timeout(2):
            await desk.dispatcher.close()
        assert desk.copies == ["abandoned"] and len(asyncio.all_tasks()) == 1
        assert desk.tally(CANARY.digest) == NONE

    asyncio.run(them())


def test_what_comes_in_after_the_canary_has_gone_is_not_held_against_it() -> None:
    async def them() -> None:
        desk = Desk(answers(), fails(ReplicaGone("dead"), 0.05))
        await desk.ask()
        gone = replace(desk.endpoint.route, generation=2, canary=None, shadow_percent=0.0)
        desk.endpoint.take(gone)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.005)
        assert desk.copies == ["gone"], "it was asked, and has its line"
        assert desk.tally(CANARY.digest) == NONE

    asyncio.run(them())


def test_a_copy_without_a_line_is_no_evidence() -> None:
    class Full(Notes):
        def note(self, *args: object, rule: str = "", **more: object) -> None:
            if rule == Rule.SHADOW:
                raise Refusal(503, "This call cannot be recorded.")
            super().note(*args, rule=rule, **more)  # type: ignore[arg-type]

    desk = Desk(answers(), answers())
    desk.notes = Full()
    desk.dispatcher = Dispatcher(desk.dispatcher.pool, desk.notes, desk.dispatcher.metrics)
    assert all(isinstance(one, Reply) for one in desk.ask_all(5))
    assert desk.copies == [] and desk.endpoint.copies == {LEFT_OUT: 5}


def test_nothing_is_copied_before_what_it_copies_has_its_line() -> None:
    async def them() -> None:
        desk, written = Desk(answers(), answers()), asyncio.Event()

        async def settle() -> None:
            await written.wait()

        desk.notes.settles = settle
        asked = asyncio.create_task(desk.ask())
        await asyncio.sleep(0.05)
        assert [one.rule for one in desk.notes.records] == [Rule.SOLE], "the client waits still"
        written.set()
        assert isinstance(await asked, Reply)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.005)
        assert desk.copies == ["ok"]

    asyncio.run(them())


def test_what_has_no_line_is_shown_to_nobody() -> None:
    class Full(Notes):
        def note(self, *args: object, rule: str = "", **more: object) -> None:
            if rule != Rule.SHADOW:
                raise Refusal(503, "This call cannot be recorded.")
            super().note(*args, rule=rule, **more)  # type: ignore[arg-type]

    desk = Desk(answers(), answers())
    desk.notes = Full()
    desk.dispatcher = Dispatcher(desk.dispatcher.pool, desk.notes, desk.dispatcher.metrics)
    assert all(isinstance(one, Refusal) for one in desk.ask_all(5))
    assert desk.copies == [] and desk.endpoint.copies == {}


def test_a_copy_has_a_line_of_its_own_under_the_id_that_it_copies() -> None:
    async def them() -> list[CallLine]:
        async with standing(capture=Capture.FULL) as stand:
            stable, canary = variant(1), variant(2)
            await stand.serve(stable, canary, slow=0.3)
            shadowed = replace(
                stand.table.endpoints[stable.model].route,
                generation=2,
                canary_percent=0.0,
                shadow_percent=100.0,
            )
            stand.table.take({stable.model: shadowed})
            answer = await stand.client.post(
                "/predict/tiny", json={"texts": ["one", "beta"]}, headers={"x-request-id": "mine"}
            )
            assert answer.headers["x-slipway-version"] == "1"
            while len(stand.records) < 2:
                await asyncio.sleep(0.005)
            found = samples(await stand.text("/metrics"))
            assert found["shadow_share_ratio{endpoint=tiny}"] == 1
            assert found["shadow_requests_total{endpoint=tiny,outcome=ok}"] == 1
            # What no client asked is counted apart from what clients did.
            assert found["requests_total" + arm(1, outcome="ok")] == 1
            assert found["requests_total" + arm(2, outcome="ok")] == 0
            return stand.records

    own, copy = sorted(asyncio.run(them()), key=lambda one: one.shadow)
    assert (own.shadow, own.arm, own.version, own.rule) == (False, "champion", 1, "sole")
    assert (copy.shadow, copy.arm, copy.version, copy.rule) == (True, "shadow", 2, "shadow")
    # It came when its request did, and was asked about after the champion had answered.
    assert abs(copy.at_us - own.at_us) < 150_000
    assert copy.total_us > own.total_us + 250_000
    assert own.id == copy.id == "mine" and copy.items == 2 and copy.commitment
    assert [one.digest for one in copy.counted] == [variant(2).digest]
