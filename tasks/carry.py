"""Carry a release on: tick, tell, wait, tick again."""

import time

from prefect import get_run_logger, task

from infra.failpoints import failpoint
from release.releases import Release
from tasks.advance import advance, outwait
from tasks.wiring import House, house

LONG_SECONDS = 30.0
"""A wait longer than this ends the run; the reconciler takes it up again when it is due."""


@task(name="carry", task_run_name="carry {release_id}", retries=3, retry_delay_seconds=2)
def carry(release_id: str) -> Release:
    """Advance a release until it is closed or has long to wait.

    Returns:
        The release as it stands.
    """
    here = house()
    told = max((number for number, _ in here.ledger.events(release_id)), default=0)
    while True:
        standing = outwait(here, lambda: advance(here, release_id))
        told = _tell(here, release_id, told)
        failpoint(f"{standing.phase}-{standing.step}")
        wait = standing.not_before - here.clock()
        if standing.phase.closed or wait > LONG_SECONDS:
            return standing
        time.sleep(max(wait, 0.05))


def _tell(here: House, release_id: str, told: int) -> int:
    """Log the events that are new."""
    for number, event in here.ledger.events(release_id, after=told):
        get_run_logger().info("%s: %s", event.kind, event.sentence)
        told = number
    return told
