"""The Prefect tasks of `retrain`: who asked, what came out, and what is released of it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import httpx
from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.runtime import flow_run

from infra.failpoints import failpoint
from infra.identity import Identity
from release.errors import Conflict, Refused, SlipwayError, Unavailable
from release.releases import Release
from release.training import read_progress
from release.variants import Candidate
from tasks.desk import ask_training, open_release
from tasks.inspection import Request
from tasks.train import train
from tasks.trainings import HELD_BACK, NOT_RELEASED, Asked, find, tell, told
from tasks.wiring import House, house
from tasks.workshop import alone

if TYPE_CHECKING:
    from uuid import UUID


@task(name="ask for training")
def ask_or_find(model: str, training_id: str | None, *, release: bool) -> Asked:
    """Give the training that this run works on; without an id, ask with this process's token.

    A run that starts again from the top finds the training that it asked for before.
    """
    here = house()
    if training_id is not None:
        return find(here, model, training_id)
    requester = here.identities.prove(here.token)
    if not requester.machine:
        raise Refused(
            f"A run without training_id acts for this worker, and {requester.name} is a person.",
            "ask with `slipway retrain`, or give the worker a machine's token",
        )
    of_this_run = f"{model}-t-{str(flow_run.id)[-8:]}"
    return ask_training(here, model, requester, None, release=release, training_id=of_this_run)


@contextmanager
def at_training(asked: Asked) -> Iterator[None]:
    """Let nobody else work on a training meanwhile.

    Raises:
        Conflict: somebody does.
    """
    with alone(house(), asked):
        yield


@task(name="train", task_run_name="train {model}")
def train_version(model: str, training_id: str) -> Candidate:
    """Run the entrypoint and take what it registers, or find what it has."""
    here = house()
    return train(here, find(here, model, training_id), _listen(training_id))


def _listen(training_id: str) -> Callable[[str], None]:
    """Show what an entrypoint says of its progress, at most once a second, in Prefect's page."""
    log = get_run_logger()
    shown = cast("UUID", create_progress_artifact(0.0, description=training_id))
    last = 0.0

    def heard(line: str) -> None:
        nonlocal last
        told_of = read_progress(line)
        if told_of is None or (time.monotonic() - last < 1 and told_of[0] < 1):
            return
        last = time.monotonic()
        log.info("%.0f %%: %s", 100 * told_of[0], told_of[1])
        failpoint("training-began")
        try:
            update_progress_artifact(shown, 100 * told_of[0])
        except httpx.HTTPError as error:
            # Nobody's training may end because a page could not be drawn.
            log.warning("its progress cannot be shown: %s", error)

    return heard


@task(name="open release")
def open_for(model: str, training_id: str, candidate: Candidate) -> Release | None:
    """Open the release that a training was asked for with, in its requester's name, once.

    Returns:
        The release, which an earlier run may have opened; None where none is wanted or possible.
    """
    here = house()
    asked = find(here, model, training_id)
    if not asked.release or told(here, asked, NOT_RELEASED):
        return None
    for one in here.ledger.releases(model):
        if one.candidate == candidate:
            return one
    request = Request(model=model, version=candidate.version)
    try:
        return open_release(here, request, _identity(here, asked.by))
    except Unavailable:
        raise
    except Conflict as error:
        # The reconciler comes back once that is closed.
        sentence = f"{candidate.ref} waits for its release: {error}"
        tell(here, asked, HELD_BACK, sentence, {}, once=HELD_BACK)
    except SlipwayError as error:
        sentence = f"{candidate.ref} is not released: {error}"
        tell(here, asked, NOT_RELEASED, sentence, {}, once=NOT_RELEASED)
    get_run_logger().warning(sentence)
    return None


def _identity(here: House, name: str) -> Identity:
    """Give whoever asked, as they are known today.

    Raises:
        Refused: they may not act any more.
    """
    for one in here.identities.list():
        if one.name == name and one.active:
            return one
    raise Refused(f"{name}, who asked for it, is no longer active.", "ask for its release yourself")
