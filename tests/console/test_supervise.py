"""A Prefect server that is silent is started anew; one that is only slow to start is not.

It starts as everybody does, for people wait for it, and steps back once it answers.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from console.serve import START_SECONDS
from console.supervise import FLOWS_NICE, SILENT_SECONDS, Part, Supervisor, deploy
from flows.control import Prefect
from infra.processes import alive, free_port, start, stop
from infra.settings import Settings, inherited
from release.errors import Unavailable

HEALTHY = """
import sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
class Healthy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
threading.Thread(target=threading.Event().wait, daemon=True).start()
HTTPServer(("127.0.0.1", int(sys.argv[1])), Healthy).serve_forever()
"""
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Part]:
    """A process that runs and answers nobody."""
    process = start("prefect-server", SLEEP, env=inherited(), log=tmp_path / "server.log")
    yield Part(name="prefect-server", command=SLEEP, process=process)
    stop([process], grace=0)


@pytest.fixture
def supervisor(tmp_path: Path, server: Part) -> Supervisor:
    prefect = Prefect(f"http://127.0.0.1:{free_port('127.0.0.1')}/api")
    return Supervisor(Settings(home=tmp_path / "home"), parts=[server], prefect=prefect)


def look(supervisor: Supervisor, silent: float) -> None:
    supervisor.look_at = 0.0
    supervisor.answered = time.monotonic() - silent
    supervisor.check_prefect()


def test_a_first_silence_ends_nothing(supervisor: Supervisor, server: Part) -> None:
    supervisor.heard = server.process
    supervisor.check_prefect()
    assert alive(server.process)


def test_one_that_answered_is_ended_after_a_minute(supervisor: Supervisor, server: Part) -> None:
    supervisor.heard = server.process
    look(supervisor, SILENT_SECONDS - 5)
    assert alive(server.process)
    look(supervisor, SILENT_SECONDS + 1)
    until(lambda: not alive(server.process))


def test_one_that_still_starts_is_given_longer(supervisor: Supervisor, server: Part) -> None:
    look(supervisor, SILENT_SECONDS + 1)
    assert alive(server.process)
    look(supervisor, START_SECONDS + 1)
    until(lambda: not alive(server.process))


def niceness(part: Part) -> set[int]:
    """Of every thread; the 19th field of `stat`, whose second one is in brackets."""
    stats = Path(f"/proc/{part.process.pid}/task").glob("*/stat")
    return {int(one.read_text().rpartition(")")[2].split()[16]) for one in stats}


def test_a_server_steps_back_once_it_answers_and_again_when_it_was_started_anew(
    tmp_path: Path,
) -> None:
    port = free_port("127.0.0.1")
    command = [sys.executable, "-c", HEALTHY, str(port)]
    supervisor = Supervisor(Settings(home=tmp_path / "home"), environment=inherited())
    supervisor.prefect = Prefect(f"http://127.0.0.1:{port}/api")
    usual = os.nice(0)
    try:
        supervisor.add("prefect-server", command)
        (part,) = supervisor.parts
        for _ in range(2):
            assert niceness(part) == {usual}
            until(supervisor.prefect.healthy)
            look(supervisor, 0)
            assert niceness(part) == {usual + FLOWS_NICE}
            group = Path(f"/proc/{part.process.pid}/autogroup")
            assert not group.exists() or group.read_text().endswith(f"nice {FLOWS_NICE}\n")
            stop([part.process], grace=10)
            supervisor.revive(part)
            part.restart_at = time.monotonic()
            supervisor.revive(part)
    finally:
        supervisor.stop()


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_deployment_that_fails_or_hangs_is_said() -> None:
    with pytest.raises(Unavailable, match="not deployed within 0.5 s"):
        deploy(inherited(), SLEEP, seconds=0.5)
    with pytest.raises(Unavailable, match="could not be deployed: no pool"):
        deploy(inherited(), [sys.executable, "-c", "raise SystemExit('no pool')"])
