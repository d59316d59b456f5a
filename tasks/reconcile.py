"""What the reconciler and the rollback flow do, a task each."""

from prefect import get_run_logger, task

from infra.failpoints import failpoint
from release.errors import Conflict, NotFound
from release.releases import Release
from tasks.desk import START_SECONDS, roll_back
from tasks.images import repair
from tasks.train import settle
from tasks.trainings import TRAINED, Asked, asked_as, dropped, outcome
from tasks.wiring import House, house
from tasks.workshop import alone, left

STALE_SECONDS = 20.0
"""An open release that is this long overdue has nobody who carries it."""


@task(name="find what is due")
def due() -> list[Release]:
    """Give the open releases that should have moved by now, and that nobody works on."""
    here = house()
    now = here.clock()
    late = [
        one for one in here.ledger.releases(open_only=True) if now - one.not_before > STALE_SECONDS
    ]
    return [one for one in late if not here.ledger.owner(one.candidate.model, now)]


@task(name="find what is untrained")
def untrained() -> list[Asked]:
    """Give the trainings that were asked for a while ago, are not done, and nobody works on.

    Of those that are done, it first removes what a run left that was killed after telling so.
    """
    here = house()
    _settle(here)
    now = here.clock()
    return [one for one in dropped(here) if now - one.at > START_SECONDS and _free(one)]


def _settle(here: House) -> None:
    for asked in asked_as(here, left(here)):
        # Whoever is at work on it settles it.
        if (ended := outcome(here, asked)) and _free(asked):
            settle(here, asked, ended)


def _free(asked: Asked) -> bool:
    try:
        with alone(house(), asked):
            return True
    except Conflict:
        return False


@task(name="list models")
def models() -> list[str]:
    """Give every model that the ledger knows: of each it tells something in the registry."""
    ledger = house().ledger
    trained = {event.model for _, event in ledger.events(kinds=(TRAINED,))}
    return sorted(trained | {one.model for one in ledger.all_desired()})


@task(name="show in the registry", task_run_name="show {model}", retries=2, retry_delay_seconds=2)
def show(model: str) -> list[str]:
    """Make the registry's aliases follow the ledger; say what was moved."""
    try:
        moved = repair(house(), model)
    except NotFound as error:
        # Somebody took the model out of the registry. Others have images, too.
        get_run_logger().warning("%s cannot be shown: %s", model, error)
        return []
    for sentence in moved:
        get_run_logger().info(sentence)
    failpoint("shown")
    return moved


@task(name="roll back")
def call_back(model: str, why: str) -> str:
    """Roll back with this process's own token."""
    here = house()
    return roll_back(here, model, here.identities.prove(here.token), why)
