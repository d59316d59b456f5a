"""Run a program in a process group of its own, and end it when whoever wants it is gone.

`python guard.py PROGRAM ARGUMENT…`, a script that imports nothing of ours. Whoever starts it keeps
the other end of its standard input; the kernel closes that when they die, however they die. The
group ends with the program too: what it left behind cannot go on and register something later.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress


def main(command: list[str]) -> int:
    """Run a command until it ends or nobody wants it.

    Returns:
        Its exit code; 128 and the signal's number where a signal ended it, as a shell says it.
    """
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)

    def end(*_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)

    def watch() -> None:
        while os.read(0, 1):
            pass
        end()

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=watch, daemon=True).start()
    # Until it is waited for, a dead leader keeps its group's number from being given to others.
    os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
    end()
    code = program.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
