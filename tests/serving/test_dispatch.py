"""Whom a request counts for: the arm that the split drew, and only for what it did."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from release.evidence import Tally
from release.routes import Guard, Route
from serving.gateway.dispatch import Call, Dispatcher, Refusal, Reply
from serving.gateway.metrics import Metrics
from serving.gateway.pool import Pool
from serving.gateway.table import Endpoint, Table
from serving.journal import tally_of
from serving.replica.messages import Answer, Classes, Kind
from serving.replica.wire import ReplicaGone, ReplicaProblem
from tests.fakes.notes import Notes
from tests.fakes.wire_replica import variant

CHAMPION, CANARY = variant(1), variant(2)
FOUND = Classes(labels=["alpha"], scores=[[1.0]])
ANSWER = Answer(id=1, found=FOUND, tokens=1, queue_ms=0, tokenize_ms=0, compute_ms=0)
NONE = Tally()


class Scripted(Pool):
    """A pool without sockets: what an arm does is a coroutine."""

    def __init__(self, champion: Callable[[bool], Awaitable[Answer]], canary: object) -> None:
        super().__init__()
        self.does = {CHAMPION.digest: champion, CANARY.digest: canary}

    async def infer(
        self,
        digest: str,
        texts: list[str],
        seconds: float,
        *,
        wait: bool,
        ids: list[list[int]] | None = None,
    ) -> Answer:
        assert texts and not ids
        async with asyncio.timeout(seconds):
            return await self.does[digest](wait)  # type: ignore[no-any-return, operator]


def answers(seconds: float = 0.0) -> Callable[[bool], Awaitable[Answer]]:
    async def it(_wait: bool) -> Answer:  # noqa: FBT001, as a pool calls it
        await asyncio.sleep(seconds)
        return ANSWER

    return it


def fails(error: Exception, seconds: float = 0.0) -> Callable[[bool], Awaitable[Answer]]:
    async def it(_wait: bool) -> Answer:  # noqa: FBT001, as a pool calls it
        await asyncio.sleep(seconds)
        raise error

    return it


def kind(one: Kind) -> ReplicaProblem:
    return ReplicaProblem(one, "as it should", 1.0)


class Desk:
    def __init__(self, champion: object, canary: object, guard: Guard | None = None) -> None:
        route = Route(
            endpoint="tiny",
            generation=1,
            stable=CHAMPION,
            canary=CANARY,
            canary_percent=50.0,
            lease_until=2e10,
            guard=guard or Guard(),
        )
        self.endpoint = Endpoint(route)
        table = Table(endpoints={"tiny": self.endpoint})
        self.notes = Notes()
        self.pool = Scripted(champion, canary)  # type: ignore[arg-type]
        metrics = Metrics(table, lambda _arm: True)
        self.dispatcher = Dispatcher(self.pool, self.notes, metrics)

    async def ask(self, number: int, *, leaves: float = 0.0, **more: object) -> Reply | None:
        call = Call(id=str(number), key=str(number), texts=["x"], **more)  # type: ignore[arg-type]
        asking = asyncio.create_task(self.dispatcher.answer(self.endpoint, call))
        if leaves:
            await asyncio.sleep(leaves)
            asking.cancel()
        with suppress(Refusal, asyncio.CancelledError):
            return await asking
        return None

    def ask_all(self, count: int, **more: float) -> tuple[Tally, Tally]:
        """Ask with so many keys at once; give what the journal says of champion and canary."""

        async def them() -> None:
            await asyncio.gather(*(self.ask(number, **more) for number in range(count)))

        asyncio.run(them())
        assert len(self.notes.records) == count
        found = [
            [
                tally_of(one)
                for record in self.notes.records
                for one in record.counted
                if one.digest == arm
            ]
            for arm in (CHAMPION.digest, CANARY.digest)
        ]
        champion, canary = (sum(some, Tally()) for some in found)
        return champion, canary


def test_a_canary_that_failed_answers_for_a_client_that_leaves_during_the_rescue() -> None:
    desk = Desk(answers(0.3), fails(ReplicaGone("dead")))
    champion, canary = desk.ask_all(100, leaves=0.05)
    assert champion == NONE
    assert canary.requests == canary.failures > 30
    assert desk.endpoint.tripped


def test_a_canary_that_hangs_answers_for_clients_that_outlast_it_a_little() -> None:
    desk = Desk(answers(0.5), answers(9), Guard(canary_ms=100, deadline_ms=2_000))
    champion, canary = desk.ask_all(60, leaves=0.2)
    assert canary.failures > 15 and champion.failures == 60 - canary.failures


def test_who_leaves_while_the_line_goes_to_the_disk_has_one_line() -> None:
    desk = Desk(answers(), answers())
    desk.notes.settles = lambda: asyncio.sleep(5)
    asyncio.run(desk.ask(1, leaves=0.05))
    assert [one.outcome for one in desk.notes.records] == ["ok"]


def test_short_deadlines_are_evidence_of_nothing() -> None:
    desk = Desk(answers(0.05), answers(0.05))
    assert desk.ask_all(50, deadline_ms=5.0) == (NONE, NONE)
    assert {record.outcome for record in desk.notes.records} == {"timeout"}


def test_who_leaves_at_once_says_nothing() -> None:
    desk = Desk(answers(0.05), answers(0.05))
    assert desk.ask_all(60, leaves=0.001) == (NONE, NONE)
    assert not desk.endpoint.tripped


def test_who_waited_many_times_the_usual_says_something() -> None:
    desk = Desk(answers(), answers(9))
    desk.endpoint.answered(10.0)
    # Long enough that it stays many times the usual where the champion's own answers are held up.
    champion, canary = desk.ask_all(60, leaves=1.0)
    assert champion.failures == 0 and canary.requests == canary.failures > 15
    assert desk.endpoint.tripped


def test_a_full_host_cuts_no_canary_off() -> None:
    desk = Desk(fails(kind(Kind.OVERLOADED)), fails(kind(Kind.OVERLOADED)))
    champion, canary = desk.ask_all(100)
    assert not desk.endpoint.tripped
    assert champion.failures >= canary.failures > 30


def late() -> ReplicaProblem:
    return ReplicaProblem(Kind.OVERLOADED, "it would be late", 2.0, predicted=True)


@pytest.mark.parametrize("champion_too", [False, True])
def test_what_was_only_predicted_counts_against_neither_arm(*, champion_too: bool) -> None:
    desk = Desk(fails(late()) if champion_too else answers(), fails(late()))
    champion, canary = desk.ask_all(100)
    assert canary == NONE and not desk.endpoint.tripped
    assert desk.endpoint.failures_in_a_row == 0
    # Of the others, those that the split gave to the champion, nothing is forgotten.
    assert champion == NONE if champion_too else champion.requests > 30
    assert champion.failures == 0
    assert {one.outcome for one in desk.notes.records} == {"overloaded" if champion_too else "ok"}


def test_a_canary_that_only_feared_to_be_late_is_not_blamed_for_who_leaves_then() -> None:
    desk = Desk(answers(0.3), fails(late()))
    champion, canary = desk.ask_all(60, leaves=0.05)
    assert canary == NONE and champion.failures == 0 and not desk.endpoint.tripped


def test_what_the_champion_was_too_full_to_refuse_is_not_held_against_the_canary() -> None:
    desk = Desk(fails(kind(Kind.OVERLOADED)), fails(kind(Kind.TOO_LONG)))
    _, canary = desk.ask_all(100)
    assert canary == NONE and not desk.endpoint.tripped


def test_a_pinned_champion_is_waited_for_and_a_pinned_canary_is_not() -> None:
    async def comes_back(wait: bool) -> Answer:  # noqa: FBT001, as a pool calls it
        if wait:
            return ANSWER
        raise ReplicaGone("none is ready")

    desk = Desk(comes_back, comes_back)
    assert asyncio.run(desk.ask(1, version=1)) is not None
    assert asyncio.run(desk.ask(2, version=2)) is None
    assert [record.counted for record in desk.notes.records] == [(), ()]


def test_a_pinned_call_that_is_left_is_still_written_down() -> None:
    desk = Desk(answers(1), answers(1))
    asyncio.run(desk.ask(1, leaves=0.05, version=2))
    assert [(one.outcome, one.counted) for one in desk.notes.records] == [("abandoned", ())]


@pytest.mark.parametrize("first", [ReplicaGone("dead"), kind(Kind.INTERNAL)])
def test_a_canarys_failure_outlives_the_routes_that_it_failed_by(first: Exception) -> None:
    desk = Desk(fails(ReplicaGone("moved"), 0.05), fails(first))

    async def work() -> None:
        number = next(n for n in range(99) if desk.endpoint.choose(str(n)) == CANARY)
        asking = asyncio.create_task(desk.ask(number))
        await asyncio.sleep(0.02)
        desk.endpoint.take(replace(desk.endpoint.route, generation=2, canary_percent=0.0))
        desk.pool.does[CHAMPION.digest] = answers()
        await asking
        desk.pool.does[CHAMPION.digest] = answers()

    asyncio.run(work())
    (record,) = desk.notes.records
    failed = [one for one in record.counted if one.digest == CANARY.digest]
    assert [one.failures for one in failed] == [1]
