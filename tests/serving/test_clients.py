"""Clients that nobody here wrote ask a real gateway: see tests/clients."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.settings import inherited, inherited_by_training
from tests.faults.hostile import schemathesis
from tests.serving.tier import Tier, three_tasks

CLIENTS = Path(__file__).parents[1] / "clients"
PYTHON = CLIENTS.parents[1] / ".venv-clients/bin/python"


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Tier]:
    """A gateway before a replica of each task, none of which has a model."""
    if not os.access(PYTHON, os.X_OK):
        said = "there is no environment for clients: run `make clients`"
        if inherited().get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    running = three_tasks(tmp_path)
    yield running
    running.stop()


def test_schemathesis_finds_nothing_wrong(asked: Tier, tmp_path: Path) -> None:
    assert schemathesis(PYTHON.with_name("st"), asked, tmp_path, 2) > 500


@pytest.mark.parametrize("script", ["ask_triton", "ask_kserve", "ask_openai"])
def test_a_client_is_served(asked: Tier, script: str) -> None:
    assert asked.client is not None
    done = subprocess.run(
        [PYTHON, CLIENTS / f"{script}.py", asked.client.base_url.netloc.decode(), asked.address()],
        env=inherited_by_training(NO_PROXY="*"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
