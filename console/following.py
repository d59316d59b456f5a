"""Follow a release by its events, a line each: `release`, and `watch` without a terminal."""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from console.frame import approve_command
from release.errors import Unavailable
from release.releases import Event, Phase, Release
from release.wording import tame
from tasks.sight import is_answered
from tasks.wiring import House

T = TypeVar("T")

LOOK_SECONDS = 0.3


def heard(ask: Callable[[], T]) -> T:
    """Give what is asked for; a part that does not answer is said once, and asked again."""
    silent = False
    while True:
        try:
            return ask()
        except Unavailable as error:
            if not silent:
                sys.stderr.write(f"  {tame(str(error))} It is asked again.\n")
            silent = True
            time.sleep(LOOK_SECONDS)


def say(event: Event) -> None:
    """Print an event in a line."""
    sys.stdout.write(f"  {event.kind:<16} {tame(event.sentence)}\n")


def follow(here: House, release_id: str, *, past_approval: bool) -> Release:
    """Print a release's events as they come, until it is closed.

    Args:
        here: of this process.
        release_id: which.
        past_approval: whether to go on while it waits for a person, or to return then.
    """
    told, asked = 0, False
    while True:
        standing, waits, news = heard(partial(_look, here, release_id, told))
        for number, event in news:
            say(event)
            told = number
        if waits and not asked:
            asked = True
            sys.stdout.write(f"  waits for a yes: {approve_command(standing)}\n")
        sys.stdout.flush()
        if standing.phase.closed or (waits and not past_approval):
            return standing
        time.sleep(LOOK_SECONDS)


def _look(
    here: House, release_id: str, told: int
) -> tuple[Release, bool, Sequence[tuple[int, Event]]]:
    """Give a release, whether it waits for a yes, and what is new.

    The release is read first, so that its last event is never missed.
    """
    standing = here.ledger.release(release_id)
    news = here.ledger.events(release_id, after=told)
    approvals = tuple(here.ledger.approvals(release_id))
    asks = standing.phase is Phase.AWAITING_APPROVAL
    return standing, asks and not is_answered(standing, approvals, here.clock()), news
