"""From numbers to what a client is told."""

import numpy as np
import pytest

from serving.replica.answers import ClassReader, EntityReader, VectorReader, entities
from serving.replica.engines.tokens import NOWHERE, Item
from serving.replica.messages import Classes, Entities

ITEM = Item([1])


def _chosen(thresholds: dict[str, float], *shares: float) -> str:
    reader = ClassReader(["ham", "spam", "odd"], thresholds)
    logits = np.log(np.array(shares, dtype=np.float32))
    found = reader.gather(reader.read([ITEM], [logits]))
    assert isinstance(found, Classes)
    assert found.scores[0] == pytest.approx(shares, abs=1e-6)
    return found.labels[0]


def test_a_label_with_a_threshold_is_given_from_there_on() -> None:
    assert _chosen({}, 0.2, 0.7, 0.1) == "spam"
    assert _chosen({"spam": 0.6}, 0.2, 0.7, 0.1) == "spam"
    assert _chosen({"spam": 0.8}, 0.2, 0.7, 0.1) == "ham"
    assert _chosen({"spam": 0.8, "ham": 0.5}, 0.2, 0.7, 0.1) == "odd"


def _told(*tokens: tuple[str, float, int, int]) -> list[tuple[str, int, int, float]]:
    labels, scores, starts, ends = zip(*tokens, strict=True)
    spans = list(zip(starts, ends, strict=True))
    found = entities(labels, scores, spans)
    return [(one.label, one.start, one.end, round(one.score, 6)) for one in found]


def test_tokens_of_one_label_are_one_stretch() -> None:
    assert _told(("O", 1, 0, 2), ("B-PER", 0.9, 3, 6), ("I-PER", 0.7, 7, 9), ("O", 1, 10, 11)) == [
        ("PER", 3, 9, 0.8)
    ]
    assert _told(("B-PER", 0.5, 0, 2), ("B-PER", 0.5, 3, 4), ("I-LOC", 0.5, 5, 6)) == [
        ("PER", 0, 2, 0.5),
        ("PER", 3, 4, 0.5),
        ("LOC", 5, 6, 0.5),
    ]
    assert _told(("PER", 0.5, 0, 2), ("PER", 0.7, 3, 4), ("LOC", 0.5, 5, 6)) == [
        ("PER", 0, 4, 0.6),
        ("LOC", 5, 6, 0.5),
    ]
    assert _told(("I-PER", 0.5, 0, 2), ("O", 0.5, 3, 4), ("I-PER", 0.5, 5, 6)) == [
        ("PER", 0, 2, 0.5),
        ("PER", 5, 6, 0.5),
    ]


def test_special_tokens_are_no_part_of_anything() -> None:
    assert _told(("PER", 0.9, NOWHERE, NOWHERE), ("PER", 0.5, 0, 2)) == [("PER", 0, 2, 0.5)]


def test_a_token_has_the_label_that_is_most_probable() -> None:
    logits = np.log(np.array([[0.1, 0.9], [0.8, 0.2]], dtype=np.float32))
    reader = EntityReader(["O", "X"])
    found = reader.gather(reader.read([Item([5, 6], [(0, 1), (1, 2)])], [logits]))
    assert isinstance(found, Entities)
    ((one,),) = found.found
    assert (one.start, one.end, one.label) == (0, 1, "X")
    assert one.score == pytest.approx(0.9)


def test_vectors_are_told_as_little_endian_numbers() -> None:
    rows = [np.array([1, 2], dtype=np.float32), np.array([3, 4], dtype=np.float32)]
    found = VectorReader().gather(VectorReader().read([ITEM, ITEM], rows))
    assert found.width == 2
    assert np.frombuffer(found.data, "<f4").tolist() == [1, 2, 3, 4]
