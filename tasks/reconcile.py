"""What the reconciler and the rollback flow do, a task each."""

from prefect import get_run_logger, task

from release.releases import Release
from tasks.desk import roll_back
from tasks.images import repair
from tasks.wiring import house

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


@task(name="list models")
def models() -> list[str]:
    """Give every model that the ledger knows."""
    return [one.model for one in house().ledger.all_desired()]


@task(name="show in the registry", task_run_name="show {model}", retries=2, retry_delay_seconds=2)
def show(model: str) -> list[str]:
    """Make the registry's aliases follow the ledger; say what was moved."""
    moved = repair(house(), model)
    for sentence in moved:
        get_run_logger().info(sentence)
    return moved


@task(name="roll back")
def call_back(model: str, why: str) -> str:
    """Roll back with this process's own token."""
    here = house()
    return roll_back(here, model, here.identities.prove(here.token), why)
