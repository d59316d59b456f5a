"""What is given back, by task: outputs, their names and shapes, the same in every protocol. Pure.

A classifier gives `label`, `score` and `probabilities`; a tagger gives `entities`, one JSON array a
text; a model without a head gives `embedding`.
"""

import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from serving.gateway.dispatch import Refusal
from serving.replica.messages import Answer, Classes, Entities, Entity, Found, Vectors

LABEL, SCORE, PROBABILITIES = "label", "score", "probabilities"
ENTITIES, EMBEDDING = "entities", "embedding"

CLASSIFIES, TAGS, EMBEDS = "text-classification", "token-classification", "feature-extraction"

OUTPUTS = {CLASSIFIES: (LABEL, SCORE, PROBABILITIES), TAGS: (ENTITIES,), EMBEDS: (EMBEDDING,)}
"""Each task to the outputs that may be asked for."""

UNASKED = {CLASSIFIES: (LABEL, SCORE), TAGS: (ENTITIES,), EMBEDS: (EMBEDDING,)}
"""Each task to what is given where nothing is asked for."""

ALL = tuple(name for names in OUTPUTS.values() for name in names)

_TASKS: Mapping[type[Found], str] = {Classes: CLASSIFIES, Entities: TAGS, Vectors: EMBEDS}

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output tensor."""

    name: str
    datatype: str
    """BYTES or FP32."""

    shape: list[int]
    data: Sequence[Any]
    """Flat: strings, or numbers."""

    raw: bytes | None = None
    """The same numbers as fp32, little-endian, where they came as such."""


def task_of(found: Found) -> str:
    """Name the task that finds such a thing."""
    return _TASKS[type(found)]


def allow(names: Collection[str], task: str) -> None:
    """Refuse outputs that a task has not; an unknown task has all.

    Raises:
        Refusal: with status 400, naming what there is.
    """
    there = OUTPUTS.get(task, ALL)
    for name in names:
        if name not in there:
            raise Refusal(400, f"There is no output {name[:80]!r}.", f"there is {', '.join(there)}")


def outputs(names: Collection[str], answer: Answer, texts: Sequence[str]) -> list[Output]:
    """Give the outputs that were asked for, or the task's own where none were.

    Args:
        names: of outputs; empty asks for nothing in particular.
        answer: what was found.
        texts: what was asked about; empty where that was token ids.

    Raises:
        Refusal: with status 400, where the task has no such output.
    """
    task = task_of(answer.found)
    allow(names, task)
    return [_OUTPUTS[name](answer.found, texts) for name in names or UNASKED[task]]


def _label(found: Any, _texts: Sequence[str]) -> Output:
    shape = [len(found.labels)]
    return Output(name=LABEL, datatype="BYTES", shape=shape, data=found.labels)


def _score(found: Any, _texts: Sequence[str]) -> Output:
    best = [max(row) for row in found.scores]
    return Output(name=SCORE, datatype="FP32", shape=[len(best)], data=best)


def _probabilities(found: Any, _texts: Sequence[str]) -> Output:
    rows = found.scores
    return Output(
        name=PROBABILITIES,
        datatype="FP32",
        shape=[len(rows), len(rows[0])],
        data=[one for row in rows for one in row],
    )


def _entities(found: Any, texts: Sequence[str]) -> Output:
    rows = [_encode(row).decode() for row in entities(found, texts)]
    return Output(name=ENTITIES, datatype="BYTES", shape=[len(rows)], data=rows)


def _embedding(found: Any, _texts: Sequence[str]) -> Output:
    count = len(found.data) // 4
    return Output(
        name=EMBEDDING,
        datatype="FP32",
        shape=[count // found.width, found.width],
        data=numbers(found.data),
        raw=found.data,
    )


_OUTPUTS: Mapping[str, Callable[[Any, Sequence[str]], Output]] = {
    LABEL: _label,
    SCORE: _score,
    PROBABILITIES: _probabilities,
    ENTITIES: _entities,
    EMBEDDING: _embedding,
}


def entities(found: Entities, texts: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Give each item's entities as plain data, with their words where there was a text."""
    return [
        [_entity(one, texts[number] if texts else None) for one in row]
        for number, row in enumerate(found.found)
    ]


def _entity(one: Entity, text: str | None) -> dict[str, Any]:
    plain = {"start": one.start, "end": one.end, "label": one.label, "score": one.score}
    return plain if text is None else {**plain, "text": text[one.start : one.end]}


def numbers(data: bytes) -> tuple[float, ...]:
    """Read fp32, little-endian."""
    return struct.unpack(f"<{len(data) // 4}f", data)


def rows(found: Vectors) -> list[bytes]:
    """Give the bytes of each item's embedding."""
    size = 4 * found.width
    return [found.data[start : start + size] for start in range(0, len(found.data), size)]
