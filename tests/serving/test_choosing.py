"""What a batch is made of: never too much, the oldest always in, nobody lost or forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.replica.choosing import (
    FULL_ROW,
    MOST_PASSED,
    Layout,
    Packed,
    Padded,
    Waiting,
    choose,
    passed_over,
    texts_in,
)

LONGEST = 512
LAYOUTS: tuple[Layout, ...] = (
    Padded(longest=LONGEST),
    Padded(longest=LONGEST, budget=600),
    Packed(rows=(16, 32, 64, FULL_ROW, 256, LONGEST)),
)
layouts = st.sampled_from(LAYOUTS)
lengths = st.lists(st.integers(2, LONGEST), max_size=60)
queues = st.lists(
    st.builds(Waiting, tokens=st.integers(2, LONGEST), passed=st.integers(0, MOST_PASSED)),
    max_size=60,
)


def _fits(layout: Layout, batch: list[int]) -> bool:
    if isinstance(layout, Packed):
        row = layout.row(batch)
        return sum(batch) <= row and len(batch) <= texts_in(row)
    assert isinstance(layout, Padded)
    row = layout.rounded(max(batch))
    return len(batch) <= layout.texts and row * len(batch) <= layout.budget


@given(queues, layouts)
def test_a_batch_keeps_its_budget_and_holds_the_oldest(
    waiting: list[Waiting], layout: Layout
) -> None:
    batch = choose(waiting, layout)
    assert batch == sorted(set(batch)) and set(batch) <= set(range(len(waiting)))
    assert batch[:1] == [0][: len(waiting)]
    assert len(batch) <= 1 or _fits(layout, [waiting[place].tokens for place in batch])


@given(queues, layouts)
def test_whoever_was_passed_over_often_enough_is_passed_over_no_more(
    waiting: list[Waiting], layout: Layout
) -> None:
    batch = choose(waiting, layout)
    for place in passed_over(len(waiting), batch):
        assert waiting[place].passed < MOST_PASSED


@given(st.lists(lengths, min_size=1, max_size=12), layouts)
def test_all_are_computed_once_and_few_overtake(arrivals: list[list[int]], layout: Layout) -> None:
    waiting: list[tuple[int, Waiting]] = []
    left: list[int] = []
    come, turn = 0, 0
    while waiting or turn < len(arrivals):
        for tokens in arrivals[turn] if turn < len(arrivals) else ():
            waiting.append((come, Waiting(tokens=tokens)))
            come += 1
        turn += 1
        batch = choose([one for _, one in waiting], layout)
        over = set(passed_over(len(waiting), batch))
        left += [waiting[place][0] for place in batch]
        waiting = [
            (who, Waiting(tokens=one.tokens, passed=one.passed + (place in over)))
            for place, (who, one) in enumerate(waiting)
            if place not in batch
        ]
        assert all(one.passed <= MOST_PASSED for _, one in waiting)
    assert sorted(left) == list(range(come))


def test_a_short_text_is_not_padded_to_a_long_one() -> None:
    waiting = [Waiting(tokens=tokens) for tokens in (10, 200, 12, 180, 9)]
    assert choose(waiting, Padded(longest=LONGEST)) == [0, 2, 4]


def test_a_text_beyond_the_budget_goes_alone() -> None:
    waiting = [Waiting(tokens=500), Waiting(tokens=500), Waiting(tokens=8)]
    assert choose(waiting, Padded(longest=LONGEST, budget=600)) == [0]


def test_whoever_does_not_fit_any_more_is_overtaken_by_nobody() -> None:
    waiting = [Waiting(tokens=8), Waiting(tokens=500, passed=MOST_PASSED), Waiting(tokens=8)]
    assert choose(waiting, Padded(longest=LONGEST)) == [0]


@pytest.mark.parametrize(
    ("batch", "row"),
    [([9], 16), ([9, 7], 16), ([9, 8], 32), ([2, 2, 2], 32), ([200], 256), ([300], 512)],
)
def test_a_row_is_the_smallest_that_holds_its_texts(batch: list[int], row: int) -> None:
    assert Packed(rows=(16, 32, 64, 128, 256, 512)).row(batch) == row


def test_a_row_is_filled_as_far_as_any_choice_can_fill_it() -> None:
    waiting = [Waiting(tokens=tokens) for tokens in (30, 5, 50, 60, 45, 20)]
    assert choose(waiting, Packed(rows=(64, FULL_ROW))) == [0, 2, 4]


def test_of_choices_that_fill_a_row_alike_the_older_is_taken() -> None:
    waiting = [Waiting(tokens=tokens) for tokens in (50, 28, 50, 50, 28)]
    assert choose(waiting, Packed(rows=(64, FULL_ROW))) == [0, 1, 2]


@given(st.lists(st.integers(2, 40), min_size=1, max_size=10))
def test_no_choice_leaves_less_of_a_row_empty(tokens: list[int]) -> None:
    batch = choose([Waiting(tokens=one) for one in tokens], Packed(rows=(FULL_ROW,)))
    sums = {tokens[0]}
    for one in tokens[1:]:
        sums |= {some + one for some in sums if some + one <= FULL_ROW}
    assert sum(tokens[place] for place in batch) == max(sums)


def test_beside_a_text_that_needs_a_larger_row_there_is_more_room() -> None:
    waiting = [Waiting(tokens=tokens) for tokens in (300, 200, 100)]
    assert choose(waiting, Packed(rows=(FULL_ROW, LONGEST))) == [0, 1]
    assert choose(waiting[2:] + waiting[:2], Packed(rows=(FULL_ROW, LONGEST))) == [0]


def test_a_row_holds_only_so_many_texts() -> None:
    waiting = [Waiting(tokens=3)] * 30
    assert choose(waiting, Packed(rows=(16, FULL_ROW))) == list(range(texts_in(FULL_ROW)))
