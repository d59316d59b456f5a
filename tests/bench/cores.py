"""Who computes where: engines on one core, gateways and clients on another, one thread each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_HERE = sorted(os.sched_getaffinity(0))
ENGINE, FRONT = _HERE[0], _HERE[-1]
"""The core of what computes, and that of gateways and of the load generator; the same where there
is only one."""

ALL = (ENGINE, FRONT)

_LIBRARIES = ("OMP", "MKL", "OPENBLAS", "RAYON", "NUMEXPR")
ONE_THREAD = {f"{one}_NUM_THREADS": "1" for one in _LIBRARIES} | {"TOKENIZERS_PARALLELISM": "false"}
"""One compute thread, in the environment of whatever is measured."""


@contextmanager
def on(*cores: int) -> Iterator[None]:
    """Stay on some cores while the body runs, with every process that is started there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cores))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
