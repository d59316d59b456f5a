"""What the indexer does again and again beside folding."""

from collections.abc import Callable
from dataclasses import dataclass

from release.errors import SlipwayError

PAUSE_SECONDS = 5.0
"""After a failure."""


@dataclass(slots=True)
class Chore:
    """What is done again and again beside folding, however much there is to fold."""

    every: float
    """Seconds."""

    work: Callable[[], None]
    due: float
    """When next, as `time.monotonic` tells it."""

    def look(self, now: float, say: Callable[[str], None]) -> None:
        """Do it if it is due; one that fails says so, and is due again soon."""
        if now < self.due:
            return
        try:
            self.work()
        except (SlipwayError, OSError) as error:
            say(str(error))
            self.due = now + PAUSE_SECONDS
        else:
            self.due = now + self.every
