"""Named points at which a fault test makes the process kill itself."""

import os
import signal
import sys

from infra.settings import Settings


def failpoint(name: str) -> None:
    """Die here, as by `kill -9`, if the settings name this point."""
    if Settings().failpoint == name:
        sys.stderr.write(f"failpoint {name}\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
