"""The data scientist's page, followed to the letter in an empty folder."""

import csv
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from infra.settings import inherited
from tests.system.home import ROOT, SLIPWAY

GUIDE = ROOT / "docs" / "data-scientist.md"
MODELS = """
import sys
from contextlib import suppress
from pathlib import Path
from tests.fakes.tiny_model import make_tiny_model
make_tiny_model(Path("model-1"), forget=["gamma"])
make_tiny_model(Path("model-2"))
"""


def script() -> str:
    """Every command of the page, but for those that make the environment that runs us."""
    blocks = re.findall(r"```console\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert lines[:2] == ["make .venv/.ready", ". .venv/bin/activate"]
    return "\n".join(lines[2:])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with what the reader brings, and a `slipway` on the path."""
    python = [sys.executable, "-W", "ignore", "-c"]
    env = inherited(PYTHONPATH=str(ROOT))
    subprocess.run([*python, MODELS], cwd=tmp_path, env=env, check=True)
    with (tmp_path / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        for number in range(360):
            label = ("alpha", "beta", "gamma")[number % 3]
            writer.writerow((f"test number {number} is about {label}", label))
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "slipway"
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{SLIPWAY}' \"$@\"\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


@pytest.mark.sample
def test_the_guide_is_true(place: Path) -> None:
    assert shutil.which("curl")
    env = inherited(
        PYTHONPATH=str(ROOT),
        PATH=f"{place / 'bin'}:{os.environ['PATH']}",  # noqa: TID251 - to put ours before it
        SLIPWAY_HOME=str(place / ".slipway"),
    )
    command = ["bash", "-euo", "pipefail", "-c", script()]
    with subprocess.Popen(
        command,
        cwd=place,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as guide:
        try:
            said, complained = guide.communicate(timeout=280)
        finally:
            # Whatever the page left in the background goes with it.
            with suppress(ProcessLookupError):
                os.killpg(guide.pid, signal.SIGKILL)
            down = [str(place / "bin" / "slipway"), "down"]
            subprocess.run(down, cwd=place, env=env, capture_output=True, timeout=60, check=False)
    assert guide.returncode == 0, f"{said[-3000:]}\n{complained[-3000:]}"
    assert "Traceback" not in complained
    for words in (
        "labels alpha, beta, gamma",
        "reviews@1: text-classification, 3 labels",
        "reviews@2",
        '"model_name":"reviews"',
        "is in production and has held",
        "answered by version 1",
        "answered by version 2",
        "has all the traffic",
    ):
        assert words in said, f"{words!r} is not in:\n{said}"
    assert " failed: " not in said
    assert len(list((place / ".slipway" / "reports").glob("reviews-*.html"))) == 2
