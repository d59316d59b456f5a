"""Whether an answer can be one: what cannot is never passed on. Pure."""

from array import array
from collections.abc import Sequence
from math import isfinite

from serving.replica.messages import Answer, Classes, Entities, Status, Vectors

SLACK = 1e-3
"""How far rounding may carry a probability beyond 0..1."""


def unsound(answer: Answer, status: Status, items: int) -> str:
    """Say why an answer cannot be one; empty where it can.

    Args:
        answer: what a replica sent.
        status: what it said of itself.
        items: how many texts, or lists of token ids, it was asked about.
    """
    found = answer.found
    if answer.tokens < 0:
        return f"it counted {answer.tokens} tokens"
    if isinstance(found, Classes):
        return _classes(found, status.labels, items)
    if isinstance(found, Entities):
        return _entities(found, items)
    return _vectors(found, status.width, items)


def _classes(found: Classes, labels: Sequence[str], items: int) -> str:
    if len(found.labels) != items or len(found.scores) != items:
        return f"it gave {len(found.labels)} labels and {len(found.scores)} rows for {items} items"
    for row in found.scores:
        if len(row) != len(labels):
            return f"it gave {len(row)} scores for {len(labels)} labels"
        # A sum shows what is not a number, which passes by every comparison.
        if row and not (min(row) >= -SLACK and max(row) <= 1 + SLACK and isfinite(sum(row))):
            return "it gave scores that are no probabilities"
    if unknown := set(found.labels).difference(labels):
        return f"it gave the label {min(unknown)!r:.40}, which it does not have"
    return ""


def _entities(found: Entities, items: int) -> str:
    if len(found.found) != items:
        return f"it gave entities of {len(found.found)} items for {items}"
    for one in (entity for item in found.found for entity in item):
        if not 0 <= one.start <= one.end:
            return f"it gave an entity from {one.start} to {one.end}"
        if not -SLACK <= one.score <= 1 + SLACK:
            return "it gave scores that are no probabilities"
    return ""


def _vectors(found: Vectors, width: int, items: int) -> str:
    if found.width != width or len(found.data) != 4 * items * width:
        return f"it gave {len(found.data)} bytes for {items} vectors of {width} numbers"
    if not isfinite(sum(array("f", found.data))):
        return "it gave numbers that are not finite"
    return ""
