"""Requests under way, and the texts of which they are made."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from serving.replica.engines.tokens import Item
from serving.replica.messages import Answer, Problem

BYTES_A_TOKEN = 4
"""About so many of a text, until it is tokenised."""

SPECIAL = 2
"""Tokens around a text, about."""


@dataclass(slots=True, kw_only=True)
class Job:
    """A request under way: texts, or token ids in their place."""

    id: int
    texts: list[str] = field(default_factory=list)
    ids: list[list[int]] = field(default_factory=list)
    deadline: float
    """On the monotonic clock."""

    answer: Callable[[Answer | Problem], None]
    """Called once, wherever the scheduler hands it."""

    arrived: float = field(default_factory=time.monotonic)
    tokenized: float = 0.0
    started: float = 0.0
    """When the first of its texts was computed."""

    cancelled: bool = False
    dropped: bool = False
    """It was refused: nothing of it is computed any more."""

    done: bool = False
    """It was answered."""

    tokens: int = 0
    """Estimated, until it is tokenised."""

    parts: dict[int, Any] = field(default_factory=dict)
    """Place among its items to what was found there."""

    def __post_init__(self) -> None:
        sizes = [len(text) // BYTES_A_TOKEN + SPECIAL for text in self.texts]
        self.tokens = sum(sizes) + sum(map(len, self.ids))

    @property
    def items(self) -> int:
        """How many texts it has, or lists of ids."""
        return len(self.texts) or len(self.ids)

    def is_over(self, now: float) -> bool:
        """Whether nobody waits for it any more."""
        return self.cancelled or self.deadline <= now

    def settle(self, reply: Answer | Problem) -> None:
        """Answer, once; whatever comes of its other texts is not told."""
        if not self.done:
            self.done = True
            self.answer(reply)


@dataclass(slots=True, kw_only=True)
class Text:
    """One text of a request, tokenised."""

    job: Job
    place: int
    item: Item
    tokens: int
    passed: int = 0
    """Batches with a younger text that have left before it."""
