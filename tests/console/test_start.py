"""The command starts fast, whatever else is installed."""

import subprocess
import sys
import time
from pathlib import Path

from infra.settings import inherited

ROOT = Path(__file__).parents[2]


def test_help_comes_within_half_a_second() -> None:
    """The best of a few: a deadline for the command, not for a busy machine."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", "from console.main import run; run()", "--help"],
            cwd=ROOT,
            env=inherited(),
            capture_output=True,
            text=True,
            check=True,
        )
        times.append(time.perf_counter() - started)
        assert "rollback" in done.stdout
    assert min(times) < 0.5
