"""What a suite asks, by its task, and how a line of it is read.

| task | a line of a split |
|---|---|
| text-classification | `{"text": "…", "label": "…"}` |
| token-classification | `{"text": "…", "entities": [{"start": 0, "end": 4, "label": "PER"}]}` |
| feature-extraction | `{"text": "…", "other": "…", "similarity": 0.8}` |

Offsets count characters (code points); the end stands behind the last one.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from release.errors import Invalid
from release.variants import Task

TAKEN = ("label", "characters")
"""Slices that every suite has by itself."""


class Span(NamedTuple):
    """A stretch of a text that has a name."""

    start: int
    """Character at which it begins."""

    end: int
    """Character behind it."""

    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One text and what it should be called."""

    text: str
    label: str
    slices: tuple[str, ...] = ()
    """Such as `language=zh`."""

    @property
    def texts(self) -> tuple[str, ...]:
        """All that a model is asked."""
        return (self.text,)

    @property
    def labels(self) -> frozenset[str]:
        """Labels that it needs to be known."""
        return frozenset({self.label})

    def as_row(self) -> dict[str, Any]:
        """Give the line that says so."""
        return {"text": self.text, "label": self.label, **_told(self.slices)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """One text and the entities that should be found in it."""

    text: str
    entities: tuple[Span, ...]
    slices: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """All that a model is asked."""
        return (self.text,)

    @property
    def labels(self) -> frozenset[str]:
        """Labels that it needs to be known."""
        return frozenset(one.label for one in self.entities)

    def as_row(self) -> dict[str, Any]:
        """Give the line that says so."""
        entities = [one._asdict() for one in self.entities]
        return {"text": self.text, "entities": entities, **_told(self.slices)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two texts and how like they are."""

    text: str
    other: str
    similarity: float
    """Within 0..1."""

    slices: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """All that a model is asked."""
        return (self.text, self.other)

    @property
    def labels(self) -> frozenset[str]:
        """Labels that it needs to be known."""
        return frozenset()

    def as_row(self) -> dict[str, Any]:
        """Give the line that says so."""
        texts = {"text": self.text, "other": self.other}
        return {**texts, "similarity": self.similarity, **_told(self.slices)}


def _told(slices: tuple[str, ...]) -> dict[str, Any]:
    """Give what a line says of its slices: nothing where there is none."""
    return {"slices": dict(one.split("=", 1) for one in slices)} if slices else {}


Kind = Example | Marked | Pair
"""An example of any task."""

Row = Mapping[str, Any]


def read_line(line: str, task: Task, where: str) -> Kind:
    """Read one line of a split; what a gateway would refuse of a client is no example either.

    Args:
        line: JSON.
        task: of the suite.
        where: named in errors.

    Raises:
        Invalid: it is no example of the task.
    """
    needed, read, form = _FORMS[task]
    hint = f"each line is {form}"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{where} is no example: {error}.", hint) from error
    if not isinstance(row, dict) or not needed <= row.keys():
        raise Invalid(f"{where} is no example: {line.strip()!r:.80}.", hint)
    return read(row, where)


def _classified(row: Row, where: str) -> Example:
    text, label = row["text"], row["label"]
    if not isinstance(text, str) or not isinstance(label, str) or not text.strip():
        raise Invalid(f"{where}: text and label must be texts that are not empty.")
    _check_whole(text, where)
    return Example(text=text, label=label, slices=_slices(row, where))


def _marked(row: Row, where: str) -> Marked:
    text = _text(row, "text", where)
    entities = spans(row["entities"], text, where)
    return Marked(text=text, entities=entities, slices=_slices(row, where))


def _pair(row: Row, where: str) -> Pair:
    text, other = (_text(row, name, where) for name in ("text", "other"))
    alike = similarity(row["similarity"], where)
    return Pair(text=text, other=other, similarity=alike, slices=_slices(row, where))


_FORMS: Mapping[Task, tuple[set[str], Callable[[Row, str], Kind], str]] = {
    Task.TEXT_CLASSIFICATION: ({"text", "label"}, _classified, '{"text": "…", "label": "…"}'),
    Task.TOKEN_CLASSIFICATION: (
        {"text", "entities"},
        _marked,
        '{"text": "…", "entities": [{"start": 0, "end": 4, "label": "…"}]}',
    ),
    Task.FEATURE_EXTRACTION: (
        {"text", "other", "similarity"},
        _pair,
        '{"text": "…", "other": "…", "similarity": 0.8}',
    ),
}
"""Task to what a line must hold, how it is read, and how it looks."""


def _text(row: Row, name: str, where: str) -> str:
    text = row[name]
    if not isinstance(text, str) or not text.strip():
        raise Invalid(f"{where}: {name} must be a text that is not empty.")
    _check_whole(text, where)
    return text


def _check_whole(text: str, where: str) -> None:
    if broken(text):
        raise Invalid(f"{where}: the text holds half a character (a lone surrogate).")


def broken(text: str) -> bool:
    """Whether a text holds half a character, as JSON can write one."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def spans(given: object, text: str, where: str) -> tuple[Span, ...]:
    """Read the entities of a text, in the order of their places.

    Args:
        given: a list of objects with `start`, `end` and `label`.
        text: in which they lie.
        where: named in errors.

    Raises:
        Invalid: one is outside the text, stands there twice or has no label.
    """
    if not isinstance(given, list):
        raise Invalid(f"{where}: entities must be a list, not {given!r:.80}.", _ENTITIES_HINT)
    found = sorted(_span(one, text, where) for one in given)
    for one, following in pairwise(found):
        if one == following:
            said = f"{where}: {one.label!r} stands at {one.start}..{one.end} twice."
            raise Invalid(said, "name each entity once")
    return tuple(found)


_ENTITIES_HINT = 'such as [{"start": 0, "end": 4, "label": "PER"}], and [] where there is none'


def _span(given: object, text: str, where: str) -> Span:
    if not isinstance(given, dict) or not {"start", "end", "label"} <= given.keys():
        raise Invalid(f"{where}: {given!r:.80} is no entity.", _ENTITIES_HINT)
    start, end, label = given["start"], given["end"], given["label"]
    if type(start) is not int or type(end) is not int or not _is_name(label):
        raise Invalid(f"{where}: {given!r:.80} is no entity.", _ENTITIES_HINT)
    if not 0 <= start < end <= len(text):
        raise Invalid(
            f"{where}: {label!r} at {start}..{end} is no part of a text of {len(text)} characters.",
            "start counts characters from 0, end stands behind the last one",
        )
    if text[start:end] != text[start:end].strip():
        # A model that names words could never be right about it.
        raise Invalid(
            f"{where}: {label!r} at {start}..{end} is {text[start:end]!r:.60}.",
            "an entity neither begins nor ends with white space",
        )
    return Span(start, end, label)


def _is_name(label: object) -> bool:
    return isinstance(label, str) and bool(label.strip()) and not broken(label)


def similarity(given: object, where: str) -> float:
    """Read how like two texts are.

    Raises:
        Invalid: it is no number within 0..1.
    """
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        raise Invalid(
            f"{where}: similarity must be within 0..1, not {given!r:.40}.",
            "of a scale such as 0..5 divide each by its end",
        )
    return float(given)


def _slices(row: Row, where: str) -> tuple[str, ...]:
    given = row.get("slices", {})
    plain = isinstance(given, dict) and all(
        isinstance(name, str) and isinstance(value, str) and name and value and name not in TAKEN
        for name, value in given.items()
    )
    if not plain:
        raise Invalid(
            f"{where}: slices must map names to texts, not {given!r:.80}.",
            f'such as {{"language": "zh"}}; {" and ".join(TAKEN)} are taken',
        )
    assert isinstance(given, dict)  # noqa: S101 - just looked at
    return tuple(f"{name}={value}" for name, value in given.items())
