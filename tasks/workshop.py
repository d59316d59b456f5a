"""Where trainings are worked on: one at a time, on the disk of this host. No Prefect."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from infra.files import file_lock, tail
from release.errors import Conflict
from release.training import read_progress
from tasks.trainings import Asked
from tasks.wiring import House


@contextmanager
def alone(house: House, asked: Asked) -> Iterator[None]:
    """Be the only one at work on a training.

    A lock between the processes of one host, which the kernel frees when its holder dies: trainings
    of a home run where the home lies. The model's row in the ledger stays free, as releases of the
    same model go on meanwhile.

    Raises:
        Conflict: somebody else is at work on it.
    """
    lock = house.settings.run / "trainings" / f"{asked.id}.lock"
    with ExitStack() as held:
        try:
            held.enter_context(file_lock(lock, seconds=0))
        except Conflict:
            said = f"Somebody is at work on training {asked.id}."
            raise Conflict(said, "let them finish") from None
        yield


def workplace(house: House, asked: Asked) -> Path:
    """Where an attempt at a training works."""
    return house.settings.run / "trainings" / asked.id


def clear(house: House, asked: Asked) -> None:
    """Remove what attempts left where they worked."""
    shutil.rmtree(workplace(house, asked), ignore_errors=True)


def left(house: House) -> set[str]:
    """Give the ids of the trainings that have a workplace."""
    places = (house.settings.run / "trainings").glob("*")
    return {path.name for path in places if path.is_dir()}


def log_of(house: House, asked: Asked) -> Path:
    """Where the output of a training goes."""
    return house.settings.logs / "trainings" / f"{asked.id}.log"


def progress(house: House, asked: Asked) -> tuple[float, str] | None:
    """Give how far a training said last that it is: a share within 0..1, and words."""
    lines = (read_progress(line) for line in tail(log_of(house, asked), 50))
    return next((one for one in reversed(list(lines)) if one), None)
