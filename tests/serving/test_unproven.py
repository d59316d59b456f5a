"""Calls that prove nobody: no count is lost where the record takes no line for a while."""

import asyncio
from pathlib import Path

import pytest

from infra.calls.vault import Vault
from release.callers import Recording
from release.routes import Routes
from serving.gateway.callers import Callers
from serving.gateway.main import Process
from serving.gateway.recording import CallRecorder, everywhere
from serving.gateway.snapshot import Snapshot, Watch
from serving.gateway.unproven import SECONDS, Unproven
from serving.journal import JournalWriter, NoRoom
from serving.keeping import Keeper
from tests.fakes.call_lines import refused_in


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(JournalWriter(tmp_path, "host/g1"))


def test_what_finds_no_room_is_told_with_what_comes_after(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unproven, later = Unproven(keeper), 4e9
    for _ in range(3):
        unproven.count("docs")

    def full(*_: object, **__: object) -> None:
        raise NoRoom("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(keeper.writer, "write_refused", full)
        unproven.tick(now=later)
    assert refused_in(tmp_path) == []
    unproven.count("")
    unproven.tick(now=later)
    (told,) = refused_in(tmp_path)
    assert (told["refused"], told["unproven"]) == (4, {"docs": 3, "": 1})
    unproven.tick(now=later + 2 * SECONDS)
    unproven.tell()
    assert len(refused_in(tmp_path)) == 1
    keeper.writer.close()


class Hindered(Callers):
    """Looks at callers as they might lie some day: whatever it is, it fails."""

    def look(self) -> bool:
        raise ValueError("as it might")


def test_what_hinders_one_look_hinders_no_other(keeper: Keeper, tmp_path: Path) -> None:
    recorder = CallRecorder(keeper, Vault(tmp_path), everywhere(Recording()))
    unproven = recorder.unproven
    Snapshot(routes=Routes(number=7, routes={})).save(tmp_path)
    watch = Watch(tmp_path)
    process = Process(
        name="g1", watch=watch, keeper=keeper, recorder=recorder, callers=Hindered(tmp_path)
    )
    unproven.count("docs")
    unproven._since = 1.0

    async def once() -> None:
        following = asyncio.create_task(process.keep_following())
        await asyncio.sleep(0)
        following.cancel()

    asyncio.run(once())
    assert watch.current is not None and watch.current.routes.number == 7
    assert len(refused_in(tmp_path)) == 1
    keeper.writer.close()


def test_a_clock_that_was_set_back_puts_nothing_off(keeper: Keeper, tmp_path: Path) -> None:
    unproven = Unproven(keeper)
    unproven.count("docs")
    unproven.tick(now=1.0)
    assert len(refused_in(tmp_path)) == 1
    keeper.writer.close()
