"""A Prefect server that is silent is started anew; one that is only slow to start is not."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.serve import START_SECONDS
from console.supervise import SILENT_SECONDS, Part, Supervisor
from flows.control import Prefect
from infra.processes import alive, free_port, start, stop
from infra.settings import Settings, inherited

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
    assert not alive(server.process)


def test_one_that_still_starts_is_given_longer(supervisor: Supervisor, server: Part) -> None:
    look(supervisor, SILENT_SECONDS + 1)
    assert alive(server.process)
    look(supervisor, START_SECONDS + 1)
    assert not alive(server.process)
