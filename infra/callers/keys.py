"""Keys by which programs and people call models; each secret is shown once and kept nowhere."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from infra.callers.namespaces import need_namespace
from infra.callers.pepper import fresh, hashed, known_pepper, pepper, written
from infra.callers.rights import HOUSE, changed, need_admin
from infra.identity import Identity
from infra.ledger import Ledger
from infra.ledger.schema import keys as table
from release.callers import UNLIMITED, Action, Quota, scopes_of
from release.errors import Conflict, Invalid, NotFound

LONGEST = 200
"""Characters of a user, a tenant or a key's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Whom a key is for, and what it may do."""

    name: str
    """What it is for, such as the program that holds it."""

    scopes: tuple[str, ...]
    """Each as `Scope.parse` reads it, but for those that a later version gave."""

    namespace: str = "default"
    user: str = ""
    """Who calls with it; empty where it serves many, as a program's does."""

    tenant: str = ""
    quota: Quota = UNLIMITED
    expires: float = 0.0
    """Seconds since the epoch; 0 where it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey(Terms):
    """A key that is to be made."""

    def __post_init__(self) -> None:
        """Refuse terms on which no key is made.

        Raises:
            Invalid: naming what is wrong with them.
        """
        for what, value in (("name", self.name), ("user", self.user), ("tenant", self.tenant)):
            if len(value) > LONGEST or not (value.isprintable() or not value):
                raise Invalid(f"A key's {what} must be {LONGEST} printable characters at most.")
        if not self.name:
            raise Invalid("A key needs a name.", "say what it is for")
        if not self.scopes:
            raise Invalid("A key needs a scope: without one it may do nothing.", "--scope …")
        for one in scopes_of(self.scopes):
            if one.action is Action.METRICS and not one.everywhere:
                raise Invalid(f"{one} allows nothing: metrics are of all.", "--scope '*/*:metrics'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as the ledger knows it."""

    id: str
    made: Terms
    made_by: str
    made_at: float
    used_at: float
    """When a gateway last saw it, within a minute; 0 where none has."""

    revoked_at: float
    """0 where it is not."""


class Keys:
    """Every key of a ledger.

    Args:
        ledger: where they are.
        pepper: under which their secrets are kept, or the file of it. It is read only to make a
            key, and made only where no key is good that was made under another.
    """

    def __init__(self, ledger: Ledger, pepper: bytes | Path) -> None:
        self._ledger = ledger
        self._pepper = pepper

    def create(self, new: NewKey, *, by: Identity) -> str:
        """Make a key.

        Returns:
            The key, which is shown this once.

        Raises:
            Refused: `by` is no admin.
            NotFound: there is no such namespace, as the key's or in a scope.
            Unavailable: the pepper that other keys were made under is gone.
        """
        with self._ledger.database.write() as connection:
            need_admin(connection, by, "make keys")
            return self._make(connection, new, by.name)

    def for_the_house(self, new: NewKey) -> str:
        """Make a key for this home itself: whoever may write its ledger stands above its rules."""
        with self._ledger.database.write() as connection:
            return self._make(connection, new, HOUSE)

    def _make(self, connection: sa.Connection, new: NewKey, actor: str) -> str:
        now = time.time()
        if new.expires and new.expires <= now:
            raise Invalid("The key would have expired already.", "--days 90")
        for name in (new.namespace, *(one.namespace for one in scopes_of(new.scopes))):
            if name != "*":
                need_namespace(connection, name)
        id, secret = fresh()  # noqa: A001 - the noun's own field is called so
        kept = hashed(self._peppered(connection), secret)
        row = {"id": id, "secret": kept, "name": new.name}
        owner = {"namespace": new.namespace, "user": new.user, "tenant": new.tenant}
        limits = {"requests": new.quota.requests, "tokens": new.quota.tokens}
        when = {"expires": new.expires, "made_at": now, "used_at": 0.0, "revoked_at": 0.0}
        values = {**row, **owner, **limits, **when, "scopes": list(new.scopes), "made_by": actor}
        connection.execute(sa.insert(table).values(values))
        said = f"{actor} made key {id} ({new.name}) in {new.namespace}"
        changed(connection, "key-created", actor, said, {"key": id, "scopes": list(new.scopes)})
        return written(id, secret)

    def _peppered(self, connection: sa.Connection) -> bytes:
        """Give the pepper; under a fresh one every key that was made before would be void."""
        if isinstance(self._pepper, bytes):
            return self._pepper
        good = table.c.revoked_at == 0, sa.or_(table.c.expires == 0, table.c.expires > time.time())
        if not connection.scalar(sa.select(sa.func.count()).select_from(table).where(*good)):
            return pepper(self._pepper)
        return known_pepper(self._pepper)

    def list(self) -> Sequence[Key]:
        """Give every key, the newest first."""
        with self._ledger.database.read() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.made_at.desc())).mappings()
            return [_key(row) for row in rows]

    def good(self, id: str, scopes: Sequence[str] = ()) -> bool:  # noqa: A002 - as above
        """Whether a key is there, has these scopes, and is neither revoked nor expired."""
        found = next((one for one in self.list() if one.id == id), None)
        if found is None or found.revoked_at or set(scopes) - set(found.made.scopes):
            return False
        return not found.made.expires or found.made.expires > time.time()

    def revoke(self, id: str, *, by: Identity) -> None:  # noqa: A002 - as above
        """Make a key worthless; gateways hear of it within a second.

        Raises:
            Refused: `by` is no admin.
            NotFound: there is no such key.
            Conflict: it is revoked already.
        """
        with self._ledger.database.write() as connection:
            need_admin(connection, by, "revoke keys")
            row = connection.execute(sa.select(table).where(table.c.id == id)).mappings().first()
            if row is None:
                raise NotFound(f"There is no key {id[:40]!r}.", "see slipway keys list")
            if row["revoked_at"]:
                raise Conflict(f"Key {id} is revoked already.")
            now = time.time()
            connection.execute(sa.update(table).where(table.c.id == id).values(revoked_at=now))
            said = f"{by.name} revoked key {id} ({row['name']})"
            changed(connection, "key-revoked", by.name, said, {"key": id})


def note_used(ledger: Ledger, used: Mapping[str, float]) -> None:
    """Note when keys were seen last, by id; a later moment that is known stays."""
    with ledger.database.write() as connection:
        for id, at in used.items():  # noqa: A001 - as above
            where = (table.c.id == id, table.c.used_at < at)
            connection.execute(sa.update(table).where(*where).values(used_at=at))


def _key(row: sa.RowMapping) -> Key:
    made = Terms(
        name=row["name"],
        scopes=tuple(row["scopes"]),
        namespace=row["namespace"],
        user=row["user"],
        tenant=row["tenant"],
        quota=Quota(requests=row["requests"], tokens=row["tokens"]),
        expires=row["expires"],
    )
    return Key(
        id=row["id"],
        made=made,
        made_by=row["made_by"],
        made_at=row["made_at"],
        used_at=row["used_at"],
        revoked_at=row["revoked_at"],
    )
