"""Keys and namespaces in the ledger, on both databases."""

import re
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from infra.callers.house import MAY, OWN, first_key, house_key, keep_house_key, keys_of
from infra.callers.keys import Keys, NewKey
from infra.callers.loopback import allow_open, is_loopback
from infra.callers.namespaces import Namespaces
from infra.callers.pepper import hashed, pepper, split
from infra.callers.reading import changes, contents
from infra.identity import Identities, Identity
from infra.ledger import Ledger, schema
from infra.settings import Settings
from release.callers import Capture, Quota, Recording, Said, WhenFull
from release.errors import Conflict, Invalid, NotFound, Refused, Unavailable, Unsafe
from release.policy import ROLES, Releasing

PEPPER = b"p" * 32
NEW = NewKey(name="app", scopes=("default/*:infer",))


@pytest.fixture
def ada(ledger: Ledger) -> Identity:
    people = Identities(ledger)
    return people.prove(people.add("ada", "admin", by=None))


@pytest.fixture
def keys(ledger: Ledger) -> Keys:
    return Keys(ledger, PEPPER)


def test_a_key_is_shown_once_and_its_secret_kept_nowhere(
    keys: Keys, ledger: Ledger, ada: Identity
) -> None:
    new = NewKey(
        name="app",
        scopes=("default/docs-*:infer", "default/*:read"),
        user="ann",
        tenant="acme",
        quota=Quota(requests=10, tokens=1_000),
        expires=time.time() + 60,
    )
    key = keys.create(new, by=ada)
    assert re.fullmatch(r"slw_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", key)
    id_, secret = split(key)
    with ledger.database.read() as connection:
        rows = [
            str(row)
            for table in schema.metadata.sorted_tables
            for row in connection.execute(sa.select(table))
        ]
    assert not any(secret in row for row in rows)
    (found,) = keys.list()
    assert (found.id, found.made_by, found.used_at) == (id_, "ada", 0)
    assert asdict(found.made) == asdict(new)
    entry = contents(ledger, Recording()).keys[id_]
    assert entry.secret == hashed(PEPPER, secret) != hashed(b"q" * 32, secret)
    assert (entry.user, entry.tenant, entry.requests, entry.tokens) == ("ann", "acme", 10, 1_000)
    assert entry.scopes == list(new.scopes) and entry.expires == new.expires
    assert len({keys.create(NEW, by=ada) for _ in range(5)}) == 5


def test_a_revoked_key_is_told_to_nobody_and_stays_on_the_list(
    keys: Keys, ledger: Ledger, ada: Identity
) -> None:
    id_ = split(keys.create(NEW, by=ada))[0]
    before = changes(ledger)
    assert keys.good(id_)
    keys.revoke(id_, by=ada)
    assert changes(ledger) == before + 1
    assert contents(ledger, Recording()).keys == {} and not keys.good(id_)
    assert keys.list()[0].revoked_at > 0
    with pytest.raises(Conflict, match="revoked already"):
        keys.revoke(id_, by=ada)
    with pytest.raises(NotFound, match="no key"):
        keys.revoke("nobody", by=ada)
    kinds = [(one.kind, one.actor) for _, one in ledger.events()]
    assert kinds == [("key-created", "ada"), ("key-revoked", "ada")]


