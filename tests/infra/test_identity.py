import re
from itertools import combinations

import pytest
import sqlalchemy as sa

from infra.identity import Identities, Identity
from infra.ledger import Ledger, schema
from release.errors import Conflict, Invalid, NotFound, Refused
from release.policy import ROLES


@pytest.fixture
def people(ledger: Ledger) -> Identities:
    return Identities(ledger)


def first(people: Identities) -> Identity:
    return people.prove(people.add("ada", "admin", by=None))


def test_a_token_proves_its_identity_and_is_kept_nowhere(
    people: Identities, ledger: Ledger
) -> None:
    token = people.add("ada_b-2", "admin", by=None)
    assert re.fullmatch(r"slw_ada_b-2_[A-Za-z0-9_-]{43}", token)
    ada = people.prove(f" {token}\n")
    assert ada == Identity(name="ada_b-2", role="admin")
    assert ada.human == "ada_b-2" and not ada.machine
    with ledger.database.read() as connection:
        kept = connection.execute(sa.select(schema.identities)).one()
    assert token[-43:] not in str(kept)


def test_every_token_is_another(people: Identities) -> None:
    ada = first(people)
    tokens = [people.add(f"p{number}", "viewer", by=ada) for number in range(5)]
    assert all(one[-43:] != other[-43:] for one, other in combinations(tokens, 2))


def test_whatever_proves_nobody_is_refused_in_one_sentence(people: Identities) -> None:
    ada = first(people)
    token = people.add("max", "viewer", by=ada)
    people.disable("max", by=ada)
    other = people.add("mia", "viewer", by=ada)
    wrong = [
        token,
        f"slw_nobody_{token[-43:]}",
        f"slw_mia_{token[-43:]}",
        f"slw_mia_{other[-43:].swapcase()}",
        other[:-1],
        f"{other}x",
        other.replace("slw_", "SLW_"),
        f"slw_mia-{other[-43:]}",
        "slw__",
        "x",
        "slw_Ä_\ud800" + "a" * 42,
        "slw_mia_" + "ä" * 43,
    ]
    said = set()
    for one in wrong:
        with pytest.raises(Refused) as refused:
            people.prove(one)
        said.add(str(refused.value))
    assert len(said) == 1
    with pytest.raises(Refused, match="none was given"):
        people.prove("")
    assert people.prove(other).name == "mia"


def test_the_first_identity_is_an_admin_and_only_admins_add_more(people: Identities) -> None:
    with pytest.raises(Refused, match="first identity must be an admin"):
        people.add("max", "viewer", by=None)
    ada = first(people)
    with pytest.raises(Refused, match="nobody is proven"):
        people.add("eve", "admin", by=None)
    for role in ROLES[1:]:
        other = people.prove(people.add(f"a-{role}", role, by=ada))
        with pytest.raises(Refused, match=role):
            people.add("eve", "viewer", by=other)
        with pytest.raises(Refused, match=role):
            people.disable("ada", by=other)
    with pytest.raises(Refused, match="mallory is admin"):
        people.add("eve", "admin", by=Identity(name="mallory", role="admin"))
    with pytest.raises(Conflict, match="'ada' is taken"):
        people.add("ada", "viewer", by=ada)
    assert [one.name for one in people.list()] == [
        "a-auditor",
        "a-release-manager",
        "a-requester",
        "a-viewer",
        "ada",
    ]


def test_an_admin_that_was_disabled_meanwhile_may_do_nothing_more(people: Identities) -> None:
    ada = first(people)
    bob = people.prove(people.add("bob", "admin", by=ada))
    people.disable("bob", by=ada)
    with pytest.raises(Refused, match="active admin"):
        people.add("eve", "admin", by=bob)
    with pytest.raises(Refused, match="active admin"):
        people.disable("ada", by=bob)
    assert [one.active for one in people.list()] == [True, False]


def test_the_last_admin_stays(people: Identities) -> None:
    ada = first(people)
    people.add("max", "viewer", by=ada)
    with pytest.raises(Refused, match="last admin"):
        people.disable("ada", by=ada)
    bob = people.prove(people.add("bob", "admin", by=ada))
    people.disable("ada", by=ada)
    with pytest.raises(Refused, match="last admin"):
        people.disable("bob", by=bob)
    with pytest.raises(NotFound, match="nobody"):
        people.disable("nobody", by=bob)


def test_a_machine_has_a_person_behind_it_and_goes_with_that_person(people: Identities) -> None:
    ada = first(people)
    people.add("rita", "requester", by=ada)
    token = people.add("trainer", "requester", by=ada, machine=True, owner="rita")
    trainer = people.prove(token)
    assert trainer.machine and trainer.human == "rita"
    for owner in ("nobody", "trainer"):
        with pytest.raises(NotFound, match=owner):
            people.add("second", "requester", by=ada, machine=True, owner=owner)
    people.disable("rita", by=ada)
    with pytest.raises(Refused, match="No identity"):
        people.prove(token)
    with pytest.raises(NotFound, match="rita"):
        people.add("second", "requester", by=ada, machine=True, owner="rita")


@pytest.mark.parametrize(
    ("name", "role", "owner"),
    [
        ("Ada", "viewer", ""),
        ("", "viewer", ""),
        ("a" * 64, "viewer", ""),
        ("a/b", "viewer", ""),
        ("max", "root", ""),
        ("max", "viewer", "ada"),
    ],
)
def test_what_no_person_can_be(people: Identities, name: str, role: str, owner: str) -> None:
    ada = first(people)
    with pytest.raises(Invalid):
        people.add(name, role, by=ada, owner=owner)


@pytest.mark.parametrize(("role", "owner"), [("requester", ""), ("admin", "ada")])
def test_what_no_machine_can_be(people: Identities, role: str, owner: str) -> None:
    ada = first(people)
    with pytest.raises(Invalid):
        people.add("robot", role, by=ada, machine=True, owner=owner)
