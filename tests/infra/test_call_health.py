"""An indexer says what is amiss with the call store, since when and how far it is behind."""

import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from infra.calls.health import MISSING, NOT_DONE, Health
from infra.calls.indexing import Indexer, turn
from infra.calls.lag import Lag, lag
from infra.calls.postgres import PostgresCalls
from infra.calls.segments import Place
from infra.calls.sqlite import CallStore
from infra.processes import free_port
from infra.settings import Settings, inherited
from infra.sockets import INDEXER, Voice, hear, sockets_under
from infra.troubles import Trouble, Troubles, read
from release.errors import Unavailable
from tests.infra import postgres
from tests.infra.test_call_store import Plain, World

NOT_FOLDED = NOT_DONE["fold"]
_numbers = count(1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = CallStore(tmp_path / "calls.db")
    made = World(tmp_path, store)
    made.indexer.health.folder = tmp_path / "journal"
    yield made
    store.close()


def test_a_trouble_has_begun_when_it_was_first_noted_and_ends_by_itself() -> None:
    moments = iter([1.0, 2.0, 3.0])
    troubles = Troubles(lambda: next(moments))
    assert troubles.note("this", "because") and not troubles.note("this", "because")
    assert troubles.note("this", "because of something else")
    assert troubles.note("that", "whyever")
    assert [(one.what, one.since) for one in troubles.all()] == [("this", 1.0), ("that", 2.0)]
    troubles.keep({"that": "whyever"})
    assert troubles.all() == [Trouble(what="that", why="whyever", since=2.0)]
    assert not troubles.note("that", "") and troubles.all() == []
    assert read("no list") == read([{"what": 1}]) == []


def test_a_voice_is_heard_whatever_its_process_waits_for_and_ends_with_it(tmp_path: Path) -> None:
    place = tmp_path / "one.sock"
    assert hear(place) is None

    def fails() -> dict[str, Any]:
        raise ValueError("no")

    answers = [(lambda: {"well": True}, {"well": True}), (fails, {"failed": "ValueError('no')"})]
    for says, said in answers:
        voice = Voice(place, says)
        # Whoever connects and does not read keeps it from nobody for long.
        with socket.socket(socket.AF_UNIX) as idle:
            idle.connect(str(place))
            assert hear(place, 5) == hear(place, 5) == said
        voice.close()
        assert hear(place) is None and not place.exists()


def test_how_much_is_not_folded_is_counted_over_segments_and_gateways(world: World) -> None:
    folder = world.root / "journal"
    assert lag(folder, {}) == Lag()
    for number in range(5):
        world.write("x" * 400, segment=1 + number // 2)
    world.write("x" * 400, gateway="g2", at=2.5)
    size = sum(one.stat().st_size for one in folder.rglob("*.jsonl"))
    assert lag(folder, {}) == Lag(calls=6, bytes=size, since=1.0)
    assert world.indexer.fold() == 6
    assert world.indexer.health.places == world.store.places()
    assert lag(folder, world.store.places()) == Lag()
    last = world.write("x" * 400, segment=4, at=7.0)
    with (folder / "g1" / "00000004.jsonl").open("ab") as file:
        file.write(b'{"window":1,"tallies":{}}\n')
    size = (folder / "g1" / "00000004.jsonl").stat().st_size
    assert lag(folder, world.store.places()) == Lag(calls=1, bytes=size, since=last.at_us / 1e6)


def test_a_long_way_behind_is_counted_without_reading_it_all(world: World) -> None:
    for number in range(30):
        world.write("x" * 100_000, at=float(number + 1))
    folder = world.root / "journal"
    world.indexer.fold(most=1)
    found = lag(folder, world.store.places())
    assert (found.calls, found.since) == (29, 2.0) and found.bytes > 29 * 200_000


def troubles(indexer: Indexer) -> dict[str, str]:
    return {one.what: one.why for one in read(indexer.health.as_json()["troubles"])}


def test_a_segment_that_cannot_be_read_keeps_no_other_gateway_from_the_store(world: World) -> None:
    world.write("of the first", gateway="g1")
    world.write("of the second", gateway="g2")
    path = world.root / "journal" / "g1" / "00000001.jsonl"
    aside = path.rename(path.with_suffix(".aside"))
    path.mkdir()
    assert world.indexer.fold() == 1 and world.found("of the second") == ["g2-1"]
    (what, why), *others = troubles(world.indexer).items()
    assert what == "calls of g1 are not folded" and f"{path} cannot be read: Is a dir" in why
    assert others == [] and world.indexer.health.failures["read"] == 1
    path.rmdir()
    aside.rename(path)
    assert world.indexer.fold() == 1 and world.found("of the first") == ["g1-1"]
    assert troubles(world.indexer) == {}


def test_what_will_never_be_folded_is_told_as_long_as_the_indexer_runs(world: World) -> None:
    world.write("before the gap", segment=1)
    world.write("behind the gap", segment=3)
    world.indexer.fold()
    with (world.root / "journal" / "g1" / "00000003.jsonl").open("ab") as file:
        file.write(b'{"call":"no call"}\n')
    world.indexer.fold()
    world.indexer.fold()
    told = troubles(world.indexer)
    assert "segment 2 of g1 cannot be indexed" in told.pop(MISSING)
    ((what, why),) = told.items()
    assert "cannot be read" in what and why.startswith("1 lines or payloads")


def test_a_store_that_somebody_holds_is_named_until_it_is_let_go(world: World) -> None:
    world.write("some words")
    health, fold = world.indexer.health, lambda: world.indexer.fold(wait=0.05)
    world.indexer.fold()
    world.write("more words")
    with sqlite3.connect(world.root / "calls.db", isolation_level=None) as other:
        other.execute("begin immediate")
        for _ in range(2):
            with pytest.raises(Unavailable):
                health.watched("fold", fold)
        (one,) = read(health.as_json()["troubles"])
        assert one.what == NOT_FOLDED and "others write there for 0.05 s. (end whoever" in one.why
        assert time.time() - one.since < 5 and health.failures["fold"] == 2
        other.execute("rollback")
    other.close()
    health.watched("fold", fold)
    assert troubles(world.indexer) == {} and health.as_json()["folded"] == 2


@contextmanager
def indexing(settings: Settings, **more: str) -> Iterator[Callable[[], dict[str, Any]]]:
    """Run an indexer; gives what asks it how it stands."""
    place = sockets_under(settings.run) / INDEXER
    with (settings.root / "indexer.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.calls.indexing"],
            env=inherited(SLIPWAY_HOME=str(settings.root), **more),
            stderr=log,
        )
    try:
        yield lambda: hear(place, 5) or {}
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert not place.exists()


def until(true: Callable[[], Any], seconds: float = 40) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
    return found


def not_folded(said: dict[str, Any]) -> str:
    return {one.what: one.why for one in read(said.get("troubles"))}.get(NOT_FOLDED, "")


def is_well(said: dict[str, Any], folded: int) -> bool:
    waits = (said.get("behind") or {}).get("bytes")
    return said.get("folded") == folded and said["troubles"] == [] and waits == 0


@pytest.fixture
def journal(tmp_path: Path) -> World:
    """A home's journal, whose indexer is another process."""
    return World(tmp_path, None)


def test_a_full_disk_and_a_broken_file_are_named_and_mended(journal: World) -> None:
    settings = Settings(home=journal.root)
    journal.write()
    with indexing(settings) as ask:
        until(lambda: is_well(ask(), 1))
        assert ask()["store"] == str(settings.call_store)
        pid = ask()["pid"]
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        # As a full disk does: nothing more goes into any file.
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
        journal.write(at=time.time())
        why = until(lambda: not_folded(ask()))
        assert "cannot be written" in why and "(make room on its disk" in why
        assert ask()["behind"]["calls"] == 1
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        until(lambda: is_well(ask(), 2))
        assert ask()["failures"]["fold"] >= 1
        for ending in ("", "-wal", "-shm"):
            settings.call_store.with_name(f"calls.db{ending}").unlink(missing_ok=True)
        settings.call_store.write_bytes(b"no store at all " * 1_000)
        why = until(lambda: not_folded(ask()))
        assert "(move it away; it is made anew from the segments)" in why
        settings.call_store.unlink()
        until(lambda: is_well(ask(), 4))


def test_a_store_that_cannot_be_opened_at_first_is_named_until_it_can(journal: World) -> None:
    settings = Settings(home=journal.root)
    settings.call_store.mkdir(parents=True)
    journal.write(at=1.0)
    with indexing(settings) as ask:
        assert "cannot be opened" in until(lambda: not_folded(ask()))
        assert ask()["behind"] is None, "the store alone knows"
        settings.call_store.rmdir()
        until(lambda: is_well(ask(), 1))


def test_a_database_that_lets_nobody_in_is_named_until_it_does(
    journal: World, postgres_server: str
) -> None:
    settings, name = Settings(home=journal.root), f"health_{next(_numbers)}"
    url = postgres.create_database(postgres_server, name)
    journal.write(at=1.0)
    with indexing(settings, SLIPWAY_CALLS_URL=url.replace("@", ":secret@")) as ask:
        until(lambda: is_well(ask(), 1))
        assert ask()["store"] == url.replace("@", ":***@")
        postgres.shut(postgres_server, name, shut=True)
        journal.write(at=time.time())
        why = until(lambda: not_folded(ask()))
        assert f"{name} does not answer" in why or "not currently accepting" in why
        assert "SLIPWAY_CALLS_URL" in why and "secret" not in str(ask())
        since = read(ask()["troubles"])[0].since
        until(lambda: ask()["failures"]["fold"] >= 2)
        assert read(ask()["troubles"])[0].since == since and ask()["behind"]["calls"] == 1
        postgres.shut(postgres_server, name, shut=False)
        until(lambda: is_well(ask(), 2))


def test_a_database_that_stands_still_is_told_while_it_is_waited_for(
    journal: World, postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.calls.health.LATE_SECONDS", 0.5)
    url = postgres.create_database(postgres_server, f"health_{next(_numbers)}")
    store = PostgresCalls(url, "a home")
    indexer = Indexer(journal.root / "journal", store, Plain(), say=lambda _: None)
    indexer.health = Health(journal.root / "journal")
    with store._link.talking() as db:
        pid = db.info.backend_pid
    turning = Thread(target=lambda: turn(indexer, [], 0.0))
    with ExitStack() as stack:
        os.kill(pid, signal.SIGSTOP)
        stack.callback(os.kill, pid, signal.SIGCONT)
        turning.start()
        why = until(lambda: not_folded(indexer.health.as_json()))
        assert "the call store has not answered for 1 s (see whether it runs)" in why
    turning.join(30)
    assert troubles(indexer) == {} and indexer.health.failures["fold"] == 0
    store.close()


def test_calls_that_wait_for_long_are_told_whatever_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "journal" / "g1").mkdir(parents=True)
    journal = World(tmp_path, None)
    journal.write(at=time.time() - 100)
    health = Health(tmp_path / "journal", places={"g1": Place(gateway="g1")})
    health.doing, health.since = "settle", time.time() - 70
    ((what, why),) = {one.what: one.why for one in read(health.as_json()["troubles"])}.items()
    assert what == NOT_FOLDED and why.startswith("1 calls wait; for 70 s it has been at: settle")
    health.failed("fold", "The store is away.")
    assert [one.why for one in read(health.as_json()["troubles"])] == ["The store is away."]


def test_a_database_that_is_not_there_is_told_in_one_line() -> None:
    with pytest.raises(Unavailable) as found:
        PostgresCalls(f"postgresql://x@127.0.0.1:{free_port('127.0.0.1')}/y", "a home")
    said = str(found.value)
    assert "\n" not in said and "Connection refused. (see whether it runs, and" in said


def test_a_disk_that_fills_up_within_a_batch_is_called_full(world: World) -> None:
    world.write("some words")
    world.indexer.fold()
    world.store.select("pragma max_page_count = 60", [])
    world.store.select("pragma cache_size = 5", [])
    for number in range(40):
        world.write(f"{number} " * 3_000)
    with pytest.raises(Unavailable, match="disk is full. \\(make room on its disk"):
        world.indexer.fold()
    world.store.select("pragma max_page_count = 100000", [])
    assert world.indexer.fold() == 40
