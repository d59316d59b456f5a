import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release.errors import Invalid
from release.routes import Route, Routes, Serving
from tests.fakes.nouns import variant

KEYS = [f"user-{number}" for number in range(20_000)]


def route(share: float, *, until: float = 100.0) -> Route:
    return Route(
        endpoint="docs-router",
        generation=3,
        stable=variant(1),
        canary=variant(2),
        canary_percent=share,
        lease_until=until,
    )


def chosen(one: Route, now: float = 0.0) -> set[str]:
    return {key for key in KEYS if one.choose(key, now) == one.canary}


def test_the_share_is_honoured() -> None:
    assert 0.04 < len(chosen(route(5))) / len(KEYS) < 0.06
    assert len(chosen(route(100))) == len(KEYS)


def test_widening_never_moves_a_key_back() -> None:
    assert chosen(route(5)) < chosen(route(25)) < chosen(route(50))


def test_the_share_ends_with_the_lease() -> None:
    assert chosen(route(50, until=100), now=99.9)
    assert not chosen(route(50, until=100), now=100.0)


def test_a_shadow_is_kept_as_it_is_written() -> None:
    one = replace(route(0), shadow_percent=25)
    assert Route.from_json(asdict(one)) == one


def test_what_was_written_before_there_were_shadows_has_none() -> None:
    plain = asdict(route(5))
    del plain["shadow_percent"]
    assert Route.from_json(plain).shadow_percent == 0


@pytest.mark.parametrize(
    "changes", [{"shadow_percent": 101}, {"shadow_percent": 5, "canary": None}]
)
def test_a_shadow_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="Canary shadow must be within|gives 5 % to no canary"):
        replace(route(0), **changes)


def test_it_is_not_always_the_same_callers_who_meet_a_canary() -> None:
    other = Route(
        endpoint="docs-router",
        generation=9,
        stable=variant(2),
        canary=variant(3),
        canary_percent=5,
        lease_until=100,
    )
    both = chosen(route(5)) & chosen(other)
    assert len(both) < 0.2 * len(chosen(other))


@given(st.text())
def test_any_key_is_routed(key: str) -> None:
    assert route(50).choose(key, 0.0) in (variant(1), variant(2))


@pytest.mark.parametrize("share", [-1, 100.1, float("nan")])
def test_a_share_outside_0_to_100_is_refused(share: float) -> None:
    with pytest.raises(Invalid, match="within 0..100"):
        route(share)


def test_a_share_for_nobody_is_refused() -> None:
    with pytest.raises(Invalid, match="to no canary"):
        Route(endpoint="docs-router", generation=1, stable=variant(1), canary_percent=5)


def test_a_snapshot_reads_back() -> None:
    routes = Routes(number=7, routes={"docs-router": route(25)})
    assert Routes.from_json(json.loads(json.dumps(routes.as_json()))) == routes


def test_routes_of_before_there_was_serving_are_read() -> None:
    routes = Routes(number=1, routes={"docs-router": route(5)})
    plain = json.loads(json.dumps(routes.as_json()))
    del plain["routes"]["docs-router"]["serving"]
    assert Routes.from_json(plain) == routes
    plain["routes"]["docs-router"]["serving"] = {"replicas": 2}
    assert Routes.from_json(plain).routes["docs-router"].serving == Serving(replicas=2)
