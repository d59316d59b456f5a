from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release.callers import Action, Caller, Grant, Quota, Recording, Scope, scopes_of
from release.errors import Invalid

PATTERNS = st.text("ab*.-", min_size=1, max_size=8)


@given(pattern=PATTERNS, name=st.text("ab.-", min_size=1, max_size=10))
def test_a_pattern_matches_as_shells_have_it(pattern: str, name: str) -> None:
    scope = Scope(namespace="default", endpoint=pattern, action=Action.READ)
    assert scope.covers("default", name, Action.READ) == fnmatchcase(name, pattern)


@given(
    namespace=st.sampled_from(["*", "a", "b-2"]), pattern=PATTERNS, action=st.sampled_from(Action)
)
def test_a_scope_is_read_as_it_is_written(namespace: str, pattern: str, action: Action) -> None:
    scope = Scope(namespace=namespace, endpoint=pattern, action=action)
    assert Scope.parse(str(scope)) == scope


@pytest.mark.parametrize(
    "text",
    [
        "",
        "docs:infer",
        "default/docs",
        "default/docs:",
        "default/:infer",
        "default/docs:own",
        "Default/docs:infer",
        "a*/docs:infer",
        "default/a b:infer",
        "default/docs:infer:read",
        "default/docs:infer ",
        "default/a/b:infer",
        "default/docs:infer\n",
        "*:infer",
        "*",
    ],
)
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="is no scope"):
        scopes_of([text])


def test_nothing_is_allowed_unless_it_is_granted() -> None:
    assert not Grant(caller=Caller(id="k"), scopes=()).may("default", "docs", Action.INFER)
    grant = Grant(caller=Caller(id="k"), scopes=scopes_of(["shop/docs-*:infer", "*/a:read"]))
    assert grant.may("shop", "docs-router", Action.INFER)
    assert not grant.may("shop", "docs-router", Action.READ)
    assert not grant.may("default", "docs-router", Action.INFER)
    assert grant.may("bank", "a", Action.READ) and not grant.may_all(Action.READ)
    every = Grant(caller=Caller(id="k"), scopes=scopes_of(["*/**:read", "shop/*:infer"]))
    assert every.may_all(Action.READ) and not every.may_all(Action.INFER)


def test_limits_are_within_reason() -> None:
    for wrong in ({"requests": -1}, {"tokens": 10**9 + 1}):
        with pytest.raises(Invalid, match="a minute"):
            Quota(**wrong)
    for odd in ({"sample": 1.1}, {"days": 0}):
        with pytest.raises(Invalid):
            Recording(**odd)
