"""Names that name nothing are told beside what was done, with the one that was meant."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from infra.callers.keys import Keys, NewKey
from infra.callers.namespaces import Namespaces
from infra.calls.query import Query
from infra.identity import Identities
from infra.ledger import schema
from infra.ledger.rows import release_row
from release.callers import Recording, Said
from release.errors import NotFound
from release.policy import Releasing
from tasks.finding import find
from tasks.naming import tell_of_releasing, tell_of_scopes
from tasks.personal import Window, inspect
from tasks.taking import export, replay
from tasks.wiring import House
from tests.fakes.nouns import a_release
from tests.fakes.recorded import AUDITOR, Journal, a_house

MEANS_DOCS = "did you mean 'docs-router'?"


class Heard:
    """A house with two namespaces and an endpoint, and what it said beside answers."""

    def __init__(self, house: House) -> None:
        self.words: list[str] = []
        self.house = replace(house, say=self.words.append)
        self.ada = Identities(house.ledger).prove(
            Identities(house.ledger).add("ada", "admin", by=None)
        )
        self.spaces = Namespaces(house.ledger, Recording())
        self.spaces.create("shop", Said(), by=self.ada)
        release = a_release()
        with house.ledger.database.write() as connection:
            connection.execute(sa.insert(schema.releases).values(release_row(release)))

    def said(self) -> str:
        words = "\n".join(self.words)
        self.words.clear()
        return words


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    with a_house(tmp_path) as made:
        yield Heard(made)


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ("default/docs-router:infer", ""),
        ("default/docs*:infer", ""),
        ("*/docs-router:infer", ""),
        ("shop/*:infer", ""),
        ("*/*:metrics", ""),
        ("default/docs-ruoter:infer", f"no endpoint 'docs-ruoter' ({MEANS_DOCS})"),
        ("*/wiki*:read", "no endpoint 'wiki*' (there are: docs-router)"),
        (
            "shop/docs*:infer",
            "shop/docs* opens nothing yet: docs-router belongs to default (default/docs*)",
        ),
    ],
)
def test_a_scope_that_opens_nothing_is_told(heard: Heard, scope: str, said: str) -> None:
    tell_of_scopes(heard.house, (scope,))
    words = heard.said()
    assert said in words and bool(words) == bool(said)


def test_each_endpoint_of_a_key_is_told_once(heard: Heard) -> None:
    tell_of_scopes(heard.house, ("default/docs:infer", "default/docs:read"))
    assert heard.said() == (
        "default/docs opens nothing yet: there is no endpoint 'docs' (there are: docs-router)"
    )


def test_no_key_is_made_for_a_namespace_that_nobody_made(heard: Heard) -> None:
    keys = Keys(heard.house.ledger, b"x" * 32)
    for wrong in ("shp/*:infer", "shp/docs-router:read"):
        new = NewKey(name="app", scopes=("default/*:infer", wrong))
        with pytest.raises(NotFound, match="no namespace 'shp'. .did you mean 'shop'"):
            keys.create(new, by=heard.ada)
    assert keys.list() == []
    keys.create(NewKey(name="app", scopes=("shop/*:infer", "*/*:read")), by=heard.ada)


def test_an_endpoint_may_be_given_away_before_it_is_released(heard: Heard) -> None:
    heard.spaces.give("wiki", "shop", by=heard.ada)
    tell_of_scopes(heard.house, ("shop/wiki:infer",))
    assert heard.said() == ""
    with pytest.raises(NotFound, match="did you mean 'shop'"):
        heard.spaces.give("wiki", "shoop", by=heard.ada)


def test_a_policy_that_lies_nowhere_and_a_role_that_nobody_has_are_told(heard: Heard) -> None:
    folder = heard.house.settings.root / "policies"
    folder.mkdir()
    (folder / "strict.toml").touch()
    (folder / "floor.toml").touch()
    tell_of_releasing(heard.house, Releasing(policy="strict", roles=("admin", "viewer")))
    assert heard.said() == ""
    tell_of_releasing(heard.house, Releasing(policy="stric", roles=("release-manager",)))
    said = heard.said()
    assert "there is no policy 'stric' in" in said and "did you mean 'strict'?" in said
    assert "nobody is release-manager, and nothing can be approved until then" in said


def test_a_search_for_names_that_no_call_has_tells_the_nearest(heard: Heard) -> None:
    here, out = heard.house, heard.house.settings.root / "out"
    Journal(here.settings).write("where is it", "shipping", user="ann")
    find(here, AUDITOR, Query(endpoint="docs-router", text="is not there"))
    find(here, AUDITOR, Query(user="bob"))
    find(here, AUDITOR, Query(endpoint="docs-ruoter", below=7))
    assert heard.said() == ""
    for wrong in (Query(endpoint="docs-ruoter"), Query(endpoint="docs-ruoter", namespace="shp")):
        find(here, AUDITOR, wrong)
        export(here, AUDITOR, wrong, out)
        out.unlink()
        replay(here, AUDITOR, wrong, out)
        out.unlink()
        said = heard.said()
        assert said.count(f"there is no endpoint 'docs-ruoter' ({MEANS_DOCS})") == 3
        assert said.count("no namespace 'shp' (did you mean 'shop'?)") == 3 * bool(wrong.namespace)


def test_nothing_is_inspected_of_a_namespace_that_nobody_knows(heard: Heard) -> None:
    with pytest.raises(NotFound, match="did you mean 'shop'"):
        inspect(heard.house, AUDITOR, Window(namespace="shp"), lambda _: [])
