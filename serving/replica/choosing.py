"""Which of the texts that wait are computed together. Pure.

The oldest is always among them. Others join while the batch stays within its budget and they cost
no more there than by themselves. Each may be passed over by younger ones, but only so often: from
then on nobody overtakes it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

MOST_PASSED = 8
"""Batches with a younger text that may leave before a text that waits."""

SHAPES = (16, 32, 64, 128, 256, 512, 1024, 2048)
"""Rounded lengths: each new shape costs a compiled engine time, so that there are few."""

FULL_ROW = 256
"""Size of the row that is filled when there are texts enough. A longer one would spend more on its
mask than on another call; engines may compile this one apart."""

CALL_TOKENS = 8
"""What a call costs besides its tokens, in tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A text that waits."""

    tokens: int
    passed: int = 0
    """Batches with a younger text that have left before it."""


class Layout(Protocol):
    """How texts lie beside each other in what an engine takes."""

    def preferred(self, oldest: int, others: Iterable[tuple[int, int]]) -> Iterable[int]:
        """Give the places of the others, the most welcome first.

        Args:
            oldest: tokens of the text that must be in.
            others: place and tokens of each other one, the oldest first.
        """
        ...

    def joins(self, batch: Sequence[int], tokens: int) -> bool:
        """Whether a text may join others, all given by their tokens; `batch` is never empty."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Padded:
    """Every text in a row of its own, each row as long as the longest, rounded up."""

    longest: int
    """Most tokens of a text."""

    budget: int = 2_048
    """Padded tokens of a batch; one text may have more."""

    texts: int = 32
    """Most texts of a batch."""

    def preferred(self, oldest: int, others: Iterable[tuple[int, int]]) -> Iterable[int]:
        """Those of like length first."""
        return (place for place, _ in sorted(others, key=lambda one: abs(one[1] - oldest)))

    def joins(self, batch: Sequence[int], tokens: int) -> bool:
        """Whether it fits, and costs no more than by itself."""
        before, after = max(batch), max(*batch, tokens)
        cost = self.rounded(after) * (len(batch) + 1)
        apart = self.rounded(before) * len(batch) + self.rounded(tokens) + CALL_TOKENS
        return len(batch) < self.texts and cost <= min(self.budget, apart)

    def rounded(self, tokens: int) -> int:
        """Length of a row for so many tokens."""
        return rounded(tokens, SHAPES, max(self.longest, tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Several texts in one row, one behind the other."""

    rows: tuple[int, ...]
    """Sizes that a row may have, the smallest first; one is `FULL_ROW`."""

    def preferred(self, oldest: int, others: Iterable[tuple[int, int]]) -> Iterable[int]:
        """The longest first, which leaves the least of a row empty."""
        del oldest
        return (place for place, _ in sorted(others, key=lambda one: -one[1]))

    def joins(self, batch: Sequence[int], tokens: int) -> bool:
        """Whether it fits into a full row, or into the larger one that the oldest needs."""
        size = max(FULL_ROW, self.row(batch[:1]))
        return sum(batch) + tokens <= size and len(batch) < texts_in(size)

    def row(self, batch: Sequence[int]) -> int:
        """Size of the smallest row for some texts, given by their tokens."""
        tokens, texts = sum(batch), len(batch)
        fits = (size for size in self.rows if size >= tokens and texts_in(size) >= texts)
        return next(fits, self.rows[-1])


def texts_in(row: int) -> int:
    """Most texts in a row of so many tokens."""
    return max(1, row // 8)


def rounded(tokens: int, shapes: Iterable[int], most: int) -> int:
    """Give the smallest of some lengths that holds so many tokens, but no more than the most."""
    return min(next((shape for shape in shapes if shape >= tokens), most), most)


def choose(waiting: Sequence[Waiting], layout: Layout) -> list[int]:
    """Choose a batch.

    Args:
        waiting: the oldest first.
        layout: of the batch.

    Returns:
        Places in `waiting`, in order; the first is 0. None if nothing waits.
    """
    if not waiting:
        return []
    batch, lengths = [0], [waiting[0].tokens]
    others = range(1, len(waiting))
    for place in [place for place in others if waiting[place].passed >= MOST_PASSED]:
        if not layout.joins(lengths, waiting[place].tokens):
            # It was passed over often enough: whoever came later than it stays behind it.
            others = range(1, place)
            break
        batch.append(place)
        lengths.append(waiting[place].tokens)
    free = [(place, waiting[place].tokens) for place in others if place not in batch]
    for place in layout.preferred(lengths[0], free):
        if layout.joins(lengths, waiting[place].tokens):
            batch.append(place)
            lengths.append(waiting[place].tokens)
    return sorted(batch)


def passed_over(waiting: int, batch: Sequence[int]) -> list[int]:
    """Give the places of those who stay though a younger one leaves.

    Args:
        waiting: how many there are.
        batch: places of those who leave, in order.
    """
    chosen = set(batch)
    youngest = batch[-1] if batch else 0
    return [place for place in range(min(waiting, youngest)) if place not in chosen]
