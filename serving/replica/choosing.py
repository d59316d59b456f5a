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

FULL_ROW = 128
"""Size of the row that is filled when there are texts enough. A longer one would spend more on its
mask than on another call, and take longer; engines may compile this one apart."""

CALL_TOKENS = 8
"""What a call costs besides its tokens, in tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A text that waits."""

    tokens: int
    passed: int = 0
    """Batches with a younger text that have left before it."""


class Waits(Protocol):
    """Whatever waits like one."""

    @property
    def tokens(self) -> int:
        """Of it."""
        ...

    @property
    def passed(self) -> int:
        """Batches with a younger text that have left before it."""
        ...


class Layout(Protocol):
    """How texts lie beside each other in what an engine takes."""

    def joins(self, batch: Sequence[int], tokens: int) -> bool:
        """Whether a text may join others, all given by their tokens; `batch` is never empty."""
        ...

    def fill(self, batch: Sequence[int], others: Iterable[tuple[int, int]]) -> list[int]:
        """Give the places of those who may join all at once, the most welcome having come first.

        Args:
            batch: tokens of those who are in, the oldest first; never empty.
            others: tokens and place of each other one, the oldest first.
        """
        ...

    def calls(self, texts: int, tokens: int) -> float:
        """About how many batches so many texts make, with so many tokens in all."""
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

    def joins(self, batch: Sequence[int], tokens: int) -> bool:
        """Whether it fits, and costs no more than by itself."""
        return self._joins(self.rounded(max(batch)), len(batch), self.rounded(tokens))

    def _joins(self, row: int, rows: int, more: int) -> bool:
        cost = max(row, more) * (rows + 1)
        apart = row * rows + more + CALL_TOKENS
        return rows < self.texts and cost <= min(self.budget, apart)

    def fill(self, batch: Sequence[int], others: Iterable[tuple[int, int]]) -> list[int]:
        """Those of like length first."""
        oldest = batch[0]
        found: list[int] = []
        row, rows = self.rounded(max(batch)), len(batch)
        for tokens, place in sorted(others, key=lambda one: abs(one[0] - oldest)):
            if rows >= self.texts:
                break
            more = self.rounded(tokens)
            if self._joins(row, rows, more):
                row, rows = max(row, more), rows + 1
                found.append(place)
        return found

    def calls(self, texts: int, tokens: int) -> float:
        """About how many batches they make."""
        return max(texts / self.texts, tokens / self.budget)

    def rounded(self, tokens: int) -> int:
        """Length of a row for so many tokens."""
        return rounded(tokens, SHAPES, max(self.longest, tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Several texts in one row, one behind the other."""

    rows: tuple[int, ...]
    """Sizes that a row may have, the smallest first; one is `FULL_ROW`, or all are larger."""

    def joins(self, batch: Sequence[int], tokens: int) -> bool:
        """Whether it fits into a full row, or into the larger one that the oldest needs."""
        size = self._size(batch)
        return sum(batch) + tokens <= size and len(batch) < texts_in(size)

    def calls(self, texts: int, tokens: int) -> float:
        """About how many rows they fill."""
        full = max(FULL_ROW, self.rows[0])
        return max(texts / texts_in(full), tokens / full)

    def _size(self, batch: Sequence[int]) -> int:
        """Of the row that is filled for the sake of the oldest."""
        return max(FULL_ROW, self.row(batch[:1]))

    def fill(self, batch: Sequence[int], others: Iterable[tuple[int, int]]) -> list[int]:
        """Those that leave the least of the row empty, and of these rather the oldest.

        A sum of subsets: bit n of a number says whether n tokens can be had of the first so many.
        """
        size = self._size(batch)
        room, places = size - sum(batch), texts_in(size) - len(batch)
        reach, seen = [1], list[tuple[int, int]]()
        for tokens, place in others:
            if reach[-1] >> room & 1:
                break
            seen.append((tokens, place))
            reach.append((reach[-1] | reach[-1] << tokens) & (2 << room) - 1)
        left, found = reach.pop().bit_length() - 1, list[int]()
        for (tokens, place), before in zip(reversed(seen), reversed(reach), strict=True):
            if not before >> left & 1:
                found.append(place)
                left -= tokens
        return found[::-1][:places]

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


def choose(waiting: Sequence[Waits], layout: Layout) -> list[int]:
    """Choose a batch.

    Args:
        waiting: the oldest first.
        layout: of the batch.

    Returns:
        Places in `waiting`, in order; the first is 0. None if nothing waits.
    """
    if not waiting:
        return []
    batch, lengths, end = [0], [waiting[0].tokens], len(waiting)
    for place in range(1, end):
        if waiting[place].passed < MOST_PASSED:
            continue
        if not layout.joins(lengths, waiting[place].tokens):
            # It was passed over often enough: whoever came later than it stays behind it.
            end = place
            break
        batch.append(place)
        lengths.append(waiting[place].tokens)
    inside = set(batch)
    others = [(waiting[place].tokens, place) for place in range(1, end) if place not in inside]
    return sorted([*batch, *layout.fill(lengths, others)])


def passed_over(waiting: int, batch: Sequence[int]) -> list[int]:
    """Give the places of those who stay though a younger one leaves.

    Args:
        waiting: how many there are.
        batch: places of those who leave, in order.
    """
    chosen = set(batch)
    youngest = batch[-1] if batch else 0
    return [place for place in range(min(waiting, youngest)) if place not in chosen]
