"""Ask for a training and follow it."""

import sys
import time
from functools import partial
from pathlib import Path

from console.following import LOOK_SECONDS, follow, heard, say
from console.people import actor
from console.serve import prefect_of
from release.errors import SlipwayError, Unavailable
from release.releases import Event, Release
from release.variants import Candidate
from release.wording import tame
from tasks.desk import ask_training
from tasks.trainings import (
    BEGAN,
    FAILED,
    HELD_BACK,
    NOT_RELEASED,
    TRAINED,
    Asked,
    candidate_of,
    told,
)
from tasks.wiring import House, house
from tasks.workshop import progress


def retrain(model: str, training: Path | None, *, release: bool, detach: bool) -> None:
    """Ask for a training in the proven name of the caller and start its flow."""
    here = house()
    who = actor(here)
    prefect = prefect_of(here.settings)
    if not prefect.healthy():
        raise Unavailable("Prefect does not answer, so nothing would run.", "see slipway status")
    asked = ask_training(here, model, who, training, release=release)
    prefect.start("retrain", {"model": model, "training_id": asked.id}, key=asked.id)
    sys.stdout.write(f"{asked.id}\n")
    if detach:
        return
    trained = follow_training(here, asked)
    if release:
        _follow_release(here, asked, trained)


def follow_training(here: House, asked: Asked) -> Candidate:
    """Print what is told of a training as it comes, until it has ended.

    Raises:
        SlipwayError: it failed; says why.
    """
    seen, said = 0, ""
    while True:
        events = heard(partial(told, here, asked, BEGAN, TRAINED, FAILED))
        for event in events[seen:]:
            if event.kind != FAILED:
                say(event)
        seen = len(events)
        if (moved := progress(here, asked)) and (line := _share(*moved)) != said:
            said = line
            sys.stdout.write(f"  {'progress':<16} {tame(line)}\n")
        sys.stdout.flush()
        if events and events[-1].kind == FAILED:
            raise SlipwayError(events[-1].sentence)
        if events and events[-1].kind == TRAINED:
            return candidate_of(events[-1])
        time.sleep(LOOK_SECONDS)


def _share(done: float, words: str) -> str:
    return f"{100 * done:3.0f} % {words}"


def _follow_release(here: House, asked: Asked, trained: Candidate) -> None:
    """Follow the release of what was trained, unless it has to wait or cannot be."""
    while True:
        found = heard(partial(_released, here, asked, trained))
        if isinstance(found, Release):
            sys.stdout.write(f"{found.id}\n")
            follow(here, found.id, past_approval=sys.stdout.isatty())
            return
        if found is not None and found.kind == NOT_RELEASED:
            raise SlipwayError(found.sentence)
        if found is not None:
            say(found)
            return
        time.sleep(LOOK_SECONDS)


def _released(here: House, asked: Asked, trained: Candidate) -> Release | Event | None:
    """Give the release of what was trained, else why there is none; None while neither is known."""
    for one in here.ledger.releases(asked.model):
        if one.candidate == trained:
            return one
    kept = told(here, asked, NOT_RELEASED) or told(here, asked, HELD_BACK)
    return kept[-1] if kept else None
