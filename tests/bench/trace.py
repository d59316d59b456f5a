"""The texts that are asked: log-normal lengths, the same ones for the same seed."""

import random

TEXTS = 2_000
MEDIAN_WORDS, SPREAD, MOST_WORDS = 24, 0.75, 200
"""Of the lengths: a mean of 32 words."""

WORDS = ["the", "model", "is", "late", "and", "its", "canary", "fails", "when", "nobody", "asks"]


def trace(texts: int = TEXTS, seed: int = 2) -> list[str]:
    """Give texts of random lengths, the same ones for the same seed."""
    chance = random.Random(seed)
    base = [chance.lognormvariate(0, SPREAD) * MEDIAN_WORDS for _ in range(texts)]
    return [" ".join(chance.choices(WORDS, k=max(1, min(MOST_WORDS, round(n))))) for n in base]
