"""What is signed is on the disk: names too, and what a failed sync may have dropped."""

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.calls.checkpoints import Signer
from infra.calls.erase import overwrite, payloads
from infra.calls.proofs import Known
from infra.calls.vault import Vault
from infra.calls.verify import beside, prove, segments_in
from serving import journal, keeping
from serving.journal import JournalWriter, NoRoom
from serving.keeping import Keeper
from tests.fakes.call_lines import a_call
from tests.fakes.journals import end, write_call
from tests.serving.test_journal import full

real_fdatasync, real_fsync, real_close = os.fdatasync, os.fsync, os.close


class Dropping:
    """A disk that fails a few syncs, and drops what it was to write, as Linux may do.

    What it drops reads as zeros from then on, and later syncs succeed without a word of it.
    """

    def __init__(self, fails: int) -> None:
        self.fails = fails
        self._safe: dict[int, int] = {}
        """Inode to bytes that were written for good."""

    def sync(self, file: int) -> None:
        found = os.fstat(file)
        if self.fails and found.st_size > self._safe.get(found.st_ino, 0):
            self.fails -= 1
            begins = self._safe.get(found.st_ino, 0)
            with Path(f"/proc/self/fd/{file}").readlink().open("r+b") as dropped:
                dropped.seek(begins)
                dropped.write(bytes(found.st_size - begins))
            raise OSError(5, "Input/output error")
        self._safe[found.st_ino] = found.st_size
        real_fdatasync(file)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("fails", [1, 3])
@pytest.mark.parametrize("segment_bytes", [1, 2**24])
@pytest.mark.parametrize("before", [0, 3])
def test_what_a_failed_sync_dropped_is_written_anew_before_it_is_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, segment_bytes: int, fails: int
) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", segment_bytes)
    monkeypatch.setattr(journal, "WINDOW_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "CHECKPOINT_SECONDS", 0.0)
    signer = Signer(tmp_path / "secrets")
    left = JournalWriter(tmp_path / "journal", "host/g1")
    for number in range(1, before + 1):
        left.write(a_call(number, digest="sha256:a"))
    for mark in left.marks():
        os.close(mark.file)
    writer = JournalWriter(tmp_path / "journal", "host/g1")
    disk = Dropping(fails)
    monkeypatch.setattr(os, "fdatasync", disk.sync)

    async def work() -> None:
        keeper = Keeper(writer, signer)
        for number in range(before + 1, before + 6):
            keeper.keep(a_call(number, digest="sha256:a"))
            writer.close_window()
        running = asyncio.create_task(keeper.run())
        await until(lambda: disk.fails == 0 and not keeper.trouble)
        settled = keeper.keep(a_call(before + 6, digest="sha256:a"), strict=True)
        assert settled is not None
        await settled
        await end(keeper, running)

    asyncio.run(work())
    known = Known(beside=beside(writer.place), public=signer.public)
    proof = prove(writer.place.name, segments_in(writer.place), known)
    assert (proof.faults, proof.last, proof.signed) == ([], before + 6, before + 6)


def test_what_was_erased_meanwhile_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_file: int) -> None:
        raise OSError(5, "Input/output error")

    vault, writer = Vault(tmp_path / "secrets"), JournalWriter(tmp_path / "journal", "host/g1")
    keeper = Keeper(writer)
    for user in ("ann", "bob"):
        write_call(writer, vault, user=user)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fails)
        asyncio.run(keeper._settle())
    anns = (one for one in payloads(tmp_path / "journal", "default") if one.call.user == "ann")
    assert len(list(overwrite(anns))) == 1
    asyncio.run(keeper.close())
    left = [one.call.user for one in payloads(tmp_path / "journal", "default")]
    assert left == ["bob"] and not keeper.trouble
    proof = prove("host_g1", segments_in(writer.place), Known())
    assert (proof.faults, proof.erased) == ([], 1)


def test_a_writer_holds_what_it_has_written_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1)
    writer = JournalWriter(tmp_path / "journal", "host/g1")
    writer.hold()
    marks = []
    for number in range(1, 7):
        writer.write(a_call(number))
        if number == 2:
            with full(10), pytest.raises(NoRoom):
                writer.close_window()
            assert len(list(writer.place.iterdir())) == 1, "no segment could be begun"
        if number in (3, 4):
            marks += writer.marks()
        if number == 4:
            writer.close_window()
    marks += writer.marks()
    held: dict[int, bytes] = {}
    for mark in marks:
        content = held.get(mark.segment, b"")
        assert mark.begins == len(content)
        held[mark.segment] = content + b"".join(mark.fresh)
    assert held == {int(path.stem): path.read_bytes() for path in writer.place.glob("*.jsonl")}
    assert len(held) == 2
    for mark in marks:
        if mark.ended:
            os.close(mark.file)
    writer.close()


def test_a_segments_name_is_on_the_disk_before_a_strict_call_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1)
    folders: list[str] = []

    def fsync(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            folders.append(Path(f"/proc/self/fd/{file}").readlink().name)
        real_fsync(file)

    monkeypatch.setattr(os, "fsync", fsync)

    async def work() -> None:
        keeper = Keeper(JournalWriter(tmp_path / "journal", "host/g1"))
        running = asyncio.create_task(keeper.run())
        for number, expected in ((1, ["journal", "host_g1"]), (2, []), (3, ["host_g1"])):
            settled = keeper.keep(a_call(number), strict=True)
            assert settled is not None
            await settled
            assert folders == expected
            folders.clear()
            if number == 2:
                keeper.writer.close_window()
        await end(keeper, running)

    asyncio.run(work())


def test_a_file_that_cannot_be_closed_is_done_with_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1)
    failed: list[int] = []

    async def work() -> None:
        keeper = Keeper(JournalWriter(tmp_path / "journal", "host/g1"))
        first = keeper.writer.mark().file

        def close(file: int) -> None:
            real_close(file)
            if file == first and not failed:
                failed.append(file)
                raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "close", close)
        running = asyncio.create_task(keeper.run())
        keeper.keep(a_call(1))
        keeper.writer.close_window()
        await until(lambda: bool(failed))
        await until(lambda: not keeper.trouble)
        settled = keeper.keep(a_call(2), strict=True)
        assert settled is not None
        await settled
        await end(keeper, running)

    asyncio.run(work())
