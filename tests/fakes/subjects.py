"""Subjects of the evaluation that are plain functions, for suites of entities and of pairs."""

import math
import random
import re
import time
from collections.abc import Callable, Sequence

import numpy as np

from evaluation.examples import Span
from evaluation.harness import Answered, Embedded, Marks, Subject
from tests.fakes.nouns import variant

PEOPLE_AND_PLACES = re.compile(r"(?P<PER>Anna)|(?P<LOC>Oslo|北京)")


def plain(version: int, predict: Callable[[str], Answered], recipe: str = "torch-fp32") -> Subject:
    """A subject of one function."""

    def predict_many(texts: Sequence[str], many: int) -> list[Answered]:
        return [predict(text) for text in texts]

    return Subject(
        variant=variant(version, recipe),
        predict=predict,
        predict_many=predict_many,
        memory_bytes=lambda: 50_000_000,
    )


def finder(
    version: int,
    *,
    blind: str = "",
    misses: float = 0.0,
    seconds: float = 0.0,
    recipe: str = "torch-fp32",
) -> Subject:
    """It finds what `entity_suite` marks, but for one label and for a part, always the same."""
    chance = random.Random(f"{version}{recipe}")

    def predict(text: str) -> Marks:
        time.sleep(seconds)
        found = [
            Span(one.start(), one.end(), str(one.lastgroup))
            for one in PEOPLE_AND_PLACES.finditer(text)
        ]
        return Marks(
            frozenset(
                one._replace(end=one.end - (chance.random() < misses))
                for one in found
                if one.label != blind
            )
        )

    return plain(version, predict, recipe)


def compass(
    version: int, *, jitter: float = 0.0, seconds: float = 0.0, recipe: str = "torch-fp32"
) -> Subject:
    """It points where the last word of a text says, give or take some degrees."""
    chance = random.Random(f"{version}{recipe}")

    def predict(text: str) -> Embedded:
        time.sleep(seconds)
        degrees = float(text.rsplit(maxsplit=1)[-1]) + jitter * chance.gauss()
        length = 1 + chance.random()
        angle = math.radians(degrees)
        return Embedded(np.array([length * math.cos(angle), length * math.sin(angle)]))

    return plain(version, predict, recipe)
