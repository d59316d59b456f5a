"""What the indexer does again and again beside folding."""

from collections.abc import Callable
from dataclasses import dataclass

from release.errors import SlipwayError

PAUSE_SECONDS = 5.0
"""After a failure."""

LONGEST_PAUSE = 600.0
"""After a chore that failed again and again: a part that is away may take long to say so."""


@dataclass(slots=True)
class Chore:
    """What is done again and again beside folding, however much there is to fold."""

    every: float
    """Seconds."""

    work: Callable[[], None]
    due: float
    """When next, as `time.monotonic` tells it."""

    pause: float = PAUSE_SECONDS
    """Until it is tried again, should it fail now."""

    def look(self, now: float, say: Callable[[str], None]) -> None:
        """Do it if it is due; one that fails says so, and is due again soon, then less soon."""
        if now < self.due:
            return
        try:
            self.work()
        except (SlipwayError, OSError) as error:
            say(str(error))
            self.due = now + self.pause
            self.pause = min(2 * self.pause, LONGEST_PAUSE)
        else:
            self.due = now + self.every
            self.pause = PAUSE_SECONDS
