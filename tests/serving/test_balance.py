"""Who is asked next, what an answer may be: the pure part of the pool."""

from array import array

import pytest

from serving.gateway.balance import (
    LONGEST_REST,
    STEADY_SECONDS,
    Estimate,
    Rest,
    least,
    size_of,
)
from serving.gateway.sound import unsound
from serving.replica.messages import Answer, Classes, Entities, Entity, Found, Status, Vectors


def test_whoever_owes_least_is_asked_and_equals_take_turns() -> None:
    assert least([5, 3, 9], 0) == 1
    assert [least([4, 4, 4], turn) for turn in range(4)] == [0, 1, 2, 0]
    assert [least([4, 0, 0], turn) for turn in range(4)] == [1, 1, 2, 1]


def test_tokens_are_guessed_from_bytes_and_learnt_from_answers() -> None:
    guess = Estimate()
    assert guess.tokens(1, 400) == 102
    for _ in range(200):
        guess.learn(2, 300, 104)
    assert guess.tokens(1, 300) == pytest.approx(102, abs=1)
    guess.learn(1, 0, 2)
    for _ in range(500):
        guess.learn(1, 10, 10**9)
    assert guess.tokens(1, 10) <= 42
    assert guess.tokens(0, 0) == 1


def test_bytes_are_those_of_utf8() -> None:
    texts = ["plain", "schön", "文本", "\ud800"]
    assert size_of(texts) == 5 + 6 + 6 + 3


def test_a_replica_rests_longer_each_time_and_is_forgiven() -> None:
    rest = Rest()
    pauses = []
    for turn in range(9):
        rest.admitted(turn)
        pauses.append(rest.ejected(turn + 0.5))
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == LONGEST_REST
    rest.admitted(100)
    assert rest.ejected(101 + STEADY_SECONDS) == 0.1


def status(width: int = 0) -> Status:
    return Status(
        id=1,
        digest="d",
        ready=True,
        pid=1,
        task="t",
        labels=["alpha", "beta"],
        longest_input=16,
        width=width,
    )


def answer(found: Found, tokens: int = 3) -> Answer:
    return Answer(id=1, found=found, tokens=tokens, queue_ms=0, tokenize_ms=0, compute_ms=0)


def entity(start: int, end: int, score: float) -> Entities:
    return Entities(found=[[Entity(start=start, end=end, label="x", score=score)]])


def vector(*numbers: float) -> Vectors:
    return Vectors(width=2, data=array("f", numbers).tobytes())


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "found",
    [
        Classes(labels=["beta"], scores=[[0.0, 1.0000002]]),
        Entities(found=[[]]),
        entity(0, 3, 0.5),
        vector(-2.0, 3e38),
    ],
)
def test_what_a_model_may_say_is_sound(found: Found) -> None:
    assert unsound(answer(found), status(width=2), 1) == ""


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (Classes(labels=["beta"], scores=[]), "1 labels and 0 rows for 1 items"),
        (Classes(labels=[], scores=[[0.5, 0.5]]), "0 labels and 1 rows for 1 items"),
        (Classes(labels=["beta"], scores=[[1.0]]), "1 scores for 2 labels"),
        (Classes(labels=["beta"], scores=[[0.5, NAN]]), "no probabilities"),
        (Classes(labels=["beta"], scores=[[NAN, 0.5]]), "no probabilities"),
        (Classes(labels=["beta"], scores=[[0.5, INF]]), "no probabilities"),
        (Classes(labels=["beta"], scores=[[-0.2, 0.5]]), "no probabilities"),
        (Classes(labels=["beta"], scores=[[1.2, 0.5]]), "no probabilities"),
        (Classes(labels=["gamma"], scores=[[0.5, 0.5]]), "'gamma', which it does not have"),
        (Entities(found=[]), "entities of 0 items for 1"),
        (entity(3, 1, 0.5), "from 3 to 1"),
        (entity(0, 1, NAN), "no probabilities"),
        (vector(1.0), "4 bytes for 1 vectors of 2 numbers"),
        (vector(1.0, NAN), "not finite"),
        (vector(INF, -INF), "not finite"),
    ],
)
def test_what_no_model_may_say_is_not(found: Found, why: str) -> None:
    assert why in unsound(answer(found), status(width=2), 1)


def test_tokens_are_never_fewer_than_none() -> None:
    found = Classes(labels=["beta"], scores=[[0.5, 0.5]])
    assert "-1 tokens" in unsound(answer(found, tokens=-1), status(), 1)
