"""Find what a flow run is about, and close what can never be prepared."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import get_run_logger, task

from release.errors import Conflict, SlipwayError, Unavailable
from release.releases import Release
from tasks.advance import settle
from tasks.desk import Request, open_release
from tasks.wiring import house


@task(name="open release")
def open_or_find(model: str, version: int | None, release_id: str | None) -> Release:
    """Give the release that this run works on; without an id, open one with this process's token.

    A run that starts again from the top finds the release that it opened before.
    """
    here = house()
    if release_id is not None:
        return here.ledger.release(release_id)
    requester = here.identities.prove(here.token)
    for one in here.ledger.releases(model, open_only=True):
        if one.requester == requester.human and version in (None, one.candidate.version):
            return one
    return open_release(here, Request(model=model, version=version), requester)


@task(name="find release")
def find(release_id: str) -> Release:
    """Give a release by its id."""
    return house().ledger.release(release_id)


@contextmanager
def reject(release: Release) -> Iterator[None]:
    """Close a release with the sentence of whatever makes it impossible.

    What may pass by itself (a part that does not answer, somebody else at work) is raised, so that
    the flow run fails and the reconciler starts it again.
    """
    try:
        yield
    except (Unavailable, Conflict):
        raise
    except SlipwayError as error:
        settle(house(), release, str(error))
        get_run_logger().warning("%s: %s", release.id, error)
