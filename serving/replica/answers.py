"""From what an engine found to what a client is told, by the task. Pure.

`read` takes a whole batch, so that there are few steps for many texts; `gather` puts together what
belongs to one request.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol, TypeVar

import numpy as np

from release.variants import Manifest, Task
from serving.replica.engines.port import Outputs, softmax
from serving.replica.engines.tokens import NOWHERE, Item, Span
from serving.replica.messages import Classes, Entities, Entity, Found, Vectors

Part = TypeVar("Part")
OUTSIDE = "O"
"""Label of a token that belongs to nothing."""

BEGIN, INSIDE = "B-", "I-"
BEGINS, ENDS = (BEGIN, "U-", "S-"), ("L-", "E-", "U-", "S-")
"""What labels that begin a stretch begin with, and those that end one: IOB, BILOU and BIOES."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """What a label of a token says."""

    name: str
    """Of the stretch; `OUTSIDE` where there is none."""

    begins: bool = False
    ends: bool = False


def tags_of(labels: Sequence[str]) -> dict[str, Tag]:
    """Read labels of tokens.

    Only what is also there with `B-` or `I-` can end: `E-mail` alone is a name.
    """
    known = set(labels)
    found: dict[str, Tag] = {}
    for label in labels:
        place, name = label[:2], label[2:]
        written = place in (BEGIN, INSIDE) or {BEGIN + name, INSIDE + name} & known
        if name and place in {*BEGINS, INSIDE, *ENDS} and written:
            found[label] = Tag(name=name, begins=place in BEGINS, ends=place in ENDS)
        else:
            found[label] = Tag(name=label)
    return found


class Reader(Protocol[Part]):
    """What a task makes of numbers."""

    spans: bool
    """Whether it must know where each token lies."""

    def read(self, items: Sequence[Item], shares: Sequence[Outputs]) -> list[Part]:
        """Give what was found in each item of a batch, of its share of the numbers."""
        ...

    def gather(self, parts: Sequence[Part]) -> Found:
        """Say what was found in the items of one request, in order."""
        ...


class ClassReader:
    """Labels of whole texts.

    Args:
        labels: in the order of the logits.
        thresholds: label to the probability that it needs before it is given.
    """

    spans = False

    def __init__(
        self, labels: Sequence[str], thresholds: Mapping[str, float] | None = None
    ) -> None:
        self._labels = list(labels)
        needs = thresholds or {}
        self._needs = np.array([needs.get(label, 0.0) for label in labels], dtype=np.float32)

    def read(
        self, items: Sequence[Item], shares: Sequence[Outputs]
    ) -> list[tuple[str, list[float]]]:
        """Give label and probabilities of each; at least one label needs nothing to be given."""
        del items
        scores = softmax(np.stack(shares))
        best = np.where(scores >= self._needs, scores, -1.0).argmax(axis=1).tolist()
        return [(self._labels[one], row) for one, row in zip(best, scores.tolist(), strict=True)]

    def gather(self, parts: Sequence[tuple[str, list[float]]]) -> Classes:
        """Say it."""
        return Classes(labels=[label for label, _ in parts], scores=[row for _, row in parts])


class EntityReader:
    """Stretches of texts that have a label.

    Args:
        labels: of tokens, in the order of the logits: plain, or with `B-`, `I-` and the like.
    """

    spans = True

    def __init__(self, labels: Sequence[str]) -> None:
        tags = tags_of(labels)
        self._tags = [tags[label] for label in labels]

    def read(self, items: Sequence[Item], shares: Sequence[Outputs]) -> list[list[Entity]]:
        """Give what is named in each."""
        return [self._of(item, share) for item, share in zip(items, shares, strict=True)]

    def _of(self, item: Item, logits: Outputs) -> list[Entity]:
        scores = softmax(logits)
        best = scores.argmax(axis=1)
        sure = scores[np.arange(len(best)), best].tolist()
        named = [self._tags[one] for one in best.tolist()]
        return list(entities(named, sure, item.spans or []))

    def gather(self, parts: Sequence[list[Entity]]) -> Entities:
        """Say it."""
        return Entities(found=list(parts))


def entities(
    tags: Sequence[Tag], scores: Sequence[float], spans: Sequence[Span]
) -> Iterator[Entity]:
    """Put tokens of one label that follow each other together.

    `B-` begins anew even where the same label stands before it, and nothing goes on behind what
    ends (`E-`, `L-`); `S-` and `U-` do both. `I-` and plain labels go on. A token within the
    characters of the one before, such as a further byte of the same character, is of its stretch.

    Args:
        tags: of each token.
        scores: probability of that label.
        spans: where each token lies; special ones, which lie `NOWHERE`, and empty ones are left
            out.
    """
    number, before, ended, behind = 0, OUTSIDE, False, 0
    told: list[tuple[int, str, float, Span]] = []
    for tag, score, span in zip(tags, scores, spans, strict=True):
        if span[0] == NOWHERE or span[0] == span[1]:
            continue
        same = span[1] <= behind
        number += tag.name != before or (not same and (ended or tag.begins))
        before, ended, behind = tag.name, tag.ends, span[1]
        told.append((number, tag.name, score, span))
    for _, group in groupby(told, key=lambda one: one[0]):
        tokens = list(group)
        if (name := tokens[0][1]) != OUTSIDE:
            mean = sum(score for _, _, score, _ in tokens) / len(tokens)
            start, end = tokens[0][3][0], tokens[-1][3][1]
            yield Entity(start=start, end=end, label=name, score=mean)


class VectorReader:
    """Embeddings."""

    spans = False

    def read(self, items: Sequence[Item], shares: Sequence[Outputs]) -> list[Outputs]:
        """Give the vector of each."""
        del items
        return list(shares)

    def gather(self, parts: Sequence[Outputs]) -> Vectors:
        """Say it."""
        data = np.stack(parts).astype("<f4")
        return Vectors(width=data.shape[1], data=data.tobytes())


def reader_of(manifest: Manifest) -> Reader[Any]:
    """Give what reads a variant's numbers."""
    match manifest.task:
        case Task.TEXT_CLASSIFICATION:
            return ClassReader(manifest.labels, manifest.thresholds)
        case Task.TOKEN_CLASSIFICATION:
            return EntityReader(manifest.labels)
        case Task.FEATURE_EXTRACTION:
            return VectorReader()
