"""Bring a database to today's schema. Alembic is imported only where there is work for it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

from infra.files import file_lock
from infra.ledger.database import Database
from infra.ledger.schema import HEAD
from release.errors import Conflict

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(database: Database) -> None:
    """Migrate to `HEAD` if need be; several processes may do so at once.

    The whole way there is one transaction: a process that dies on it leaves nothing behind.

    Raises:
        Conflict: a newer Slipway has migrated this ledger.
        Unavailable: the database does not answer.
    """
    if database.is_sqlite:
        database.path.parent.mkdir(parents=True, exist_ok=True)
        _own(database)
    with database.read() as connection:
        if _stands(connection, database) == HEAD:
            return
    with _alone(database), database.write() as connection:
        if _stands(connection, database) != HEAD:
            _run(connection)


def _own(database: Database) -> None:
    """Make a file that only its owner may read: it says what people searched for.

    What SQLite lays beside it has the same mode.
    """
    # What keeps it from being made, SQLite says next, as it does of one that is there.
    with suppress(OSError):
        os.close(os.open(database.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _stands(connection: sa.Connection, database: Database) -> str:
    """Give the revision of a database; empty for a fresh one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() or ""
    if str(found) > HEAD:
        where = database.url.render_as_string(hide_password=True)
        raise Conflict(
            f"The ledger at {where} has schema {found}, and this Slipway knows {HEAD} at most.",
            "use the newer Slipway that migrated it",
        )
    return str(found)


@contextmanager
def _alone(database: Database) -> Iterator[None]:
    """Keep others away from an SQLite file while its journal mode changes.

    That cannot happen inside a transaction, nor beside one, and does not wait its turn by itself.
    PostgreSQL needs nothing of the kind: there the write transaction is enough.
    """
    if not database.is_sqlite:
        yield
        return
    with file_lock(database.path.with_name(f"{database.path.name}.lock")):
        with database.outside() as connection:
            # Readers and the writer then work side by side; the file remembers it.
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        yield


def _run(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")
