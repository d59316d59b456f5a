"""Payloads that take long to redact: nobody else waits for them, and none is lost over it."""

import asyncio
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra.calls.vault import Vault
from release.callers import Capture, Recording, WhenFull
from release.routes import Rule
from serving.gateway.calling import Call
from serving.gateway.dispatch import Dispatcher
from serving.gateway.recording import CallRecorder, everywhere
from serving.gateway.refusing import Failure, Refusal
from serving.gateway.sealing import Asked, Sealing
from tests.fakes.wire_replica import Stand, standing, variant
from tests.serving.test_recording import entries

LONG = ["ann@example.com " + "1 " * 49_000] * 5
LEFT = ["[email] " + "1 " * 49_000] * 5


async def longest_pause(work: asyncio.Future[Any]) -> float:
    """Give the most processor time, in seconds, that went by without anybody else's turn."""
    longest, before = 0.0, time.thread_time()
    while not work.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, before = max(longest, now - before), now
    return longest


def asked(stand: Stand, texts: list[str], deadline_ms: float | None = None) -> asyncio.Task[object]:
    dispatcher = Dispatcher(stand.pool, stand.recorder, stand.metrics)
    call = Call(id="x", key="x", texts=texts, deadline_ms=deadline_ms)
    return asyncio.ensure_future(dispatcher.answer(stand.table.endpoints["tiny"], call))


def test_a_long_text_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    async def whole() -> None:
        sealing, call = Sealing(Vault(tmp_path)), Call(id="x", key="x", texts=LONG)
        recording = Recording(capture=Capture.REDACTED)
        one = Asked(namespace="default", recording=recording, call=call, answer=None, at=0.0)
        assert sealing.at_once(one) is None
        later = time.monotonic() + 60
        ten = asyncio.gather(*(sealing.in_turns(one, later) for _ in range(10)))
        # Four times as much as one text takes; those of a call, or one of each, take more.
        assert await longest_pause(ten) < 0.08
        assert [found.capture for found in await ten] == ["redacted"] * 10

    asyncio.run(whole())


def test_the_first_call_of_a_day_waits_for_its_key_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.gateway.sealing.PROBE_SECONDS", 60.0)

    async def whole() -> None:
        sealing, call = Sealing(Vault(tmp_path)), Call(id="x", key="x", texts=["a"])
        recording = Recording(capture=Capture.FULL)
        one = Asked(namespace="default", recording=recording, call=call, answer=None, at=0.0)
        assert sealing.at_once(one) is None
        async with asyncio.timeout(20):
            assert (await sealing.in_turns(one, time.monotonic() + 15)).capture == "full"

    asyncio.run(whole())


def test_what_a_client_waits_for_is_looked_through_before_copies_that_came_first(
    tmp_path: Path,
) -> None:
    async def whole() -> None:
        sealing, call = Sealing(Vault(tmp_path)), Call(id="x", key="x", texts=LONG)
        recording = Recording(capture=Capture.REDACTED)
        own = Asked(namespace="default", recording=recording, call=call, answer=None, at=0.0)
        copy = msgspec.structs.replace(own, waited_for=False)
        later = time.monotonic() + 60
        copies = [asyncio.ensure_future(sealing.in_turns(copy, later)) for _ in range(5)]
        await asyncio.sleep(0.05)
        assert (await sealing.in_turns(own, later)).capture == "redacted"
        assert not any(one.done() for one in copies)
        assert [found.capture for found in await asyncio.gather(*copies)] == ["redacted"] * 5
        # One whose time is over is hashed, as any call is.
        held = asyncio.ensure_future(sealing.in_turns(own, later))
        await asyncio.sleep(0)
        soon = time.monotonic() + 0.05
        assert (await sealing.in_turns(copy, soon)).capture == "hash"
        assert not held.done()
        await held

    asyncio.run(whole())


