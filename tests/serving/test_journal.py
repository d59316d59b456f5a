"""One gateway's journal: chained, numbered, gone on with after a kill, refused where it is full."""

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.calls.checkpoints import Signer
from infra.calls.lines import CallLine, Share
from infra.calls.proofs import Known, Proof
from infra.calls.verify import beside, prove, segments_in
from serving import journal, keeping
from serving.journal import JournalWriter, NoRoom
from serving.keeping import Keeper
from serving.windows import read_windows
from tests.fakes.call_lines import a_call, calls_in
from tests.fakes.journals import end, signed

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def proof_of(place: Path) -> Proof:
    signer = Signer(place.parents[1] / "secrets")
    return prove(place.name, segments_in(place), Known(beside=beside(place), public=signer.public))


def write(writer: JournalWriter, count: int = 1) -> None:
    for _ in range(count):
        writer.write(a_call(writer.sequence + 1, digest="sha256:a"))


def abandon(writer: JournalWriter) -> None:
    """Leave a journal as a killed process does."""
    for mark in writer.marks():
        os.close(mark.file)


@contextmanager
def full(room: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes: what a full disk says, said by the kernel."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@given(TEXT, TEXT, st.integers(0, 2**53))
def test_what_is_chained_is_canonical(error: str, user: str, number: int) -> None:
    line = a_call(
        number, error=error, user=user, counted=(Share(digest=error, requests=1, slow=number),)
    )
    plain = msgspec.to_builtins(line)
    sorted_json = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert msgspec.json.encode(line) == sorted_json.encode()


def test_a_killed_writers_chain_is_gone_on_with_and_summed_up(tmp_path: Path) -> None:
    first = JournalWriter(tmp_path / "journal", "host/g1")
    write(first, 3)
    first.close_window()
    write(first, 2)
    abandon(first)
    path = first.place / "00000001.jsonl"
    with path.open("ab") as file:
        file.write(b'{"call":{"arm":"torn')
    second = JournalWriter(tmp_path / "journal", "host/g1")
    write(second)
    second.close()
    assert proof_of(second.place).faults == []
    assert [one.sequence for one in calls_in(tmp_path / "journal")] == [1, 2, 3, 4, 5, 6]
    windows, _ = read_windows(tmp_path / "journal", {})
    assert [one.number for one in windows] == [1, 2, 3]
    assert [one.tallies["tiny"]["sha256:a"].requests for one in windows] == [3, 2, 1]


@pytest.mark.parametrize("left", [b"", b'{"segment":2,"gat', b"\0" * 300])
def test_a_segment_that_was_hardly_begun_is_begun_anew(tmp_path: Path, left: bytes) -> None:
    first = JournalWriter(tmp_path / "journal", "host/g1")
    write(first, 3)
    abandon(first)
    (first.place / "00000002.jsonl").write_bytes(left)
    second = JournalWriter(tmp_path / "journal", "host/g1")
    write(second)
    second.close()
    found = proof_of(second.place)
    assert found.faults == [] and found.last == 4


def test_segments_of_before_are_read_and_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "journal" / "host_g1"
    place.mkdir(parents=True)
    old = (
        b'{"at":1.0,"id":"a","endpoint":"tiny","generation":1,"version":1,"outcome":"ok","ms":1.0,'
        b'"caller":"","why":"","queue_ms":0.0,"compute_ms":0.0,"counted":[{"digest":"sha256:a",'
        b'"requests":1,"failures":0,"slow":0,"rescued":0}]}\n'
    )
    (place / "00000001.jsonl").write_bytes(old * 2)
    writer = JournalWriter(tmp_path / "journal", "host/g1")
    write(writer)
    writer.close()
    assert (place / "00000001.jsonl").read_bytes() == old * 2
    windows, moved = read_windows(tmp_path / "journal", {})
    assert [one.tallies["tiny"]["sha256:a"].requests for one in windows] == [2, 1]
    assert moved[0].segment == 2
    found = proof_of(place)
    assert found.faults == [] and (found.old, found.last) == (1, 1)


def test_a_full_segment_ends_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1)
    writer = JournalWriter(tmp_path / "journal", "host/g1")
    for _ in range(3):
        write(writer, 2)
        writer.close_window()
    writer.close()
    assert len(list(writer.place.glob("*.jsonl"))) > 3
    found = proof_of(writer.place)
    assert found.faults == [] and found.last == 6


@pytest.mark.parametrize("room", [0, 1, 100, 600, 900])
def test_a_line_that_finds_no_room_changes_nothing(tmp_path: Path, room: int) -> None:
    writer = JournalWriter(tmp_path / "journal", "host/g1")
    write(writer)
    size = (writer.place / "00000001.jsonl").stat().st_size
    with full(size + room), pytest.raises(NoRoom, match="takes no line"):
        write(writer, 10)
    write(writer)
    writer.close()
    found = proof_of(writer.place)
    assert found.faults == []
    (window,), _ = read_windows(tmp_path / "journal", {})
    assert window.tallies["tiny"]["sha256:a"].requests == found.last


def test_strict_lines_wait_for_the_disk_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)

    async def work() -> tuple[Keeper, int]:
        keeper = Keeper(JournalWriter(tmp_path / "journal", "host/g1"))
        running = asyncio.create_task(keeper.run())
        settled = [keeper.keep(a_call(n), strict=True) for n in range(1, 101)]
        assert not synced
        await asyncio.gather(*(one for one in settled if one is not None))
        before = len(synced)
        assert keeper.keep(a_call(101)) is None
        await end(keeper, running)
        return keeper, before

    keeper, before = asyncio.run(work())
    assert 1 <= before <= 3, "a hundred lines went to the disk in so many groups"
    assert (keeper.recorded, keeper.refused) == (101, 0)


