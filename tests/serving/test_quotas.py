import random

import pytest

from release.callers import Quota
from serving.gateway.quotas import Part, Window, part_of
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
    chance, window = random.Random(seed), Window(quota=Part(requests=20))
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
    window = Window(quota=Part(tokens=100))
    assert _enters(window, 10.0) == 0
    window.spend(150, 11.0)
    assert _enters(window, 12.0) == pytest.approx(60)
    assert _enters(window, 70.9) > 0
    assert _enters(window, 72.0) == 0


@pytest.mark.parametrize("gateways", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("whole", [1, 2, 10, 601])
def test_gateways_share_a_quota_to_the_last_and_never_more(whole: int, gateways: int) -> None:
    quota = Quota(requests=whole, tokens=2 * whole)
    parts = [part_of(quota, gateways, place) for place in range(gateways)]
    assert sum(one.requests or 0 for one in parts) == whole
    assert sum(one.tokens or 0 for one in parts) == 2 * whole
    assert part_of(Quota(requests=whole), gateways, 0).tokens is None
    let_in = 0
    for window in (Window(quota=one) for one in parts):
        let_in += sum(not _enters(window, 10.0) for _ in range(whole + 1))
    assert let_in == whole


def test_a_gateway_without_a_part_does_not_say_that_waiting_helps() -> None:
    with pytest.raises(Refusal, match="no part of this caller's requests") as refused:
        Window(quota=Part(requests=0)).enter(10.0)
    assert (refused.value.status, refused.value.retry) == (429, 1)


def test_a_window_in_which_nothing_is_left_is_idle() -> None:
    window = Window(quota=Part(requests=1))
    assert window.idle(10.0) and not _enters(window, 10.0)
    assert not window.idle(60.0) and window.idle(71.0)