def test_a_copy_that_a_canary_was_shown_gives_way_to_what_clients_wait_for() -> None:
    async def whole() -> None:
        async with standing(capture=Capture.REDACTED) as stand:
            await stand.serve(variant(1))
            route, call = stand.table.endpoints["tiny"].route, Call(id="x", key="x", texts=LONG)
            # The first makes the key of the day.
            await stand.client.post("/predict/tiny", json={"texts": ["one"]})
            now, held = time.monotonic(), []
            for rule in (Rule.SHADOW, Rule.SOLE):
                said = stand.recorder.note(
                    call,
                    route,
                    variant(1),
                    Failure(kind="timeout", message=""),
                    counted=(),
                    why="",
                    started=now,
                    until=now + 60,
                    rule=rule,
                )
                assert said is not None
                held.append(said)
                await asyncio.sleep(0.01)
            for one in held:
                await one
            assert [one.rule for one in stand.records[1:]] == [Rule.SOLE, Rule.SHADOW]

    asyncio.run(whole())


def test_what_takes_long_to_redact_is_written_in_order_before_it_is_answered() -> None:
    async def whole() -> None:
        async with standing(capture=Capture.REDACTED) as stand:
            await stand.serve(variant(1), deadline_ms=60_000)
            tasks = [asked(stand, LONG) for _ in range(3)]
            await asyncio.wait(tasks)
            # The model found them too long; they were asked all the same.
            assert [str(one.exception())[:6] for one in tasks] == ["A text"] * 3
            found = entries(stand)
            assert [line.sequence for line, _ in found] == [1, 2, 3]
            assert [line.capture for line, _ in found] == ["redacted"] * 3
            assert all(payload is not None and payload.input == LEFT for _, payload in found)

    asyncio.run(whole())


@pytest.mark.parametrize("ends", [False, True])
def test_what_is_not_redacted_in_time_is_hashed(*, ends: bool) -> None:
    async def whole() -> None:
        async with standing(capture=Capture.REDACTED) as stand:
            await stand.serve(variant(1))
            task = asked(stand, LONG, deadline_ms=60_000 if ends else 20)
            while not stand.replicas[variant(1).digest].asked:
                await asyncio.sleep(0.001)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            if ends:
                await stand.recorder.close()
            async with asyncio.timeout(5):
                while not entries(stand):
                    await asyncio.sleep(0.01)
            ((line, payload),) = entries(stand)
            assert line.capture == "hash" and payload is not None
            assert len(payload.input) == 5 and payload.input != LONG

    asyncio.run(whole())


def test_a_days_key_is_made_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    synced_by: list[int] = []
    real = os.fsync

    def fsync(file: int) -> None:
        synced_by.append(threading.get_ident())
        real(file)

    async def whole() -> None:
        async with standing(capture=Capture.FULL) as stand:
            await stand.serve(variant(1))
            monkeypatch.setattr(os, "fsync", fsync)
            answers = await asyncio.gather(*(asked(stand, ["alpha"]) for _ in range(20)))
            assert len(answers) == len(entries(stand)) == 20
            assert synced_by and threading.get_ident() not in synced_by
            # One for the master key and one for the day's, with their folders.
            assert len(synced_by) == 4

    asyncio.run(whole())


@pytest.mark.parametrize("when", list(WhenFull))
def test_a_key_that_cannot_be_made_is_waited_for_where_calls_wait(when: WhenFull) -> None:
    async def whole() -> None:
        async with standing() as stand:
            await stand.serve(variant(1))
            place = stand.folder / "kept"
            place.write_text("in the way")
            recording = Recording(capture=Capture.FULL, when_full=when)
            keeper = stand.recorder._keeper
            stand.record(CallRecorder(keeper, Vault(place / "secrets"), everywhere(recording)))
            task = asked(stand, ["alpha"])
            await asyncio.sleep(0.3)
            assert task.done() == (when is WhenFull.REFUSE)
            place.unlink()
            await asyncio.wait([task])
            refused = isinstance(task.exception(), Refusal)
            assert refused == (when is WhenFull.REFUSE)
            assert (len(stand.records), keeper.refused) == (int(not refused), int(refused))

    asyncio.run(whole())
