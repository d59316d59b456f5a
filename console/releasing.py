"""Open, answer, follow and call back releases."""

import sys
import time
from pathlib import Path

from console.following import follow
from console.people import actor
from console.serve import prefect_of
from infra.failpoints import failpoint
from infra.settings import Settings
from release.errors import NotFound, Unavailable
from release.wording import tame
from tasks.desk import answer as answer_at_desk
from tasks.desk import open_release, roll_back
from tasks.inspection import Request
from tasks.sight import find
from tasks.wiring import House, house


def release(model: str, version: int | None, policy: Path | None, *, detach: bool) -> None:
    """Open a release in the proven name of the caller and start its flow."""
    here = house()
    who = actor(here)
    prefect = prefect_of(here.settings)
    if not prefect.healthy():
        raise Unavailable("Prefect does not answer, so nothing would move.", "see slipway status")
    request = Request(model=model, version=version, policy=policy)
    opened = open_release(here, request, who)
    failpoint("opened")
    parameters = {"model": opened.candidate.model, "release_id": opened.id}
    prefect.start("release", parameters, key=opened.id)
    sys.stdout.write(f"{opened.id}\n")
    if detach:
        return
    # A script is answered at the approval; a person may look on past it.
    watched = sys.stdout.isatty()
    if watched:
        sys.stdout.write("Ctrl-C stops following; the release goes on.\n")
    follow(here, opened.id, past_approval=watched)


def answer(release_id: str, *, granted: bool, why: str) -> None:
    """Record a yes or no in the proven name of the caller, and let the release move on."""
    here = house()
    who = actor(here)
    opened = find(here, release_id)
    approval = answer_at_desk(here, opened.id, who, granted=granted, why=why)
    failpoint("answered")
    sys.stdout.write(f"{approval.who} {'approved' if granted else 'rejected'} {opened.id}\n")
    _nudge(here.settings, opened.id)


def _nudge(settings: Settings, release_id: str) -> None:
    """Start the rollout flow now; should that fail, the reconciler takes the release up."""
    try:
        prefect_of(settings).start("rollout", {"release_id": release_id})
    except Unavailable as error:
        sys.stderr.write(f"It is recorded and moves on once flows run again. {tame(str(error))}\n")


def rollback(model: str, why: str) -> None:
    """Lead a model back, at once, through the ledger alone; then wait until gateways serve it."""
    here = house()
    if not here.ledger.desired(model).generation and not here.ledger.releases(model):
        known = ", ".join(one.model for one in here.ledger.all_desired()) or "none yet"
        raise NotFound(f"No model {model!r} was ever released.", f"released are: {known}")
    sentence = roll_back(here, model, actor(here), why)
    failpoint("rolled-back")
    sys.stdout.write(f"{tame(sentence)}\n")
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
