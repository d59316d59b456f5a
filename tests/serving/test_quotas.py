import random

import pytest

from release.callers import Quota
from serving.gateway.quotas import Window, part_of
from serving.gateway.refusing import Refusal


def _enters(window: Window, now: float) -> float:
    """Give how long to wait; 0 where it is let in."""
    try:
        window.enter(now)
    except Refusal as error:
        return error.retry
    return 0.0


@pytest.mark.parametrize("seed", range(5))
def test_no_minute_has_more_requests_than_the_limit_and_waiting_helps(seed: int) -> None:
    chance, window = random.Random(seed), Window(quota=Quota(requests=20))
    now, entered = 1_000.0, list[float]()
    while now < 1_400:
        now += chance.expovariate(0.8 if chance.random() < 0.3 else 4)
        if wait := _enters(window, now):
            assert 0 < wait <= 61
            assert _enters(window, now + wait) == 0
            now += wait
        entered.append(now)
        assert sum(now - 60 < one <= now for one in entered) <= 20
    assert len(entered) > 60


def test_tokens_are_counted_once_they_are_known() -> None:
    window = Window(quota=Quota(tokens=100))
    assert _enters(window, 10.0) == 0
    window.spend(150, 11.0)
    assert _enters(window, 12.0) == pytest.approx(60)
    assert _enters(window, 70.9) > 0
    assert _enters(window, 72.0) == 0


def test_gateways_share_a_quota() -> None:
    assert part_of(Quota(requests=10, tokens=0), 3) == Quota(requests=3)
    assert part_of(Quota(requests=2, tokens=1), 4) == Quota(requests=1, tokens=1)