def test_a_full_disk_refuses_counts_tells_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "PROBE_SECONDS", 0.0)
    writer = JournalWriter(tmp_path / "journal", "host/g1")
    keeper = Keeper(writer, Signer(tmp_path / "secrets"))
    keeper.keep(a_call(1))
    size = (writer.place / "00000001.jsonl").stat().st_size
    with full(size):
        for _ in range(7):
            with pytest.raises(NoRoom):
                keeper.keep(a_call(2))
            keeper.refuse()
        keeper.tick()
        assert keeper.trouble
    keeper.tick()
    assert not keeper.trouble
    keeper.keep(a_call(2))
    asyncio.run(keeper.close())
    assert (keeper.recorded, keeper.refused) == (2, 7)
    lines = (writer.place / "00000001.jsonl").read_bytes().splitlines()
    (told,) = [json.loads(one) for one in lines if one.startswith(b'{"refused":')]
    assert told["refused"] == 7 and told["since"] <= told["until"]
    found = proof_of(writer.place)
    assert found.faults == [] and (found.last, found.signed) == (2, 2)


def test_a_gateway_that_ends_on_a_full_disk_says_what_no_line_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = JournalWriter(tmp_path / "journal", "host/g1")
    keeper = Keeper(writer)
    keeper.keep(a_call(1))
    with full((writer.place / "00000001.jsonl").stat().st_size):
        keeper.refuse()
        asyncio.run(keeper.close())
    assert "no line tells of 1 calls that were refused" in capsys.readouterr().err


def test_a_disk_that_does_not_answer_is_as_good_as_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "SLOW_SECONDS", 0.1)
    stuck = threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda _file: stuck.wait(10))

    async def work() -> None:
        keeper = Keeper(JournalWriter(tmp_path / "journal", "host/g1"))
        running = asyncio.create_task(keeper.run())
        settled = keeper.keep(a_call(1), strict=True)
        await asyncio.sleep(0.3)
        assert settled is not None and not settled.done()
        with pytest.raises(NoRoom, match="has not answered for"):
            keeper.keep(a_call(2))
        stuck.set()
        await settled
        assert not keeper.trouble
        await end(keeper, running)

    asyncio.run(work())


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), AttributeError("anything else")]
)
def test_a_disk_that_fails_refuses_whoever_waits_for_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    def fails(_file: int) -> None:
        raise error

    async def work() -> None:
        keeper = Keeper(JournalWriter(tmp_path / "journal", "host/g1"))
        running = asyncio.create_task(keeper.run())
        with monkeypatch.context() as broken:
            broken.setattr(os, "fdatasync", fails)
            settled = keeper.keep(a_call(1), strict=True)
            assert settled is not None
            with pytest.raises(NoRoom, match=error.args[-1]):
                await settled
            assert keeper.trouble
            with pytest.raises(NoRoom, match=error.args[-1]):
                keeper.keep(a_call(2), strict=True)
            await asyncio.sleep(0.2)
        for _ in range(100):
            if not keeper.trouble:
                break
            await asyncio.sleep(0.02)
        again = keeper.keep(a_call(2), strict=True)
        assert again is not None
        await again
        await end(keeper, running)

    asyncio.run(work())
    assert capsys.readouterr().err.count(str(error.args[-1])) == 1


def test_whoever_waits_while_a_gateway_ends_is_told_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def fails_late(_file: int) -> None:
        begun.set()
        goes_on.wait(10)
        raise OSError(5, "Input/output error")

    async def work() -> None:
        keeper = Keeper(JournalWriter(tmp_path / "journal", "host/g1"))
        running = asyncio.create_task(keeper.run())
        with monkeypatch.context() as broken:
            broken.setattr(os, "fdatasync", fails_late)
            settled = keeper.keep(a_call(1), strict=True)
            assert settled is not None
            while not begun.is_set():
                await asyncio.sleep(0.01)
            running.cancel()
            await asyncio.sleep(0.05)
            goes_on.set()
            with pytest.raises(NoRoom, match="Input/output error"):
                await settled
        await asyncio.gather(running, return_exceptions=True)
        await keeper.close()

    asyncio.run(work())


def test_a_lines_fields_are_in_the_order_of_the_alphabet() -> None:
    for kind in (CallLine, Share):
        assert list(kind.__struct_fields__) == sorted(kind.__struct_fields__)


def test_a_gateway_whose_signing_key_was_lost_says_so_and_does_not_begin(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal", "host/g1")
    signed(writer, Signer(tmp_path / "secrets" / "calls"))
    writer.close()
    (tmp_path / "secrets" / "calls" / "signing").unlink()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        fd = listening.fileno()
        command = [
            *(sys.executable, "-m", "serving.gateway.main", "--fd", str(fd), "--name", "host/g1"),
            *("--folder", str(tmp_path), "--status", str(tmp_path / "status")),
            *("--journal", str(tmp_path / "journal"), "--open"),
        ]
        done = subprocess.run(
            command, pass_fds=[fd], text=True, capture_output=True, timeout=60, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("gateway: The secret at ") and done.stderr.count("\n") == 1
    assert "signing is gone, and it has signed what lies in" in done.stderr
