"""Batches that are bounded in bytes as well as in number: calls are as large as what was asked."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

MOST_BYTES = 8 * 2**20
"""Of a batch; one that is larger by itself goes alone."""

One = TypeVar("One")


def batches(items: Iterable[One], size: Callable[[One], int], most: int) -> Iterator[list[One]]:
    """Give items in batches, in their order, and take no more of them than the next one has.

    Args:
        items: whatever there is.
        size: gives how large one is, in bytes.
        most: items of a batch.
    """
    batch, held = list[One](), 0
    for one in items:
        its = size(one)
        if batch and (len(batch) == most or held + its > MOST_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(one)
        held += its
    if batch:
        yield batch
