import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infra.files import file_lock, tail, write_atomic
from infra.settings import inherited
from release.errors import Conflict

ROOT = Path(__file__).parents[2]


def test_a_file_is_replaced_and_nothing_else_left(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    for content in (b"one", b"", b"\x00three"):
        for durable in (True, False):
            write_atomic(path, content, durable=durable)
            assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "no bytes")  # type: ignore[arg-type]
    folder = tmp_path / "folder"
    (folder / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_atomic(folder, b"new")
    assert path.read_bytes() == b"old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder"]


def test_readers_see_whole_files_only(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([number]) * 200_000 for number in range(3)]
    write_atomic(path, contents[0])
    stop, odd = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            if (seen := path.read_bytes()) not in contents:
                odd.append(seen)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(30):
        for content in contents:
            write_atomic(path, content, durable=False)
    stop.set()
    reader.join()
    assert odd == []


HOLD = """
import sys, time
from pathlib import Path
from infra.files import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_excludes_other_processes_until_its_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    env = inherited(PYTHONPATH=str(ROOT))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], env=env, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    late = pytest.raises(Conflict, match="lock was held by another process for over 0.1 s")
    with late, file_lock(path, seconds=0.1):
        pytest.fail("two hold it")
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    with file_lock(path, seconds=5):
        assert path.exists()


def test_a_lock_excludes_other_threads(tmp_path: Path) -> None:
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(5):
            with file_lock(tmp_path / "lock"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                threading.Event().wait(0.002)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1


def test_the_end_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert tail(path, 3) == []
    path.write_bytes(b"one\ntwo\n\n  three  \nf\xffur")
    assert tail(path, 2) == ["three", "f\ufffdur"]
    assert tail(path, 10) == ["one", "two", "three", "f\ufffdur"]
    path.write_bytes(b"x" * 100_000 + b"\nlast\n")
    assert tail(path, 1) == ["last"]
    assert len(tail(path, 2)[0]) < 20_000
