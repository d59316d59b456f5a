"""What each model is meant to serve: one row a model, one owner, every change one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import sqlalchemy as sa

from infra.ledger import schema
from infra.ledger.database import Database, put
from infra.ledger.folding import fold, read_cursors, read_evidence
from infra.ledger.history import append
from infra.ledger.rows import desired_of, desired_row, release_row
from release.errors import Conflict, Fenced, Invalid, NotFound
from release.evidence import Cursor, Tally, Window
from release.releases import Desired, Event, Phase, Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to change a model's row; a later claim ends it."""

    model: str
    owner: str
    epoch: int
    """Rises by one with each change of owner: the fencing token."""

    until: float
    """Before this moment nobody takes it away unless by force, in seconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one transaction writes."""

    release: Release | None = None
    desired: Desired | None = None
    expected: int
    """Generation that it was decided on."""

    events: tuple[Event, ...] = ()
    windows: tuple[Window, ...] = ()
    """Live evidence for `release`; windows that were counted before are passed over."""

    cursors: tuple[Cursor, ...] = ()
    step: int = 0
    """Step under which the windows are counted."""

    bump: bool = False
    """Whether the generation rises although arms and shares stay."""


class Desires:
    """Part of the ledger that is moved by compare-and-swap."""

    database: Database

    def desired(self, model: str) -> Desired:
        """Read what a model is meant to serve; generation 0 where nothing was ever decided."""
        with self.database.read() as connection:
            row = _row(connection, model)
        return desired_of(row) if row else Desired(model=model)

    def all_desired(self) -> list[Desired]:
        """Read what every model is meant to serve, of which anything was ever decided."""
        table = schema.desired
        query = sa.select(table).where(table.c.generation > 0).order_by(table.c.model)
        with self.database.read() as connection:
            return [desired_of(row) for row in connection.execute(query).mappings()]

    def claim(
        self, model: str, owner: str, seconds: float, now: float, *, force: bool = False
    ) -> Claim:
        """Take or renew the right to change a model's row.

        Args:
            model: whose row.
            owner: name of the process.
            seconds: how long nobody else may take it, from `now`.
            now: seconds since the epoch.
            force: whether to take it from a living owner; every claim before is fenced off, those
                of the same owner included.

        Raises:
            Conflict: another owner holds it.
        """
        if not owner or seconds <= 0:
            raise Invalid(f"A claim needs an owner and a time, not {owner!r} and {seconds:g} s.")
        with self.database.write() as connection:
            row = _row(connection, model)
            epoch, holder, until = (
                (row["epoch"], row["owner"], row["owner_until"]) if row else (0, "", 0.0)
            )
            if holder not in ("", owner) and now < until and not force:
                raise Conflict(
                    f"{model} is being changed by {holder}, until {_clock(until)} at the latest.",
                    "try again later",
                )
            if force or holder != owner:
                epoch += 1
            held = {"epoch": epoch, "owner": owner, "owner_until": now + seconds}
            fresh = {} if row else {**desired_row(Desired(model=model)), "changed_at": now}
            put(connection, schema.desired, {"model": model}, {**fresh, **held})
        return Claim(model=model, owner=owner, epoch=epoch, until=now + seconds)

    def owner(self, model: str, now: float) -> str:
        """Name whoever holds a model's row at this moment; empty where nobody does."""
        with self.database.read() as connection:
            row = _row(connection, model)
        return str(row["owner"]) if row and now < row["owner_until"] else ""

    def yield_claim(self, claim: Claim) -> None:
        """Give a claim back; harmless if it was lost meanwhile."""
        table = schema.desired
        mine = (
            (table.c.model == claim.model)
            & (table.c.epoch == claim.epoch)
            & (table.c.owner == claim.owner)
        )
        with self.database.write() as connection:
            connection.execute(sa.update(table).where(mine).values(owner="", owner_until=0.0))

    def commit(self, claim: Claim, change: Change, now: float) -> Desired:
        """Write a change, all of it or nothing.

        The generation rises by one where arms, share or policy differ, or `change.bump` asks for
        it; a renewed lease alone leaves it.

        Args:
            claim: the right to do so.
            change: what to write.
            now: seconds since the epoch.

        Returns:
            The row as it is now.

        Raises:
            Fenced: the claim was lost, the row has moved on, or the release is closed.
            NotFound: the release was never opened.
        """
        _check(claim, change)
        with self.database.write() as connection:
            before = _held(connection, claim)
            if before.generation != change.expected:
                raise Fenced(
                    f"{claim.model} is at generation {before.generation}, "
                    f"and the change was decided at {change.expected}.",
                    "decide again",
                )
            after = replace(change.desired or before, generation=before.generation)
            if change.bump or replace(after, lease_until=before.lease_until) != before:
                after = replace(after, generation=before.generation + 1)
            values = {**desired_row(after), "changed_at": now}
            put(connection, schema.desired, {"model": claim.model}, values)
            if change.release is not None:
                _move(connection, change.release)
            for event in change.events:
                # By the generation, which every call names, it is known what a call met.
                data = {**event.data, "generation": after.generation}
                append(connection, replace(event, data=data))
            release_id = change.release.id if change.release else None
            fold(
                connection,
                claim.model,
                release_id,
                windows=change.windows,
                cursors=change.cursors,
                step=change.step,
            )
        return after

    def evidence(self, release_id: str) -> Mapping[str, Mapping[int, Tally]]:
        """Read a release's live evidence: content digest to step to counts."""
        with self.database.read() as connection:
            return read_evidence(connection, release_id)

    def cursors(self, model: str) -> dict[str, Cursor]:
        """Read how far each gateway's journal has been folded for a model."""
        with self.database.read() as connection:
            return read_cursors(connection, model)


def _row(connection: sa.Connection, model: str) -> sa.RowMapping | None:
    query = sa.select(schema.desired).where(schema.desired.c.model == model)
    return connection.execute(query).mappings().first()


def _check(claim: Claim, change: Change) -> None:
    named = {change.desired.model} if change.desired else set()
    if change.release:
        named.add(change.release.candidate.model)
    if named - {claim.model}:
        raise Invalid(f"A claim on {claim.model} may not change {', '.join(sorted(named))}.")


def _held(connection: sa.Connection, claim: Claim) -> Desired:
    row = _row(connection, claim.model)
    if row is None or (row["epoch"], row["owner"]) != (claim.epoch, claim.owner):
        now = f"{row['owner'] or 'nobody'} at epoch {row['epoch']}" if row else "nobody"
        raise Fenced(
            f"{claim.owner} held {claim.model} at epoch {claim.epoch} and lost it; "
            f"it is held by {now}.",
            "start over",
        )
    return desired_of(row)


def _move(connection: sa.Connection, release: Release) -> None:
    table = schema.releases
    mine = table.c.id == release.id
    phase = connection.scalar(sa.select(table.c.phase).where(mine))
    if phase is None:
        raise NotFound(f"No release is called {release.id!r}.", "open it first")
    if Phase(phase).closed:
        raise Fenced(f"{release.id} is closed: it is {phase}.", "open a new release")
    connection.execute(sa.update(table).where(mine).values(release_row(release)))


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S} UTC"
