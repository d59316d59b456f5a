"""Lines that wait for room: who hangs up meanwhile has its line, or is counted, all the same."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from infra.calls.lines import CallLine
from infra.calls.vault import Vault
from release.callers import Recording, WhenFull
from serving.gateway.calling import Call, Reply
from serving.gateway.dispatch import Dispatcher
from serving.gateway.recording import CallRecorder, everywhere
from serving.gateway.refusing import Refusal
from serving.journal import NoRoom
from serving.keeping import Keeper
from tests.fakes.wire_replica import Stand, standing, variant

BLOCK = Recording(when_full=WhenFull.BLOCK)


class Filling(Keeper):
    """A keeper whose disk is full while it is told so."""

    why = ""

    @property
    def trouble(self) -> str:
        return self.why

    def keep(
        self, line: CallLine, sealed: bytes = b"", *, strict: bool = False
    ) -> asyncio.Future[None] | None:
        if self.why:
            raise NoRoom(self.why)
        return super().keep(line, sealed, strict=strict)


Work = Callable[[Stand, Filling], Awaitable[None]]


def with_disk(work: Work, recording: Recording = BLOCK, slow: float = 0.2) -> None:
    """Do something with a gateway whose disk can be full, and a model that takes its time."""

    async def whole() -> None:
        async with standing() as stand:
            await stand.serve(variant(1), slow=slow)
            keeper = Filling(stand.recorder._keeper.writer)
            vault = Vault(stand.folder / "secrets")
            stand.record(CallRecorder(keeper, vault, everywhere(recording)))
            await work(stand, keeper)

    asyncio.run(whole())


def asked(stand: Stand, deadline_ms: float | None = None) -> asyncio.Task[Reply]:
    """Ask the model, as a client does that can hang up."""
    dispatcher = Dispatcher(stand.pool, stand.recorder, stand.metrics)
    call = Call(id="x", key="x", texts=["alpha"], deadline_ms=deadline_ms)
    return asyncio.ensure_future(dispatcher.answer(stand.table.endpoints["tiny"], call))


async def hang_up(task: asyncio.Task[Reply]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("computed", [False, True])
def test_who_hangs_up_before_there_is_room_has_its_line(*, computed: bool, strict: bool) -> None:
    async def work(stand: Stand, keeper: Filling) -> None:
        running = asyncio.ensure_future(keeper.run())
        task = asked(stand)
        await asyncio.sleep(0.1)
        keeper.why = "the disk is full"
        if computed:
            replica = stand.replicas[variant(1).digest]
            await until(lambda: bool(replica.asked))
            await asyncio.sleep(0.1)
        await hang_up(task)
        assert stand.records == []
        keeper.why = ""
        await until(lambda: bool(stand.records))
        assert [one.outcome for one in stand.records] == ["ok" if computed else "abandoned"]
        assert keeper.refused == 0
        running.cancel()

    recording = Recording(when_full=WhenFull.BLOCK, strict=strict)
    with_disk(work, recording, slow=0.2 if computed else 5.0)


def test_who_hangs_up_and_never_finds_room_is_counted_once() -> None:
    async def work(stand: Stand, keeper: Filling) -> None:
        task = asked(stand, deadline_ms=500)
        await asyncio.sleep(0.1)
        keeper.why = "the disk is full"
        await hang_up(task)
        assert keeper.refused == 0
        await until(lambda: keeper.refused > 0)
        await asyncio.sleep(0.1)
        assert (keeper.refused, stand.records) == (1, [])

    with_disk(work)


def test_who_hangs_up_before_the_model_is_asked_is_counted() -> None:
    async def work(stand: Stand, keeper: Filling) -> None:
        keeper.why = "the disk is full"
        task = asked(stand)
        await asyncio.sleep(0.1)
        await hang_up(task)
        assert (keeper.refused, stand.records) == (1, [])
        assert stand.replicas[variant(1).digest].budgets == []

    with_disk(work)


@pytest.mark.parametrize("room", [False, True])
def test_a_gateway_that_ends_lets_no_call_go_unnoticed(*, room: bool) -> None:
    async def work(stand: Stand, keeper: Filling) -> None:
        task = asked(stand)
        await asyncio.sleep(0.1)
        keeper.why = "the disk is full"
        await hang_up(task)
        if room:
            keeper.why = ""
        started = time.monotonic()
        await stand.recorder.close()
        assert time.monotonic() - started < 2
        assert (len(stand.records), keeper.refused) == (int(room), int(not room))

    with_disk(work, slow=5.0)


def test_who_hangs_up_from_a_strict_model_leaves_nothing_behind() -> None:
    async def work(stand: Stand, keeper: Filling) -> None:
        task = asked(stand)
        await asyncio.sleep(0.1)
        await hang_up(task)
        assert [one.outcome for one in stand.records] == ["abandoned"]

    with_disk(work, Recording(strict=True), slow=5.0)


def test_a_strict_call_waits_for_the_disk_until_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda _file: goes_on.wait(10))

    async def work(stand: Stand, keeper: Filling) -> None:
        running = asyncio.ensure_future(keeper.run())
        started = time.monotonic()
        with pytest.raises(Refusal, match="in time") as refused:
            await asked(stand, deadline_ms=500)
        assert 0.4 < time.monotonic() - started < 3
        assert (refused.value.status, refused.value.recorded) == (503, True)
        # It has its line, and is not counted among those that could have none.
        assert ([one.outcome for one in stand.records], keeper.refused) == (["ok"], 0)
        # What was refused anyway waits no longer for its line.
        body = {"text": 7}
        assert (await stand.client.post("/predict/tiny", json=body, timeout=3)).status_code == 400
        goes_on.set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    with_disk(work, Recording(strict=True), slow=0.1)
