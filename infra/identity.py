"""Who may act. Everybody proves it with a token; there is no way to act as another."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from sqlalchemy import RowMapping as Row
from sqlalchemy import insert, select, update

from infra.ledger import Ledger
from infra.ledger.schema import identities as table
from release.errors import Conflict, Invalid, NotFound, Refused
from release.policy import ROLES
from release.variants import NAME

_PREFIX = "slw"
_UNPROVEN = "No identity is proven by this token."
_HINT = "set SLIPWAY_TOKEN, or add an identity with slipway identity add"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A person, or a machine that a person answers for."""

    name: str
    role: str
    owner: str = ""
    """Person behind a machine."""

    machine: bool = False
    active: bool = True

    @property
    def human(self) -> str:
        """The person whose eyes count when four are wanted."""
        return self.owner or self.name


class Identities:
    """Every identity of a ledger.

    Tokens are 256 random bits; only their SHA-256 is kept. Whoever can write the ledger's database
    itself stands above all this.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def add(
        self,
        name: str,
        role: str,
        *,
        by: Identity | None,
        machine: bool = False,
        owner: str = "",
    ) -> str:
        """Add an identity.

        Args:
            name: 1 to 63 of a-z, 0-9, `-`, `_`.
            role: one of `ROLES`.
            by: a proven admin; None only for the very first identity, which must be an admin.
            machine: whether it is a machine, which needs an owner.
            owner: name of the person who answers for a machine.

        Returns:
            The token, which is shown this once.

        Raises:
            Invalid: the name or role is not one, or a machine has no owner or is an admin.
            Refused: `by` may not add identities.
            NotFound: a machine's owner is no active person.
            Conflict: the name is taken.
        """
        _check(name, role, machine=machine, owner=owner)
        secret = secrets.token_urlsafe(32)
        with self._ledger.database.write() as connection:
            known = [_identity(row) for row in connection.execute(select(table)).mappings()]
            if known:
                _need_admin(known, by, "add identities")
            elif role != "admin":
                raise Refused(f"The first identity must be an admin, not a {role}.", "--role admin")
            if any(one.name == name for one in known):
                raise Conflict(f"The name {name!r} is taken.", "see slipway identity list")
            if machine and not _is_person(known, owner):
                hint = "the owner must be an active person; see slipway identity list"
                raise NotFound(f"No person is called {owner!r}, to answer for {name!r}.", hint)
            row = {"name": name, "role": role, "owner": owner, "machine": machine}
            connection.execute(
                insert(table).values(row | {"secret": _hash(secret), "active": True})
            )
        return f"{_PREFIX}_{name}_{secret}"

    def prove(self, token: str) -> Identity:
        """Give the identity that a token proves.

        Raises:
            Refused: none; the sentence does not say whether the name or the secret was wrong.
        """
        if not token:
            raise Refused("This needs a token, and none was given.", _HINT)
        name, secret = _split(token.strip())
        with self._ledger.database.read() as connection:
            found = connection.execute(select(table).where(table.c.name == name)).mappings().first()
            owner = found["owner"] if found else ""
            behind = select(table.c.active).where(table.c.name == owner)
            answered_for = not owner or bool(connection.scalar(behind))
        kept = found["secret"] if found else _hash("")
        right = compare_digest(kept, _hash(secret))
        if found is None or not right or not found["active"] or not answered_for:
            raise Refused(_UNPROVEN, _HINT)
        return _identity(found)

    def list(self) -> Sequence[Identity]:
        """Give every identity, by name."""
        with self._ledger.database.read() as connection:
            rows = connection.execute(select(table).order_by(table.c.name)).mappings()
            return [_identity(row) for row in rows]

    def disable(self, name: str, *, by: Identity) -> None:
        """Make a token worthless, and those of the machines that this person answers for.

        Raises:
            Refused: `by` is no admin, or it is the last one.
            NotFound: nobody is called so.
        """
        with self._ledger.database.write() as connection:
            known = [_identity(row) for row in connection.execute(select(table)).mappings()]
            _need_admin(known, by, "disable identities")
            if not any(one.name == name for one in known):
                raise NotFound(f"Nobody is called {name!r}.", "see slipway identity list")
            others = [one for one in known if one.name != name]
            if not any(one.role == "admin" and one.active for one in others):
                raise Refused(f"{name} is the last admin.", "add another first")
            connection.execute(update(table).where(table.c.name == name).values(active=False))


def _check(name: str, role: str, *, machine: bool, owner: str) -> None:
    if not NAME.fullmatch(name):
        raise Invalid(f"A name must be 1 to 63 of a-z, 0-9, '-', '_', not {name!r}.")
    if role not in ROLES:
        raise Invalid(f"There is no role {role!r}.", f"it is one of {', '.join(ROLES)}")
    if machine != bool(owner):
        raise Invalid(f"A machine needs an owner and a person has none: {name!r}, {owner!r}.")
    if machine and role == "admin":
        raise Invalid(f"{name} is a machine, and an admin must be a person.")


def _need_admin(known: Sequence[Identity], by: Identity | None, what: str) -> None:
    """Hold a proof against the ledger of now: it may have been given a while ago."""
    if by is None:
        raise Refused(f"Only an admin may {what}; nobody is proven.", _HINT)
    if not any(one.name == by.name and one.role == "admin" and one.active for one in known):
        raise Refused(f"{by.name} is {by.role} and may not {what}.", "it takes an active admin")


def _is_person(known: Sequence[Identity], name: str) -> bool:
    return any(one.name == name and one.active and not one.machine for one in known)


def _split(token: str) -> tuple[str, str]:
    # A secret may hold underscores, and so may a name: it is the secret's length that is known.
    found = re.fullmatch(
        rf"{_PREFIX}_(?P<name>{NAME.pattern})_(?P<secret>[A-Za-z0-9_-]{{43}})", token
    )
    return (found["name"], found["secret"]) if found else ("", "")


def _hash(secret: str) -> str:
    return sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _identity(row: Row) -> Identity:
    return Identity(
        name=row["name"],
        role=row["role"],
        owner=row["owner"],
        machine=row["machine"],
        active=row["active"],
    )