def test_only_an_active_admin_says_who_may_call(keys: Keys, ledger: Ledger, ada: Identity) -> None:
    people, spaces = Identities(ledger), Namespaces(ledger, Recording())
    id_ = split(keys.create(NEW, by=ada))[0]
    others = [
        people.prove(people.add(f"a-{role}", role, by=ada)) for role in ROLES if role != "admin"
    ]
    second = people.prove(people.add("eve", "admin", by=ada))
    people.disable("eve", by=ada)
    before = changes(ledger)
    for other in (*others, second, Identity(name="mallory", role="admin")):
        for work in (
            lambda who=other: keys.create(NEW, by=who),
            lambda who=other: keys.revoke(id_, by=who),
            lambda who=other: spaces.create("shop", Said(), by=who),
            lambda who=other: spaces.set("default", Said(), by=who),
            lambda who=other: spaces.give("docs", "default", by=who),
            lambda who=other: spaces.set("default", releasing=Releasing(), by=who),
        ):
            with pytest.raises(Refused, match=other.name):
                work()
    assert changes(ledger) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"scopes": ()},
        {"scopes": ("everything",)},
        {"scopes": ("default/*:own",)},
        {"scopes": ("default/*:metrics",)},
        {"name": ""},
        {"name": "x" * 201},
        {"user": "a\nb"},
        {"tenant": "x" * 201},
    ],
)
def test_a_key_that_breaks_a_rule_cannot_be_asked_for(wrong: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        NewKey(**({"name": "app", "scopes": ("default/*:infer",)} | wrong))  # type: ignore[arg-type]


def test_a_key_needs_a_namespace_that_is_there_and_a_time_to_come(
    keys: Keys, ada: Identity
) -> None:
    with pytest.raises(NotFound, match="no namespace 'shop'"):
        keys.create(NewKey(name="app", scopes=NEW.scopes, namespace="shop"), by=ada)
    with pytest.raises(Invalid, match="expired already"):
        keys.create(NewKey(name="app", scopes=NEW.scopes, expires=1.0), by=ada)


def test_a_scope_of_a_later_version_costs_no_other_key_its_place(
    keys: Keys, ledger: Ledger, ada: Identity
) -> None:
    mine, later = (split(keys.create(NEW, by=ada))[0] for _ in range(2))
    row = schema.keys.update().where(schema.keys.c.id == later)
    with ledger.database.write() as connection:
        connection.execute(row.values(scopes=["default/*:train"]))
    told = {one.id: one.made.scopes for one in keys.list()}
    assert told == {mine: NEW.scopes, later: ("default/*:train",)}
    assert keys.good(mine, NEW.scopes) and not keys.good(later, NEW.scopes)
    keys.revoke(later, by=ada)
    assert not keys.good(later)


def test_namespaces_own_endpoints_and_say_what_is_recorded(ledger: Ledger, ada: Identity) -> None:
    spaces = Namespaces(ledger, Recording())
    full = Said(capture=Capture.FULL, sample=0.5, strict=True, when_full=WhenFull.BLOCK, days=90)
    assert spaces.list() == {"default": Recording()}
    spaces.create("shop", full, by=ada)
    spaces.set("default", Said(capture=Capture.HASH), by=ada)
    assert spaces.list() == {
        "default": Recording(capture=Capture.HASH),
        "shop": full.over(Recording()),
    }
    spaces.give("docs", "shop", by=ada)
    assert spaces.owners() == {"docs": "shop"} == contents(ledger, Recording()).owners
    spaces.give("docs", "default", by=ada)
    assert spaces.owners() == {"docs": "default"}
    for name in ("shop", "default"):
        with pytest.raises(Conflict, match="taken"):
            spaces.create(name, full, by=ada)
    for name in ("", "a/b", "*", "x" * 64):
        with pytest.raises(Invalid):
            spaces.create(name, full, by=ada)
        with pytest.raises(Invalid):
            spaces.give(name, "shop", by=ada)
    with pytest.raises(NotFound, match="no namespace 'bank'"):
        spaces.set("bank", full, by=ada)
    with pytest.raises(NotFound, match="no namespace 'bank'"):
        spaces.give("docs", "bank", by=ada)
    assert [one.kind for _, one in ledger.events(model="docs")] == ["endpoint-given"] * 2


def test_what_was_not_said_of_a_namespace_goes_by_each_host(ledger: Ledger, ada: Identity) -> None:
    one, other = Recording(days=5), Recording(days=9, capture=Capture.FULL)
    spaces = Namespaces(ledger, one)
    spaces.create("shop", Said(sample=0.5), by=ada)
    spaces.set("default", Said(most_mb=7), by=ada)
    spaces.set("default", Said(strict=True), by=ada)
    for host in (one, other):
        assert Namespaces(ledger, host).list() == {
            "default": replace(host, most_mb=7, strict=True),
            "shop": replace(host, sample=0.5),
        }
        entry = contents(ledger, host).namespaces["default"]
        assert (entry.days, entry.capture, entry.strict) == (host.days, host.capture, True)
    spaces.set("default", Said(days=3), unsaid=("most_mb",), by=ada)
    assert spaces.said()["default"] == Said(strict=True, days=3)
    events = [one.data for _, one in ledger.events(kinds=("namespace-set",))]
    assert events[-1] == {"namespace": "default", "most_mb": None, "days": 3}
    spaces.create("bare", Said(), by=ada)
    assert spaces.list()["bare"] == one


def test_a_namespace_says_how_its_endpoints_are_released(ledger: Ledger, ada: Identity) -> None:
    spaces = Namespaces(ledger, Recording())
    spaces.create("shop", Said(), by=ada)
    spaces.give("docs", "shop", by=ada)
    assert spaces.releases("docs") == Releasing()
    shop = Releasing(policy="strict", roles=("admin", "release-manager"))
    spaces.set("shop", releasing=shop, by=ada)
    assert (spaces.releases("docs"), spaces.releases("other")) == (shop, Releasing())
    spaces.set("default", releasing=Releasing(roles=("admin",)), by=ada)
    assert spaces.releases("other").roles == ("admin",)
    spaces.set("shop", releasing=Releasing(), by=ada)
    assert spaces.releases("docs") == Releasing()
    with pytest.raises(NotFound):
        spaces.set("bank", releasing=shop, by=ada)


@pytest.mark.parametrize("last", ["_put", "_release_by"])
def test_of_what_is_said_of_a_namespace_all_is_kept_or_nothing(
    ledger: Ledger, ada: Identity, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces, shop = Namespaces(ledger, Recording()), Releasing(policy="strict")
    before = changes(ledger)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"infra.callers.namespaces.{last}", dies)
        with pytest.raises(KeyboardInterrupt):
            spaces.create("shop", Said(days=7), shop, by=ada)
        with pytest.raises(KeyboardInterrupt):
            spaces.set("default", Said(days=7), shop, by=ada)
    assert spaces.list() == {"default": Recording()} and spaces.releasing() == {}
    assert changes(ledger) == before
    spaces.create("shop", Said(days=7), shop, by=ada)
    spaces.set("default", Said(days=8), shop, by=ada)
    assert [one.days for one in spaces.list().values()] == [8, 7]
    assert spaces.releasing() == {"default": shop, "shop": shop}


def test_a_home_makes_its_own_key_once_and_the_first_one_once(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert house_key(settings) == ""
    first = first_key(settings)
    keep_house_key(settings)
    own = house_key(settings)
    assert split(first)[0] and split(own)[0] and first != own
    assert first_key(settings) == ""
    keep_house_key(settings)
    assert house_key(settings) == own
    assert settings.house_key.stat().st_mode & 0o777 == 0o600
    # One of before, which may do less, is followed by another.
    with keys_of(settings) as keys:
        assert keys.good(split(own)[0], MAY) and not keys.good(split(own)[0], ("*/*:dance",))
        older = keys.for_the_house(NewKey(name=OWN, scopes=MAY[:2]))
    settings.house_key.write_text(older)
    keep_house_key(settings)
    own, older = house_key(settings), own
    assert own != older
    # A ledger that does not know it, and a key that was revoked, are met with another.
    for path in tmp_path.glob("ledger.db*"):
        path.unlink()
    keep_house_key(settings)
    assert house_key(settings) != own


def test_a_prometheus_beside_a_home_scrapes_it_as_the_docs_say() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operator.md").read_text()
    (named,) = re.findall(r"authorization: {credentials_file: (\S+)}", page)
    home = Settings.model_fields["home"].default
    assert Path(named).absolute() == Settings(home=home).house_key
    assert "*/*:metrics" in MAY


def test_a_pepper_is_made_once_and_is_long_enough(tmp_path: Path) -> None:
    assert len(pepper(tmp_path / "pepper")) == 32
    assert pepper(tmp_path / "pepper") == pepper(tmp_path / "pepper")
    (tmp_path / "short").write_bytes(b"salt")
    with pytest.raises(Unsafe, match="4 bytes, of 16 at least"):
        pepper(tmp_path / "short")


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - nothing is bound
        ("::", False),
        ("10.0.0.1", False),
        ("", False),
        ("localhost.example", False),
    ],
)
def test_only_loopback_may_be_open(tmp_path: Path, host: str, *, ours: bool) -> None:
    assert is_loopback(host) == ours
    settings = Settings(home=tmp_path, host=host, open=True)
    if ours:
        allow_open(settings)
    else:
        with pytest.raises(Refused, match="loopback alone"):
            allow_open(settings)
    allow_open(Settings(home=tmp_path, host=host))


def test_a_pepper_that_is_gone_is_replaced_only_where_no_key_was_made_under_it(
    ledger: Ledger, ada: Identity, tmp_path: Path
) -> None:
    path = tmp_path / "pepper"
    keys = Keys(ledger, path)
    made = keys.create(NEW, by=ada)
    path.unlink()
    with pytest.raises(Unavailable, match="no pepper at .* no key can be proven"):
        keys.create(NEW, by=ada)
    assert not path.exists()
    # What needs none works without it; and with no key left, another pepper voids nobody.
    (only,) = keys.list()
    keys.revoke(only.id, by=ada)
    assert split(keys.create(NEW, by=ada))[0] != split(made)[0]
    assert len(path.read_bytes()) == 32
