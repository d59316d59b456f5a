import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.sequential import rate_bounds


def test_nothing_seen_bounds_nothing() -> None:
    assert rate_bounds(0, 0, 0.05) == (0.0, 1.0)


@given(st.integers(0, 5_000), st.data())
def test_the_observed_rate_lies_within_the_bounds(requests: int, data: st.DataObject) -> None:
    failures = data.draw(st.integers(0, requests))
    low, high = rate_bounds(failures, requests, 0.05)
    assert 0 <= low <= high <= 1
    if requests:
        assert low <= failures / requests <= high


def test_more_evidence_narrows_the_bounds() -> None:
    widths = [high - low for low, high in (rate_bounds(n // 10, n, 0.05) for n in (10, 100, 1000))]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.1


@pytest.mark.parametrize("rate", [0.005, 0.02, 0.3])
def test_the_true_rate_is_missed_no_more_often_than_promised_however_often_one_looks(
    rate: float,
) -> None:
    """150 looks at each of 200 sequences; a fixed-sample 5 % interval would miss about a third."""
    generator = random.Random(7)
    missed = 0
    for _ in range(200):
        failures = 0
        for look in range(1, 151):
            failures += sum(generator.random() < rate for _ in range(5))
            low, high = rate_bounds(failures, 5 * look, 0.05)
            if not low <= rate <= high:
                missed += 1
                break
    assert missed / 200 <= 0.05


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="3 failures of 2 requests"):
        rate_bounds(3, 2, 0.05)
