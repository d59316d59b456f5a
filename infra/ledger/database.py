"""One database, SQLite or PostgreSQL, with one writer at a time and errors of our own tree."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from release.errors import Conflict, Invalid, Unavailable

BUSY_SECONDS = 20
"""How long a writer waits for the one before it."""

_WRITER_LOCK = 0x511B_A51D
"""Key of the advisory lock that makes PostgreSQL's writers queue as SQLite's do."""


class Database:
    """Connections to a ledger's database.

    Writers queue: a write transaction sees everything that was committed before it began, nobody
    else writes until it ends, and events are numbered in the order in which they are committed.
    Whatever is checked inside one therefore still holds when it commits.
    """

    def __init__(self, url: str) -> None:
        """Prepare connections; opens none.

        Args:
            url: such as `sqlite:////home/me/.slipway/ledger.db` or `postgresql://host/slipway`.

        Raises:
            Invalid: it names no SQLite file and no PostgreSQL.
        """
        self.url = _parse(url)
        self.engine = _sqlite(self.url) if self.is_sqlite else _postgresql(self.url)
        self._writer = self.engine.execution_options(slipway_begin="BEGIN IMMEDIATE")

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file on this host."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def path(self) -> Path:
        """The file of an SQLite database."""
        return Path(self.url.database or "")

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give one consistent view; never waits for a writer.

        Raises:
            Unavailable: the database does not answer.
        """
        with self._translated(), self.engine.begin() as connection:
            if not self.is_sqlite:
                # PostgreSQL's default shows each statement a newer state than the one before.
                connection.exec_driver_sql(
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
                )
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give the one write transaction; commits at the end, or undoes all on an error.

        Raises:
            Unavailable: the database does not answer, or other writers held it for too long.
        """
        with self._translated(), self._writer.begin() as connection:
            if not self.is_sqlite:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")
            yield connection

    @contextmanager
    def outside(self) -> Iterator[sa.Connection]:
        """Give an SQLite connection in no transaction, for what is refused within one."""
        with (
            self._translated(),
            self.engine.execution_options(slipway_begin="").connect() as connection,
        ):
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        where = self.url.render_as_string(hide_password=True)
        try:
            yield
        except exc.IntegrityError as error:
            raise Conflict(f"The ledger's own rules refuse this: {error.orig}.") from error
        except exc.DataError as error:
            raise Invalid(f"The ledger cannot hold this value: {error.orig}.") from error
        except (exc.DBAPIError, exc.TimeoutError) as error:
            cause = str(getattr(error, "orig", None) or error).strip()
            raise Unavailable(
                f"The ledger at {where} does not answer: {cause}.",
                "see SLIPWAY_LEDGER_URL and SLIPWAY_HOME",
            ) from error


def put(
    connection: sa.Connection, table: sa.Table, key: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Write a row, new or not; only within `Database.write`, where nobody else can come between."""
    where = [table.c[name] == value for name, value in key.items()]
    if not connection.execute(sa.update(table).where(*where).values(**values)).rowcount:
        connection.execute(sa.insert(table).values(**key, **values))


def _parse(url: str) -> sa.URL:
    hint = "give sqlite:///FILE or postgresql://USER@HOST/NAME in SLIPWAY_LEDGER_URL"
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError) as error:
        raise Invalid("The ledger's URL cannot be read.", hint) from error
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if not parsed.database or parsed.database == ":memory:":
            raise Invalid("The ledger must be a file: a database in memory is not shared.", hint)
        return parsed
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    raise Invalid(f"A ledger cannot lie on {parsed.drivername!r}.", hint)


def _sqlite(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        # The driver's own habit of beginning late, and only before some statements, is switched
        # off; transactions begin below, where they are meant to.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        # Else INSERT OR REPLACE would pass by the triggers that keep history append-only.
        connection.execute("PRAGMA recursive_triggers = ON")

    @event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        if begin := connection.get_execution_options().get("slipway_begin", "BEGIN"):
            connection.exec_driver_sql(begin)

    return engine


def _postgresql(url: sa.URL) -> sa.Engine:
    return sa.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
