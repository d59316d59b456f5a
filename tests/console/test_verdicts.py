"""The demo's own judgement of what its client saw: it must be able to fail."""

import pytest

from console.verdicts import Span, contradictions, failed, p99, wrong

SPANS = [
    Span(version=1, start=0, end=100),
    Span(version=2, start=50, end=float("inf")),
    Span(version=3, start=200, end=210),
]


def answer(version: int, sent: float, **more: object) -> dict[str, object]:
    plain = {"version": version, "sent": sent, "ms": 10.0, "status": 200, "text": 1, "label": "a"}
    return plain | more


@pytest.mark.parametrize(
    ("version", "sent", "is_wrong"),
    [
        (1, 50, False),
        (1, 101, False),
        (1, 110, True),
        (2, 40, True),
        (2, 500, False),
        (3, 205, False),
        (3, 220, True),
        (3, 190, True),
        (4, 50, True),
        (0, 50, True),
    ],
)
def test_an_answer_of_a_version_that_could_not_answer_is_found(
    version: int, sent: float, *, is_wrong: bool
) -> None:
    assert bool(wrong([answer(version, sent)], SPANS)) is is_wrong


def test_a_request_without_a_good_answer_is_found() -> None:
    bad = [answer(1, 1, status=504), answer(0, 1, status=0)]
    assert failed([answer(1, 1), *bad]) == bad


def test_one_version_that_says_two_things_of_one_text_is_found() -> None:
    same = [answer(1, 1), answer(1, 2), answer(2, 3, label="b"), answer(1, 4, text=2, label="b")]
    assert contradictions(same) == 0
    assert contradictions([*same, answer(1, 5, label="b")]) == 1


def test_p99_of_nothing_is_nothing() -> None:
    assert p99([]) == 0
    assert p99([answer(1, 1, ms=float(n)) for n in range(1, 101)]) == pytest.approx(99.99, abs=1)
