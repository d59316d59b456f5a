"""From numbers to what a client is told."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from serving.replica.answers import ClassReader, EntityReader, VectorReader, entities, tags_of
from serving.replica.engines.tokens import NOWHERE, Item, Tokens
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
    tags = tags_of(labels)
    found = entities([tags[label] for label in labels], scores, spans)
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


def test_empty_tokens_are_no_part_of_anything() -> None:
    assert _told(("B-X", 0.9, 0, 0), ("I-X", 0.5, 0, 1)) == [("X", 0, 1, 0.5)]
    assert _told(("I-X", 0.9, 0, 0), ("O", 0.5, 0, 1)) == []


def test_bytes_of_one_character_are_one_stretch() -> None:
    assert _told(*[("B-X", 0.9, 0, 1)] * 3, ("B-X", 0.5, 1, 2)) == [
        ("X", 0, 1, 0.9),
        ("X", 1, 2, 0.5),
    ]


@pytest.mark.parametrize(("last", "alone"), [("E-", "S-"), ("L-", "U-")])
def test_every_way_to_write_stretches_is_read(last: str, alone: str) -> None:
    labels = ["B-P", "I-P", f"{last}P", "I-P", f"{alone}P", f"{alone}P", "B-I-95"]
    told = _told(*[(label, 0.5, n, n + 1) for n, label in enumerate(labels)])
    assert [one[:3] for one in told] == [
        ("P", 0, 3),
        ("P", 3, 4),
        ("P", 4, 5),
        ("P", 5, 6),
        ("I-95", 6, 7),
    ]


def test_a_name_with_a_dash_in_it_stays_whole() -> None:
    assert [one[0] for one in _told(("E-mail", 0.5, 0, 1), ("B-X", 0.5, 1, 2))] == ["E-mail", "X"]


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


def test_white_space_is_no_part_of_a_stretch(tmp_path: Path) -> None:
    pieces = [("<unk>", 0.0), ("▁Ann", -1.0), ("▁met", -1.0), ("▁Bob", -1.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (item,) = Tokens(tmp_path, {"vocab_size": 4}, 64).items(["Ann met Bob"], spans=True)
    assert item.spans == [(0, 3), (4, 7), (8, 11)]


def test_vectors_are_told_as_little_endian_numbers() -> None:
    rows = [np.array([1, 2], dtype=np.float32), np.array([3, 4], dtype=np.float32)]
    found = VectorReader().gather(VectorReader().read([ITEM, ITEM], rows))
    assert found.width == 2
    assert np.frombuffer(found.data, "<f4").tolist() == [1, 2, 3, 4]
