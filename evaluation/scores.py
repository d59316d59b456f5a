"""What the answers to a suite are worth, as each task's module finds it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from evaluation.bootstrap import Statistics
from evaluation.harness import Answered, Embedded, Marks, Said
from release.errors import Invalid
from release.reports import Bin

T = TypeVar("T", Said, Marks, Embedded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How good answers are; how fast they came is nothing of it."""

    statistics: Statistics
    """Those with an interval; one that is not defined for the sample is absent."""

    slices: Mapping[str, Statistics]
    points: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    """Those without: value and sample size."""

    confusion: tuple[tuple[int, ...], ...] = ()
    calibration: tuple[Bin, ...] = ()
    pairs: tuple[tuple[float, float], ...] = ()


def of_kind(answers: Sequence[Answered], kind: type[T]) -> list[T]:
    """Give answers that are all of the kind that a task gives.

    Raises:
        Invalid: one is of another kind, such as of a champion that has another task.
    """
    found = [one for one in answers if isinstance(one, kind)]
    if len(found) != len(answers):
        other = next(one for one in answers if not isinstance(one, kind))
        raise Invalid(
            f"A model answers with {_KINDS[type(other)]}, but its suite asks for {_KINDS[kind]}.",
            "use the suite that the model was trained for",
        )
    return found


_KINDS: Mapping[type[Answered], str] = {Said: "labels", Marks: "entities", Embedded: "vectors"}
