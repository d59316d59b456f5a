import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from infra.processes import Process, Records, alive, free_port, kept_port, start, stop
from infra.settings import inherited

SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); "


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start Python code; whatever is left of it at the end is killed."""
    all_of_them = []

    def begin(code: str, **more: object) -> Process:
        command = [sys.executable, "-c", code]
        log = tmp_path / "logs" / "out.log"
        given = {"env": inherited(), "log": log, **more}
        process = start("part", command, **given)  # type: ignore[arg-type]
        all_of_them.append(process)
        return process

    yield begin
    stop(all_of_them, grace=0)


def until(true: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_runs_in_a_session_of_its_own_and_its_output_is_appended(
    started: Callable[..., Process], tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "out.log"
    code = (
        "import os, sys; print(os.getsid(0) == os.getpid(), os.environ['X'], os.getcwd(), "
        "repr(sys.stdin.read())); sys.stderr.write('bad\\n')"
    )
    for _ in range(2):
        process = started(code, env=inherited(X="given"), cwd=tmp_path)
        until(lambda one=process: not alive(one))  # type: ignore[misc]
    line = f"True given {tmp_path} ''"
    assert sorted(log.read_text().splitlines()) == sorted([line, "bad"] * 2)


def test_a_child_gets_the_descriptors_it_is_given_and_no_others(
    started: Callable[..., Process], tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "out.log"
    code = (
        "import os, socket, sys\n"
        "kept = socket.socket(fileno=int(sys.argv[1]))\n"
        "print(kept.getsockname()[1])\n"
        "folder = '/proc/self/fd/'\n"
        # The descriptor of the listing itself is closed again by then.
        "print(sorted(int(one) for one in os.listdir(folder) if os.path.exists(folder + one)))"
    )
    with socket.create_server(("127.0.0.1", 0)) as kept, socket.socket() as own:
        own.set_inheritable(True)
        command = [sys.executable, "-c", code, str(kept.fileno())]
        process = start("part", command, env=inherited(), log=log, pass_fds=(kept.fileno(),))
        until(lambda: not alive(process))
        port, descriptors = log.read_text().splitlines()
        assert int(port) == kept.getsockname()[1]
        assert json.loads(descriptors) == [0, 1, 2, kept.fileno()]


def test_only_the_very_process_is_alive(started: Callable[..., Process]) -> None:
    process = started(SLEEP)
    assert alive(process)
    assert not alive(replace(process, created=process.created - 10))
    assert not alive(replace(process, pid=2**22 + 1))
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not alive(process))
    assert not psutil.pid_exists(process.pid), "a zombie was left"


def test_a_zombie_of_somebody_else_is_dead() -> None:
    code = (
        "import os, time\nif os.fork() == 0: os._exit(0)\nprint('up', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"up\n"
        [zombie] = psutil.Process(parent.pid).children()
        until(lambda: zombie.status() == psutil.STATUS_ZOMBIE)
        assert not alive(Process(name="x", pid=zombie.pid, created=zombie.create_time()))
        parent.kill()


def test_stopping_asks_first_and_kills_what_stays_with_its_children(
    started: Callable[..., Process], tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "out.log"
    polite = started(SLEEP)
    child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); "
    stubborn = started(STUBBORN + child + "print('child', flush=True); time.sleep(60)")
    until(lambda: log.exists() and "child" in log.read_text())
    [grandchild] = psutil.Process(stubborn.pid).children()
    began = time.monotonic()
    stop([polite, stubborn], grace=0.5)
    assert 0.5 < time.monotonic() - began < 5
    assert not alive(polite) and not alive(stubborn)
    until(lambda: not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE)


def test_stopping_the_polite_takes_no_longer_than_they_do(started: Callable[..., Process]) -> None:
    began = time.monotonic()
    stop([started(SLEEP), started(SLEEP)], grace=30)
    assert time.monotonic() - began < 10


def test_what_is_killed_without_grace_is_buried(started: Callable[..., Process]) -> None:
    killed = [started(STUBBORN + SLEEP) for _ in range(3)]
    for process in killed:
        stop([process], grace=0)
    assert [psutil.pid_exists(one.pid) for one in killed] == [False] * 3


def test_a_process_that_took_over_a_pid_is_not_stopped(started: Callable[..., Process]) -> None:
    process = started(SLEEP)
    stop([replace(process, created=process.created - 10)], grace=0.2)
    assert alive(process)


def test_records_are_found_by_others_and_forgotten(tmp_path: Path) -> None:
    records = Records(tmp_path / "run" / "parts")
    assert records.load() == []
    one = Process(name="gateway/1", pid=7, created=1.5)
    two = Process(name="agent", pid=8, created=2.5)
    for process in (one, replace(two, pid=9), two):
        records.save(process)
    (records.folder / "broken.json").write_text("{")
    assert Records(records.folder).load() == [two, one]
    records.remove("gateway/1")
    records.remove("gateway/1")
    assert records.load() == [two]


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port("127.0.0.1"))) as server:
        assert server.getsockname()[1] > 0


def test_a_port_is_kept_while_it_is_free(tmp_path: Path) -> None:
    kept = tmp_path / "run" / "port"
    first = kept_port(kept, "127.0.0.1")
    assert kept_port(kept, "127.0.0.1") == first
    with socket.socket() as other:
        other.bind(("127.0.0.1", first))
        other.listen()
        assert kept_port(kept, "127.0.0.1") != first
    kept.write_text("no port")
    assert kept_port(kept, "127.0.0.1") > 0
