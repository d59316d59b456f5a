"""Which replica is asked next, how much a request weighs, how long one is left alone. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

PER_ITEM = 2.0
"""Tokens of an item besides its words: most tokenizers add one at either end."""

FIRST_RATE = 0.25
"""Tokens a byte of UTF-8, until answers tell."""

LEAST_RATE, MOST_RATE = 0.01, 4.0

MEMORY = 0.95
"""How much of the rate so far stays with each answer."""

FIRST_REST = 0.1
LONGEST_REST = 10.0
STEADY_SECONDS = 30.0
"""A replica that was well for so long starts again with the shortest rest."""


@dataclass(slots=True)
class Estimate:
    """How many tokens a variant's texts have, guessed from bytes: only replicas tokenise."""

    rate: float = FIRST_RATE

    def tokens(self, items: int, size: int) -> int:
        """Guess.

        Args:
            items: texts.
            size: UTF-8 bytes of all of them.
        """
        return max(1, round(PER_ITEM * items + self.rate * size))

    def learn(self, items: int, size: int, tokens: int) -> None:
        """Take note of how many there really were."""
        if size > 0:
            found = (tokens - PER_ITEM * items) / size
            found = min(MOST_RATE, max(LEAST_RATE, found))
            self.rate = MEMORY * self.rate + (1 - MEMORY) * found


def size_of(texts: Sequence[str]) -> int:
    """UTF-8 bytes of some texts, without encoding those that are plain."""
    return sum(
        len(one) if one.isascii() else len(one.encode(errors="surrogatepass")) for one in texts
    )


def least(outstanding: Sequence[int], turn: int) -> int:
    """Give the place of the replica with the fewest outstanding tokens.

    Args:
        outstanding: tokens of each; at least one.
        turn: where to begin, so that equals take turns.
    """
    count = len(outstanding)
    return min(range(count), key=lambda place: (outstanding[place], (place - turn) % count))


@dataclass(slots=True)
class Rest:
    """How long a replica that had to be ejected is left alone: longer each time."""

    falls: int = 0
    rose: float = 0.0

    def admitted(self, now: float) -> None:
        """Note that it is asked again."""
        self.rose = now

    def ejected(self, now: float) -> float:
        """Note that it was ejected; give the seconds until it may be asked how it is."""
        self.falls = 1 if now - self.rose > STEADY_SECONDS else self.falls + 1
        rest: float = min(FIRST_REST * 2.0 ** (self.falls - 1), LONGEST_REST)
        return rest
