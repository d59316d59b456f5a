"""Namespaces: who owns endpoints and keys, and what of their calls is recorded.

What nobody was given belongs to `default`, which is always there.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum

import sqlalchemy as sa

from infra.callers.rights import changed, need_admin
from infra.identity import Identity
from infra.ledger import Ledger, schema
from infra.ledger.database import put
from release.callers import Capture, Recording, Said, WhenFull
from release.errors import Conflict, Invalid, NotFound
from release.names import meant
from release.policy import Releasing
from release.variants import NAME

DEFAULT = "default"


class Namespaces:
    """Every namespace of a ledger.

    Args:
        ledger: where they are.
        host: what this host records where nobody has said otherwise: its settings.
    """

    def __init__(self, ledger: Ledger, host: Recording) -> None:
        self._ledger = ledger
        self._host = host

    def create(
        self,
        name: str,
        said: Said,
        releasing: Releasing | None = None,
        *,
        by: Identity,
    ) -> None:
        """Make a namespace, with what is said of what it records, and of its releases.

        Raises:
            Refused: `by` is no admin.
            Invalid: the name is none.
            Conflict: it is taken.
        """
        if not NAME.fullmatch(name):
            raise Invalid(f"A name must be 1 to 63 of a-z, 0-9, '-', '_', not {name[:80]!r}.")
        with self._ledger.database.write() as connection:
            need_admin(connection, by, "make namespaces")
            if name == DEFAULT or _exists(connection, name):
                raise Conflict(f"The namespace {name!r} is taken.", "see slipway namespaces list")
            values = _values(said.named)
            _put(connection, name, values)
            words = f"{by.name} made namespace {name}"
            data = {"namespace": name, **values}
            changed(connection, "namespace-created", by.name, words, data)
            if releasing is not None:
                _release_by(connection, name, releasing, by)

    def set(
        self,
        name: str,
        said: Said | None = None,
        releasing: Releasing | None = None,
        *,
        unsaid: Collection[str] = (),
        by: Identity,
    ) -> None:
        """Say both at once what of a namespace's calls is recorded, and how it releases.

        Args:
            name: of the namespace.
            said: what is recorded from now on; what it does not say stays.
            releasing: by which policy its endpoints are released, and who approves that; None
                leaves it.
            unsaid: fields that go by each host's settings again.
            by: who says so.

        Raises:
            Refused: `by` is no admin.
            NotFound: there is none of this name.
        """
        with self._ledger.database.write() as connection:
            need_admin(connection, by, "change namespaces")
            need_namespace(connection, name)
            if releasing is not None:
                _release_by(connection, name, releasing, by)
            if said is not None or unsaid:
                values = dict.fromkeys(unsaid) | _values(said.named if said else {})
                _put(connection, name, values)
                words = f"{by.name} set what namespace {name} records"
                data = {"namespace": name, **values}
                changed(connection, "namespace-set", by.name, words, data)

    def releasing(self) -> Mapping[str, Releasing]:
        """Give what namespaces say of releases; one that says nothing is absent."""
        with self._ledger.database.read() as connection:
            rows = connection.execute(sa.select(schema.releasing)).mappings()
            return {
                row["namespace"]: Releasing(policy=row["policy"], roles=tuple(row["roles"]))
                for row in rows
            }

    def releases(self, endpoint: str) -> Releasing:
        """Give what the owner of an endpoint says of its releases."""
        return self.releasing().get(self.owners().get(endpoint, DEFAULT), Releasing())

    def give(self, endpoint: str, name: str, *, by: Identity) -> None:
        """Let a namespace own an endpoint and the model of the same name.

        Raises:
            Refused: `by` is no admin.
            Invalid: the endpoint's name is none.
            NotFound: there is no such namespace.
        """
        if not NAME.fullmatch(endpoint):
            raise Invalid(f"{endpoint[:80]!r} can be no endpoint.")
        with self._ledger.database.write() as connection:
            need_admin(connection, by, "give endpoints")
            need_namespace(connection, name)
            put(connection, schema.owned, {"endpoint": endpoint}, {"namespace": name})
            said = f"{by.name} gave {endpoint} to namespace {name}"
            data = {"endpoint": endpoint, "namespace": name}
            changed(connection, "endpoint-given", by.name, said, data, model=endpoint)

    def list(self) -> Mapping[str, Recording]:
        """Give every namespace by name, with what it records on this host."""
        return {name: said.over(self._host) for name, said in self.said().items()}

    def said(self) -> Mapping[str, Said]:
        """Give every namespace by name, with what was said of what it records."""
        with self._ledger.database.read() as connection:
            rows = connection.execute(sa.select(schema.namespaces)).mappings().all()
        found = {DEFAULT: Said()} | {row["name"]: said_in(row) for row in rows}
        return dict(sorted(found.items()))

    def owners(self) -> Mapping[str, str]:
        """Give each endpoint that was given to a namespace, and which that is."""
        with self._ledger.database.read() as connection:
            rows = connection.execute(sa.select(schema.owned)).mappings()
            return {row["endpoint"]: row["namespace"] for row in rows}


def need_namespace(connection: sa.Connection, name: str) -> None:
    """Refuse a name that no namespace has.

    Raises:
        NotFound: with the names that there are.
    """
    if name == DEFAULT or _exists(connection, name):
        return
    names = connection.scalars(sa.select(schema.namespaces.c.name))
    raise NotFound(f"There is no namespace {name[:80]!r}.", meant(name, (DEFAULT, *names)))


def _exists(connection: sa.Connection, name: str) -> bool:
    table = schema.namespaces
    return connection.scalar(sa.select(table.c.name).where(table.c.name == name)) is not None


def _release_by(connection: sa.Connection, name: str, releasing: Releasing, by: Identity) -> None:
    values = {"policy": releasing.policy, "roles": list(releasing.roles)}
    put(connection, schema.releasing, {"namespace": name}, values)
    said = f"{by.name} set how namespace {name} releases"
    changed(connection, "namespace-releases", by.name, said, {"namespace": name} | values)


def said_in(row: sa.RowMapping) -> Said:
    """Read a row of a namespace."""
    capture, when_full = row["capture"], row["when_full"]
    return Said(
        capture=None if capture is None else Capture(capture),
        sample=row["sample"],
        strict=row["strict"],
        when_full=None if when_full is None else WhenFull(when_full),
        days=row["days"],
        most_mb=row["most_mb"],
    )


def _put(connection: sa.Connection, name: str, values: Mapping[str, object]) -> None:
    if values:
        put(connection, schema.namespaces, {"name": name}, values)
    elif not _exists(connection, name):
        connection.execute(sa.insert(schema.namespaces).values(name=name))


def _values(named: Mapping[str, object]) -> dict[str, object]:
    return {name: str(one) if isinstance(one, StrEnum) else one for name, one in named.items()}
