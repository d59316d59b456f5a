"""How long what waits will take, learnt from batches as they come: so much a call, so much a token.

A lone short text costs nearly as much as a full batch. Whoever divides its time by its tokens takes
a quiet hour for a slow engine, and then refuses what could have been computed at once.
"""

from dataclasses import dataclass, field

MEMORY = 0.9
"""How much of the batches before stays in the estimate with each batch."""

MOST_TIMES = 4.0
"""A batch that took more times what was expected counts as so many: whatever stalled it once, such
as a host that was paused, is no pace. Where that lasts, the estimate follows in a few batches."""


@dataclass(slots=True)
class Pace:
    """A line through sizes and times of batches, by least squares; the later ones weigh more."""

    _sums: list[float] = field(default_factory=lambda: [0.0] * 5)
    """Weight, tokens, seconds, tokens², tokens × seconds."""

    def learn(self, tokens: int, seconds: float) -> None:
        """Note how long a batch of so many tokens took."""
        if expected := self.seconds(1, tokens):
            seconds = min(seconds, MOST_TIMES * expected)
        more = (1.0, tokens, seconds, tokens * tokens, tokens * seconds)
        self._sums = [MEMORY * old + new for old, new in zip(self._sums, more, strict=True)]

    def seconds(self, calls: float, tokens: int) -> float:
        """Say how long so many calls with so many tokens in all will take; 0 if none is known."""
        weight, sizes, times, squares, products = self._sums
        if not weight:
            return 0.0
        spread = squares - sizes * sizes / weight
        slope = (products - sizes * times / weight) / spread if spread > weight / 4 else 0.0
        # Neither a call nor a token takes less than nothing, nor more than all there was.
        slope = min(max(0.0, slope), times / max(sizes, 1.0))
        return calls * (times - slope * sizes) / weight + tokens * slope
