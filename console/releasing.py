"""Open, answer, follow and call back releases."""

import sys
import time
from pathlib import Path

from console.people import actor
from console.serve import prefect_of
from infra.settings import Settings
from release.errors import NotFound, Unavailable
from release.releases import Phase, Release
from tasks.desk import Request, open_release, roll_back
from tasks.desk import answer as answer_at_desk
from tasks.wiring import House, house

LOOK_SECONDS = 0.3


def release(model: str, version: int | None, policy: Path | None, *, detach: bool) -> None:
    """Open a release in the proven name of the caller and start its flow."""
    here = house()
    who = actor(here)
    prefect = prefect_of(here.settings)
    if not prefect.healthy():
        raise Unavailable("Prefect does not answer, so nothing would move.", "see slipway status")
    request = Request(model=model, version=version, policy=policy)
    opened = open_release(here, request, who)
    parameters = {"model": opened.candidate.model, "release_id": opened.id}
    prefect.start("release", parameters, key=opened.id)
    sys.stdout.write(f"{opened.id}\n")
    if not detach:
        follow(here, opened.id)


def follow(here: House, release_id: str) -> Release:
    """Print a release's events as they come, until it is closed or waits for a person."""
    told = 0
    while True:
        standing = here.ledger.release(release_id)
        for number, event in here.ledger.events(release_id, after=told):
            sys.stdout.write(f"  {event.kind:<16} {event.sentence}\n")
            told = number
        sys.stdout.flush()
        if standing.phase is Phase.AWAITING_APPROVAL:
            sys.stdout.write(f"  waits for a yes: slipway approve {release_id} --why …\n")
            return standing
        if standing.phase.closed:
            return standing
        time.sleep(LOOK_SECONDS)


def answer(release_id: str, *, granted: bool, why: str) -> None:
    """Record a yes or no in the proven name of the caller, and let the release move on."""
    here = house()
    who = actor(here)
    opened = _find(here, release_id)
    approval = answer_at_desk(here, opened.id, who, granted=granted, why=why)
    sys.stdout.write(f"{approval.who} {'approved' if granted else 'rejected'} {opened.id}\n")
    _nudge(here.settings, opened.id)


def _find(here: House, release_id: str) -> Release:
    """Find a release by its id, or by its model where that has one open."""
    opened = here.ledger.releases(release_id, open_only=True)
    if not opened and here.ledger.releases(release_id):
        raise NotFound(f"{release_id} has no open release.", f"see slipway history {release_id}")
    return opened[0] if opened else here.ledger.release(release_id)


def _nudge(settings: Settings, release_id: str) -> None:
    """Start the rollout flow now; should that fail, the reconciler takes the release up."""
    try:
        prefect_of(settings).start("rollout", {"release_id": release_id})
    except Unavailable as error:
        sys.stderr.write(f"It is recorded and moves on once flows run again. {error}\n")


def rollback(model: str, why: str) -> None:
    """Lead a model back, at once, through the ledger alone; then wait until gateways serve it."""
    here = house()
    if not here.ledger.desired(model).generation and not here.ledger.releases(model):
        known = ", ".join(one.model for one in here.ledger.all_desired()) or "none yet"
        raise NotFound(f"No model {model!r} was ever released.", f"released are: {known}")
    sys.stdout.write(f"{roll_back(here, model, actor(here), why)}\n")
    if not _served(here, model):
        sys.stderr.write("No gateway has confirmed it yet; see slipway status.\n")
    try:
        prefect_of(here.settings).start("reconcile", {})
    except Unavailable:
        sys.stderr.write("Flows are not running; the registry's aliases follow once they do.\n")


def _served(here: House, model: str, seconds: float = 5.0) -> bool:
    """Wait for the gateways that are heard to serve the present generation."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        wanted = here.ledger.desired(model).generation
        now = here.clock()
        heard = [one for one in here.ledger.gateways(model) if now - one.at < seconds]
        if heard and all(one.generation >= wanted for one in heard):
            return True
        time.sleep(0.1)
    return False
