"""The way to a call store in PostgreSQL: one connection, waited for never for ever.

A server may die without a word, or stand still with its connections up. So the network, the server
and we each have a deadline: what a server still notices it says itself, and ours comes last.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
import sqlalchemy as sa
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from sqlalchemy import exc

from infra.calls import days
from infra.calls.waiting import LOCK_SECONDS, Busy
from release.errors import Invalid, Unavailable

ASK_SECONDS = 60.0
"""How long one question may take."""

GRACE_SECONDS = 15.0
"""How much longer we wait than the server may take: then it stands still."""

Given = TypeVar("Given")

# A host that is gone without a word must not hold the others up: neither side waits for long.
_OPTIONS = " ".join(
    f"-c {one}"
    for one in (
        f"lock_timeout={LOCK_SECONDS:.0f}s",
        "idle_in_transaction_session_timeout=60s",
        "tcp_keepalives_idle=10",
        "tcp_keepalives_interval=5",
        "tcp_keepalives_count=3",
        f"tcp_user_timeout={LOCK_SECONDS:.0f}s",
    )
)


class _Stalled(psycopg.OperationalError):
    """The server said nothing for longer than it may take."""


class Patient(psycopg.Connection[TupleRow]):
    """A connection that waits for each answer, but not for ever."""

    patience: float = ASK_SECONDS
    """Seconds that the server takes for a statement at the most."""

    def wait(self, gen: PQGen[Given], interval: float = 0.1, timeout: float | None = None) -> Given:
        """Wait for what an operation gives.

        Raises:
            _Stalled: it takes too long; the connection is closed then.
        """
        seconds = self.patience + GRACE_SECONDS if timeout is None else timeout
        try:
            return super().wait(_bounded(gen, seconds), interval)
        except _Stalled:
            # Nothing that may still come on it would be the answer to what is asked next.
            self.close()
            raise


def _bounded(gen: PQGen[Given], seconds: float) -> PQGen[Given]:
    """Pass on what an operation waits for, until it has taken too long."""
    deadline = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= deadline:
                raise _Stalled(f"nothing came from it for {seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        given: Given = end.value
        return given


class Link:
    """One connection to a call store, made again where it was lost.

    Args:
        url: such as `postgresql://user@host/name`; its user may make a schema there.

    Raises:
        Invalid: the URL names no PostgreSQL.
    """

    def __init__(self, url: str) -> None:
        self._to, self.where = _parsed(url)
        """How to reach it, and where it is as people may read it."""

        self._known: Patient | None = None

    @contextmanager
    def talking(self) -> Iterator[Patient]:
        """Give the connection, and say in our own words what goes wrong on it.

        Raises:
            Busy: somebody else has what is asked for.
            Unavailable: the database does not answer, or does not let us.
        """
        at = f"The call store at {self.where}"
        try:
            yield self._connection()
        except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
            said = f"{at} is busy: {_primary(error)}."
            raise Busy(said, "somebody reads or writes there for long; do it again") from error
        except errors.QueryCanceled as error:
            said = f"{at} was not done in time: {_primary(error)}."
            raise Unavailable(said, "ask for less at once, such as by --since") from error
        except errors.InsufficientPrivilege as error:
            said = f"{at} does not let us: {_primary(error)}."
            raise Unavailable(said, f"its user has to own the schema {days.SCHEMA}") from error
        except (psycopg.Error, UnicodeError) as error:
            said = f"{at} does not answer: {_primary(error)}."
            raise Unavailable(said, "see whether it runs, and SLIPWAY_CALLS_URL") from error

    @contextmanager
    def writing(self, seconds: float, wait: float = LOCK_SECONDS) -> Iterator[psycopg.Connection]:
        """Give the one write transaction.

        Args:
            seconds: that each of its statements may take.
            wait: seconds that are waited for others that write.

        Raises:
            Busy: others write for longer, or read what has to be exchanged.
            Unavailable: see `talking`.
        """
        with self.talking() as db, _patient(db, seconds), db.transaction():
            _limit(db, "lock_timeout", wait)
            db.execute("select pg_advisory_xact_lock(%s)", [days.LOCK])
            _limit(db, "lock_timeout", LOCK_SECONDS)
            _limit(db, "statement_timeout", seconds)
            yield db

    def close(self) -> None:
        """Let go of the database."""
        if self._known is not None:
            self._known.close()

    def _connection(self) -> Patient:
        if self._known is None or self._known.closed:
            made = Patient.connect(
                self._to,
                autocommit=True,
                connect_timeout=10,
                # A database that is gone without a word is noticed, and not waited for.
                keepalives_idle=10,
                tcp_user_timeout=int(LOCK_SECONDS * 1_000),
                client_encoding="utf8",
                # A plan has to know what is looked for: some texts are in every call.
                prepare_threshold=None,
                options=f"{_OPTIONS} -c statement_timeout={ASK_SECONDS * 1_000:.0f}ms",
            )
            try:
                days.make(made)
            except BaseException:
                # Known, it would be taken for one that finds its tables.
                made.close()
                raise
            self._known = made
        return self._known


@contextmanager
def _patient(db: Patient, seconds: float) -> Iterator[None]:
    """Let a connection wait longer for a while."""
    before, db.patience = db.patience, seconds
    try:
        yield
    finally:
        db.patience = before


def _limit(db: psycopg.Connection, name: str, seconds: float) -> None:
    db.execute("select set_config(%s, %s, true)", [name, f"{int(seconds * 1_000)}ms"])


def _parsed(url: str) -> tuple[str, str]:
    """Give a URL as the driver takes it, and as people may read it."""
    hint = "give postgresql://USER@HOST/NAME in SLIPWAY_CALLS_URL, or nothing"
    try:
        parsed = sa.make_url(url)
        named = parsed.translate_connect_args(database="dbname", username="user")
        to = make_conninfo(**{**named, **{name: str(one) for name, one in parsed.query.items()}})
    except (exc.ArgumentError, ValueError, psycopg.Error) as error:
        raise Invalid("The call store's URL cannot be read.", hint) from error
    if parsed.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise Invalid(f"A call store cannot lie on {parsed.drivername!r}.", hint)
    # A password may stand in the query as well.
    plain = parsed.set(drivername="postgresql", query={})
    return to, plain.render_as_string(hide_password=True)


def _primary(error: Exception) -> str:
    """Give what is wrong without the row that it is wrong with."""
    told = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    # What follows its first line is advice on other matters than ours.
    return (told or str(error)).strip().partition("\n")[0].removesuffix(".")
