"""Programs of users: run under a limit, heard line by line, and never alive without us."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from infra import guard
from infra.processes import kill_alone, marked, step_back
from release.errors import Unavailable

LONGEST_LINE = 65_536
"""Bytes; of a longer line only the end is heard."""

END_SECONDS = 20.0


def run_program(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    seconds: float,
    heard: Callable[[str], None],
) -> int | None:
    """Run a program to its end.

    It dies with this process, however this process dies; and so does all that it started, unless
    that leaves its process group, which `end_marked` is for.

    Args:
        command: program and arguments.
        env: all of its environment.
        cwd: folder to start in.
        log: where its output is appended.
        seconds: how long it may take.
        heard: is given every line of its output; what is not UTF-8 is replaced.

    Returns:
        Its exit code (128 and more: a signal ended it); None where it took too long.

    Raises:
        OSError: the command cannot be run.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    guarded = [sys.executable, "-I", guard.__file__, *command]
    deadline = time.monotonic() + seconds
    with (
        log.open("ab", buffering=0) as kept,
        subprocess.Popen(
            guarded,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        step_back(process.pid)
        try:
            for line in _lines(_output(process, deadline), kept):
                heard(line.decode("utf-8", errors="replace"))
        except TimeoutError:
            return None
    return process.returncode


def _output(process: "subprocess.Popen[bytes]", deadline: float) -> Iterator[bytes]:
    """Give what a process writes, as it comes, until it has ended.

    Its end is not that of the pipe: something that it started may hold that open for ever.
    """
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    pipe = process.stdout.fileno()
    while True:
        if time.monotonic() > deadline:
            raise TimeoutError
        ended = process.poll() is not None
        ready, _, _ = select.select([pipe], [], [], 0 if ended else 0.2)
        if ready:
            if not (written := os.read(pipe, LONGEST_LINE)):
                process.wait(max(deadline - time.monotonic(), 0) + 1)
                return
            yield written
        elif ended:
            return


def _lines(written: Iterator[bytes], kept: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    for part in written:
        kept.write(part)
        *lines, rest = (rest + part).split(b"\n")
        rest = rest[-LONGEST_LINE:]
        yield from lines
    if rest:
        yield rest


def end_marked(name: str, value: str) -> None:
    """Kill every process that has a variable with this value in its environment, and see it dead.

    Raises:
        Unavailable: one of them cannot be killed.
    """
    deadline = time.monotonic() + END_SECONDS
    while left := marked(name, value):
        if time.monotonic() > deadline:
            pids = ", ".join(str(one.pid) for one in left)
            raise Unavailable(f"{pids} of {value} cannot be killed in {END_SECONDS:g} s.")
        for one in left:
            kill_alone(one)
