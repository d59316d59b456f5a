"""A user's program: heard, limited, and never alive without us."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from infra.processes import marked, stop
from infra.programs import LONGEST_LINE, end_marked, run_program
from infra.settings import inherited
from tests.serving.tier import until

ROOT = Path(__file__).parents[2]
MARK = "SLIPWAY_TEST_MARK"


def run(tmp_path: Path, code: str, *, seconds: float = 60) -> tuple[int | None, list[str]]:
    lines: list[str] = []
    ended = run_program(
        [sys.executable, "-u", "-c", code],
        env=inherited(**{MARK: str(tmp_path)}),
        cwd=tmp_path,
        log=tmp_path / "logs" / "log",
        seconds=seconds,
        heard=lines.append,
    )
    return ended, lines


def test_every_line_is_heard_and_kept(tmp_path: Path) -> None:
    code = (
        "import sys; print('一'); sys.stderr.write('two\\n'); print('three', end=''); sys.exit(7)"
    )
    assert run(tmp_path, code) == (7, ["一", "two", "three"])
    assert (tmp_path / "logs" / "log").read_text() == "一\ntwo\nthree"


def test_output_may_be_anything(tmp_path: Path) -> None:
    code = "import os; os.write(1, b'\\xff' * 200_000 + b'\\n' + b'x' * 10 + b'\\n')"
    ended, lines = run(tmp_path, code)
    assert ended == 0
    assert lines[-1] == "x" * 10
    assert len(lines) == 2 and set(lines[0]) == {"\ufffd"}
    assert LONGEST_LINE <= len(lines[0]) <= 2 * LONGEST_LINE
    assert (tmp_path / "logs" / "log").stat().st_size == 200_012


def test_a_signal_is_told_as_a_shell_tells_it(tmp_path: Path) -> None:
    assert run(tmp_path, "import os; os.kill(os.getpid(), 9)")[0] == 128 + 9


def test_over_time_it_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    code = "import subprocess; subprocess.Popen(['sleep', '600']); print('on'); input()"
    code = code.replace("input()", "import time; time.sleep(600)")
    started = time.monotonic()
    # Long enough for a busy machine to start it.
    assert run(tmp_path, code, seconds=12) == (None, ["on"])
    assert time.monotonic() - started < 60
    until(lambda: marked(MARK, str(tmp_path)) == [], 10)


def test_what_it_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    code = "import subprocess; subprocess.Popen(['sleep', '600']); print('off')"
    assert run(tmp_path, code) == (0, ["off"])
    until(lambda: marked(MARK, str(tmp_path)) == [], 10)


def test_what_leaves_its_group_is_found_by_its_mark(tmp_path: Path) -> None:
    code = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    assert run(tmp_path, code) == (0, [])
    assert len(marked(MARK, str(tmp_path))) == 1
    end_marked(MARK, str(tmp_path))
    assert marked(MARK, str(tmp_path)) == []


RUNNER = """
import sys
from pathlib import Path
from infra.programs import run_program
from infra.settings import inherited
code = "import time; print('on'); time.sleep(600)"
run_program(
    [sys.executable, "-u", "-c", code], env=inherited(), cwd=Path(sys.argv[1]),
    log=Path(sys.argv[1]) / "log", seconds=600, heard=lambda line: print(line, flush=True),
)
"""


def test_it_does_not_outlive_a_flow_that_is_killed(tmp_path: Path) -> None:
    """Nor does it need anybody to come back for that."""
    env = inherited(**{MARK: str(tmp_path), "PYTHONPATH": str(ROOT)})
    command = [sys.executable, "-c", RUNNER, str(tmp_path)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None and runner.stdout.readline() == "on\n"
        alive = marked(MARK, str(tmp_path))
        assert len(alive) == 3  # the flow, the guard, the program
        os.kill(runner.pid, signal.SIGKILL)
    try:
        until(lambda: marked(MARK, str(tmp_path)) == [], 10)
    finally:
        stop(alive, grace=0)
