"""The ledger's verbs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from sqlalchemy import Connection, Engine, delete, insert, select

from infra.ledger import schema
from infra.ledger.change import Change, Claim
from infra.ledger.commit import claim_row, write, yield_row
from infra.ledger.database import open_engine, translated
from infra.ledger.rows import (
    approval_of,
    cursor_of,
    desired_of,
    dump,
    event_of,
    event_row,
    gateway_of,
    release_of,
    release_row,
    replica_of,
)
from release.digests import digest_of
from release.errors import Conflict, NotFound
from release.evidence import Cursor, Tally
from release.releases import Approval, Desired, Event, GatewayStatus, Release, ReplicaStatus
from release.reports import Report


class Ledger:
    """One database, shared by every process of a house. Each verb is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, url: str) -> "Ledger":
        """Open and, where need be, create or migrate the database at a SQLAlchemy URL.

        Raises:
            Invalid: the URL cannot be used.
            Unavailable: the database does not answer, or is newer than this code.
        """
        return cls(open_engine(url))

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view."""
        with translated(self.engine), self.engine.connect() as plain:
            connection = plain.execution_options(writes=False)
            with connection.begin():
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """All or nothing."""
        with translated(self.engine), self.engine.begin() as connection:
            yield connection

    # Releases

    def open_release(self, release: Release, event: Event) -> None:
        """Keep a new release.

        Raises:
            Conflict: its model has an open one.
        """
        model = release.candidate.model
        with self.writing() as connection:
            held = schema.releases.c.open_model == model
            if found := connection.execute(select(schema.releases.c.id).where(held)).scalar():
                raise Conflict(
                    f"{model} has an open release: {found}.",
                    "wait for it, or call it back with slipway rollback",
                )
            connection.execute(insert(schema.releases).values(release_row(release)))
            connection.execute(insert(schema.events).values(event_row(event)))

    def release(self, id: str) -> Release:  # noqa: A002 - the noun's own field
        """Give a release.

        Raises:
            NotFound: there is none of this id.
        """
        chosen = select(schema.releases).where(schema.releases.c.id == id)
        with self.reading() as connection:
            row = connection.execute(chosen).mappings().first()
        if row is None:
            raise NotFound(f"There is no release {id!r}.", "see slipway status")
        return release_of(row)

    def releases(self, model: str | None = None, *, open_only: bool = False) -> list[Release]:
        """Give releases, the oldest first."""
        chosen = select(schema.releases).order_by(schema.releases.c.number)
        if model is not None:
            chosen = chosen.where(schema.releases.c.model == model)
        if open_only:
            chosen = chosen.where(schema.releases.c.open_model.is_not(None))
        with self.reading() as connection:
            return [release_of(row) for row in connection.execute(chosen).mappings()]

    # Events

    def events(
        self, release_id: str | None = None, *, model: str | None = None, after: int = 0
    ) -> list[tuple[int, Event]]:
        """Give numbered events, the oldest first, those with a number above `after`."""
        table = schema.events
        chosen = select(table).where(table.c.number > after).order_by(table.c.number)
        if release_id is not None:
            chosen = chosen.where(table.c.release == release_id)
        if model is not None:
            chosen = chosen.where(table.c.model == model)
        with self.reading() as connection:
            rows = connection.execute(chosen).mappings()
            return [(row["number"], event_of(row)) for row in rows]

    def note(self, event: Event, *, once: str = "") -> bool:
        """Append an event.

        Args:
            event: what happened.
            once: a key; a release has at most one event of a key.

        Returns:
            Whether it was new.
        """
        key = f"{event.release}/{once}" if once else None
        table = schema.events
        with self.writing() as connection:
            if (
                key
                and connection.execute(select(table.c.number).where(table.c.once == key)).first()
            ):
                return False
            connection.execute(insert(table).values(event_row(event, key)))
        return True

    # Approvals and reports

    def approve(self, approval: Approval, event: Event) -> None:
        """Keep a person's answer.

        Raises:
            Conflict: this person has answered for exactly this already.
        """
        bound = digest_of([approval.variant, approval.report, approval.policy])[-64:]
        row = {"release": approval.release, "who": approval.who, "bound": bound}
        table = schema.approvals
        same = (table.c.release == approval.release) & (table.c.who == approval.who)
        with self.writing() as connection:
            found = select(table.c.number).where(same & (table.c.bound == bound))
            if connection.execute(found).first():
                raise Conflict(f"{approval.who} has answered {approval.release} already.")
            connection.execute(insert(table).values(row | {"body": dump(asdict(approval))}))
            connection.execute(insert(schema.events).values(event_row(event)))

    def approvals(self, release_id: str) -> list[Approval]:
        """Give every answer, the oldest first."""
        table = schema.approvals
        chosen = select(table).where(table.c.release == release_id).order_by(table.c.number)
        with self.reading() as connection:
            return [approval_of(row) for row in connection.execute(chosen).mappings()]

    def add_report(self, release_id: str, report: Report) -> None:
        """Keep a variant's report.

        Raises:
            Conflict: the release has another report of this variant.
        """
        table, variant = schema.reports, report.variant.digest
        mine = (table.c.release == release_id) & (table.c.variant == variant)
        with self.writing() as connection:
            found = connection.execute(select(table.c.digest).where(mine)).scalar()
            if found == report.digest:
                return
            if found:
                raise Conflict(f"{release_id} has a report of {report.variant.ref} already.")
            row = {"release": release_id, "variant": variant, "digest": report.digest}
            connection.execute(insert(table).values(row | {"body": dump(report.as_json())}))

    def reports(self, release_id: str) -> list[Report]:
        """Give a release's reports, ordered by their variants' digests."""
        table = schema.reports
        chosen = select(table.c.body).where(table.c.release == release_id).order_by(table.c.variant)
        with self.reading() as connection:
            return [Report.from_json(json.loads(body)) for body in connection.scalars(chosen)]

    # What is desired, and who may move it

    def desired(self, model: str) -> Desired:
        """Give a model's row; generation 0 where it was never moved."""
        chosen = select(schema.desired).where(schema.desired.c.model == model)
        with self.reading() as connection:
            row = connection.execute(chosen).mappings().first()
        return desired_of(row) if row else Desired(model=model)

    def all_desired(self) -> list[Desired]:
        """Give the row of every model that was ever moved, by name."""
        chosen = select(schema.desired).where(schema.desired.c.generation > 0)
        with self.reading() as connection:
            rows = connection.execute(chosen.order_by(schema.desired.c.model)).mappings()
            return [desired_of(row) for row in rows]

    def claim(
        self, model: str, owner: str, seconds: float, now: float, *, force: bool = False
    ) -> Claim:
        """Claim the right to move a model's row, or renew it.

        Raises:
            Conflict: somebody else holds it, and `force` was not given.
        """
        with self.writing() as connection:
            return claim_row(connection, model, owner, now + seconds, now, force=force)

    def yield_claim(self, claim: Claim) -> None:
        """Give a claim back; harmless if it was lost."""
        with self.writing() as connection:
            yield_row(connection, claim)

    def commit(self, claim: Claim, change: Change, now: float) -> Desired:
        """Write everything that a tick decided, in one transaction.

        Raises:
            Fenced: the claim was lost, the row has moved, or the release is closed.
        """
        with self.writing() as connection:
            return write(connection, claim, change, now)

    # Evidence

    def evidence(self, release_id: str) -> Mapping[str, Mapping[int, Tally]]:
        """Give folded counts: digest of the arm to step to tally."""
        table = schema.evidence
        found: dict[str, dict[int, Tally]] = {}
        with self.reading() as connection:
            for row in connection.execute(select(table).where(table.c.release == release_id)):
                tally = Tally(
                    requests=row.requests,
                    failures=row.failures,
                    slow=row.slow,
                    rescued=row.rescued,
                )
                found.setdefault(row.digest, {})[row.step] = tally
        return found

    def cursors(self, model: str) -> dict[str, Cursor]:
        """Give how far each gateway's journal was read for a model."""
        chosen = select(schema.cursors).where(schema.cursors.c.model == model)
        with self.reading() as connection:
            rows = connection.execute(chosen).mappings()
            return {row["gateway"]: cursor_of(row) for row in rows}

    # What was observed

    def observe(
        self, gateways: Sequence[GatewayStatus], replicas: Sequence[ReplicaStatus], agent: str
    ) -> None:
        """Replace all that one agent has seen. Never fenced: it decides nothing."""
        with self.writing() as connection:
            for table in (schema.gateways, schema.replicas):
                connection.execute(delete(table).where(table.c.agent == agent))
            for seen in gateways:
                row = {"gateway": seen.gateway, "endpoint": seen.endpoint, "agent": agent}
                body = {"at": seen.at, "body": dump(asdict(seen))}
                connection.execute(insert(schema.gateways).values(row | body))
            for said in replicas:
                key = {"agent": agent, "endpoint": said.endpoint, "digest": said.digest}
                body = {"at": said.at, "body": dump(asdict(said))}
                connection.execute(insert(schema.replicas).values(key | body))

    def gateways(self, endpoint: str | None = None) -> list[GatewayStatus]:
        """Give what each gateway was last seen to serve."""
        chosen = select(schema.gateways).order_by(schema.gateways.c.gateway)
        if endpoint is not None:
            chosen = chosen.where(schema.gateways.c.endpoint == endpoint)
        with self.reading() as connection:
            return [gateway_of(row) for row in connection.execute(chosen).mappings()]

    def replicas(self, endpoint: str | None = None) -> list[ReplicaStatus]:
        """Give what each replica last said of itself."""
        chosen = select(schema.replicas).order_by(schema.replicas.c.digest)
        if endpoint is not None:
            chosen = chosen.where(schema.replicas.c.endpoint == endpoint)
        with self.reading() as connection:
            return [replica_of(row) for row in connection.execute(chosen).mappings()]
