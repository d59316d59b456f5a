"""How long a process has said nothing, as far as anybody asked it. Pure."""

from dataclasses import dataclass

LONGEST_GAP = 2.0
"""Seconds between two askings that count at most: who asked no sooner was held up himself."""


@dataclass(slots=True)
class Silence:
    """The silence of one process: from the first unanswered asking to the last."""

    seconds: float = 0.0
    _asked: float | None = None

    def asked(self, now: float, *, answered: bool) -> None:
        """Note an asking.

        Args:
            now: on the monotonic clock.
            answered: whether it said how it is.
        """
        if answered:
            self.seconds, self._asked = 0.0, None
            return
        if self._asked is not None:
            self.seconds += min(now - self._asked, LONGEST_GAP)
        self._asked = now
