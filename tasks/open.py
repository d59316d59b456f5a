"""Find what a flow run is about, and close what can never be prepared."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from prefect import get_run_logger, task

from infra.ledger import Claim
from release.errors import Conflict, Refused, SlipwayError, Unavailable
from release.releases import Release
from tasks.advance import outwait, settle
from tasks.desk import OWNER_SECONDS, open_release
from tasks.inspection import Request
from tasks.wiring import house

_NOT_BY_ITSELF = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)
"""Errors of libraries on what they were given: the next try would end in the same."""


@task(name="open release")
def open_or_find(model: str, version: int | None, release_id: str | None) -> Release:
    """Give the release that this run works on; without an id, open one with this process's token.

    A run that starts again from the top finds the release that it opened before.
    """
    here = house()
    if release_id is not None:
        return here.ledger.release(release_id)
    requester = here.identities.prove(here.token)
    if not requester.machine:
        raise Refused(
            f"A run without release_id acts for this worker, and {requester.name} is a person.",
            "open it with `slipway release`, or give the worker a machine's token",
        )
    for one in here.ledger.releases(model, open_only=True):
        if one.requester == requester.human and version in (None, one.candidate.version):
            return one
    return open_release(here, Request(model=model, version=version), requester)


@task(name="find release")
def find(release_id: str) -> Release:
    """Give a release by its id."""
    return house().ledger.release(release_id)


@contextmanager
def at_work(release: Release) -> Iterator[None]:
    """Hold the model's row while a release is prepared, so that nobody prepares it twice.

    Raises:
        Conflict: another process prepares it, and is alive.
    """
    here = house()
    model, done = release.candidate.model, Event()

    def hold() -> Claim:
        return here.ledger.claim(model, here.owner, OWNER_SECONDS, here.clock())

    def renew() -> None:
        while not done.wait(OWNER_SECONDS / 4):
            try:
                hold()
            except Unavailable as error:
                log.warning("%s is held no longer than its lease: %s", model, error)
            except Conflict:
                # Somebody led the model back: the next write of this run is fenced off.
                return

    log = get_run_logger()
    outwait(here, hold)
    keeper = Thread(target=renew, name="at-work", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()
        with suppress(Conflict):
            here.ledger.yield_claim(hold())


@contextmanager
def reject(release: Release) -> Iterator[None]:
    """Close a release with the sentence of whatever makes it impossible.

    What may pass by itself (a part that does not answer, somebody else at work) is raised, so that
    the flow run fails and the reconciler starts it again.
    """
    try:
        yield
    except Unavailable:
        raise
    except Conflict:
        if not house().ledger.release(release.id).phase.closed:
            raise
    except SlipwayError as error:
        settle(house(), release, str(error))
        get_run_logger().warning("%s: %s", release.id, error)
    except _NOT_BY_ITSELF as error:
        get_run_logger().exception("%s cannot be prepared", release.id)
        settle(house(), release, f"it cannot be prepared: {error!r}")
