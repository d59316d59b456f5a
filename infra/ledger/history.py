"""Releases and all that was said of them: events, approvals, reports."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from infra.ledger import schema
from infra.ledger.database import Database
from infra.ledger.rows import (
    approval_of,
    approval_row,
    event_of,
    event_row,
    release_of,
    release_row,
)
from release.errors import Conflict, NotFound
from release.releases import Approval, Event, Phase, Release
from release.reports import Report


class History:
    """Part of the ledger that only grows, but for where a release stands."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def open_release(self, release: Release, event: Event) -> None:
        """Begin a release, with its first event.

        Raises:
            Conflict: its model has an open one, its id exists, or production moved since
                `release.stable` was read.
        """
        model = release.candidate.model
        with self.database.write() as connection:
            if found := _release_row(connection, release.id):
                raise Conflict(f"Release {release.id} exists; it is {found['phase']}.")
            table = schema.releases
            opened = connection.scalar(sa.select(table.c.id).where(table.c.open_model == model))
            if opened:
                raise one_at_a_time(model, opened)
            _same_champion(connection, release)
            connection.execute(sa.insert(table).values(release_row(release)))
            append(connection, event)

    def release(self, id: str) -> Release:  # noqa: A002 - the noun's own field is called so
        """Read a release.

        Raises:
            NotFound: none has this id.
        """
        with self.database.read() as connection:
            if row := _release_row(connection, id):
                return release_of(row)
            table = schema.releases
            newest = sa.select(table.c.id).order_by(table.c.opened_at.desc()).limit(3)
            known = ", ".join(connection.scalars(newest)) or "none yet"
        raise NotFound(f"No release is called {id!r}.", f"the newest are: {known}")

    def releases(self, model: str | None = None, *, open_only: bool = False) -> list[Release]:
        """Read releases, the oldest first."""
        table = schema.releases
        query = sa.select(table).order_by(table.c.opened_at, table.c.id)
        if model is not None:
            query = query.where(table.c.model == model)
        if open_only:
            query = query.where(table.c.open_model.is_not(None))
        with self.database.read() as connection:
            return [release_of(row) for row in connection.execute(query).mappings()]

    def note(self, event: Event, *, once: str = "") -> bool:
        """Append an event.

        Args:
            event: what happened.
            once: a key of which its release (or model, if it has none) gets one event at most.

        Returns:
            Whether it was new.

        Raises:
            NotFound: its release does not exist.
        """
        with self.database.write() as connection:
            if event.release and not _release_row(connection, event.release):
                raise NotFound(f"No release is called {event.release!r}.", "open it first")
            key = event_row(event, once=once)["once"]
            told = sa.select(schema.events.c.seq).where(schema.events.c.once == key)
            if once and connection.scalar(told):
                return False
            append(connection, event, once=once)
        return True

    def events(
        self,
        release_id: str | None = None,
        *,
        model: str | None = None,
        kinds: Collection[str] = (),
        after: int = 0,
    ) -> list[tuple[int, Event]]:
        """Read events in the order in which they were committed, each with its number.

        Args:
            release_id: only this release's.
            model: only this model's.
            kinds: only of these kinds; of every kind where none is named.
            after: only those with a higher number.
        """
        table = schema.events
        query = sa.select(table).where(table.c.seq > after).order_by(table.c.seq)
        if release_id is not None:
            query = query.where(table.c.release == release_id)
        if model is not None:
            query = query.where(table.c.model == model)
        if kinds:
            query = query.where(table.c.kind.in_(kinds))
        with self.database.read() as connection:
            return [(row["seq"], event_of(row)) for row in connection.execute(query).mappings()]

    def newest(
        self, kinds: Collection[str], *, below: int | None = None, most: int
    ) -> list[tuple[int, Event]]:
        """Read the newest events of some kinds, the newest first, each with its number.

        Args:
            kinds: only of these.
            below: only those with a lower number.
            most: how many at the most.
        """
        table = schema.events
        query = sa.select(table).where(table.c.kind.in_(kinds)).order_by(table.c.seq.desc())
        if below is not None:
            query = query.where(table.c.seq < below)
        with self.database.read() as connection:
            rows = connection.execute(query.limit(most)).mappings()
            return [(row["seq"], event_of(row)) for row in rows]

    def approve(self, approval: Approval, event: Event) -> None:
        """Record a person's answer, with its event.

        Raises:
            NotFound: the release does not exist.
            Conflict: it is closed, or this person has answered for the same variant, report and
                policy.
        """
        row = approval_row(approval)
        table = schema.approvals
        bound = ("release", "who", "variant", "report", "policy")
        same = sa.select(table.c.granted).where(*(table.c[name] == row[name] for name in bound))
        with self.database.write() as connection:
            release = _release_row(connection, approval.release)
            if release is None:
                raise NotFound(f"No release is called {approval.release!r}.", "see slipway status")
            if Phase(release["phase"]).closed:
                raise Conflict(f"{approval.release} is closed: it is {release['phase']}.")
            if (said := connection.scalar(same)) is not None:
                answer = "yes" if said else "no"
                raise Conflict(
                    f"{approval.who} has answered {approval.release} already: {answer}.",
                    "one answer a person is the limit",
                )
            connection.execute(sa.insert(table).values(row))
            append(connection, event)

    def approvals(self, release_id: str) -> list[Approval]:
        """Read every answer to a release, the oldest first."""
        table = schema.approvals
        query = sa.select(table).where(table.c.release == release_id).order_by(table.c.seq)
        with self.database.read() as connection:
            return [approval_of(row) for row in connection.execute(query).mappings()]

    def add_report(self, release_id: str, report: Report) -> None:
        """Keep a report; keeping the same one twice is harmless.

        Raises:
            NotFound: the release does not exist.
            Conflict: this variant has another report already.
        """
        table = schema.reports
        variant = report.variant.digest
        mine = (table.c.release == release_id) & (table.c.variant == variant)
        with self.database.write() as connection:
            if not _release_row(connection, release_id):
                raise NotFound(f"No release is called {release_id!r}.", "open it first")
            known = connection.scalar(sa.select(table.c.digest).where(mine))
            if known is None:
                values = {"variant": variant, "digest": report.digest, "body": report.as_json()}
                connection.execute(sa.insert(table).values(release=release_id, **values))
            elif known != report.digest:
                raise Conflict(
                    f"{report.variant.ref} has been measured for {release_id}: {known}, "
                    f"not {report.digest}.",
                    "a release keeps the first report on each variant",
                )

    def reports(self, release_id: str) -> list[Report]:
        """Read every report of a release, the oldest first."""
        table = schema.reports
        query = sa.select(table.c.body).where(table.c.release == release_id).order_by(table.c.seq)
        with self.database.read() as connection:
            return [Report.from_json(body) for body in connection.scalars(query)]


def one_at_a_time(model: str, opened: str) -> Conflict:
    """Say that a model has an open release, which is the limit."""
    return Conflict(
        f"{model} has an open release, {opened}; one at a time is the limit.",
        "let it finish, or roll it back",
    )


def append(connection: sa.Connection, event: Event, *, once: str = "") -> None:
    """Append an event within a transaction."""
    connection.execute(sa.insert(schema.events).values(event_row(event, once=once)))


def _release_row(connection: sa.Connection, release_id: str) -> sa.RowMapping | None:
    query = sa.select(schema.releases).where(schema.releases.c.id == release_id)
    return connection.execute(query).mappings().first()


def _same_champion(connection: sa.Connection, release: Release) -> None:
    """Refuse a release that would put back what is no longer in production."""
    table = schema.desired
    query = sa.select(table.c.champion).where(table.c.model == release.candidate.model)
    champion: dict[str, Any] | None = connection.scalar(query)
    serving = champion["digest"] if champion else ""
    if serving != (release.stable.digest if release.stable else ""):
        raise Conflict(
            f"Production of {release.candidate.model} moved while {release.id} was being opened.",
            "ask again",
        )
