"""First schema: tables as the release pipeline began, history protected by triggers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("events", "approvals")

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Bring an empty database to the first schema."""
    _create_releases()
    _create_history()
    _create_desired()
    _create_observed()
    protect = _protect_sqlite if op.get_bind().dialect.name == "sqlite" else _protect_postgresql
    for table in APPEND_ONLY:
        protect(table)


def _create_releases() -> None:
    op.create_table(
        "identities",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("machine", sa.Boolean, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
    )
    op.create_table(
        "releases",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, nullable=False, index=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("open_model", sa.Text, unique=True),
        sa.Column("requester", sa.Text, nullable=False),
        sa.Column("policy_text", sa.Text, nullable=False),
        sa.Column("suite", sa.Text, nullable=False),
        sa.Column("opened_at", sa.Double, nullable=False),
        sa.Column("stable", sa.JSON),
        sa.Column("stable_policy", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("chosen", sa.JSON),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("since", sa.Double),
        sa.Column("waiting_for", sa.Text, nullable=False),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("closed_at", sa.Double),
    )


def _create_history() -> None:
    op.create_table(
        "events",
        sa.Column("seq", SERIAL, primary_key=True),
        sa.Column("release", sa.Text, sa.ForeignKey("releases.id")),
        sa.Column("model", sa.Text, nullable=False, index=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("once", sa.Text, unique=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "approvals",
        sa.Column("seq", SERIAL, primary_key=True),
        sa.Column("release", sa.Text, sa.ForeignKey("releases.id"), nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("granted", sa.Boolean, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("variant", sa.Text, nullable=False),
        sa.Column("report", sa.Text, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.UniqueConstraint(
            "release", "who", "variant", "report", "policy", name="uq_approvals_answer"
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "reports",
        sa.Column("seq", SERIAL, primary_key=True),
        sa.Column("release", sa.Text, sa.ForeignKey("releases.id"), nullable=False),
        sa.Column("variant", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.UniqueConstraint("release", "variant", name="uq_reports_variant"),
    )
    op.create_index("ix_events_release", "events", ["release"])


def _create_desired() -> None:
    op.create_table(
        "desired",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("owner_until", sa.Double, nullable=False),
        sa.Column("champion", sa.JSON),
        sa.Column("canary", sa.JSON),
        sa.Column("previous", sa.JSON),
        sa.Column("canary_percent", sa.Double, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("policy_text", sa.Text, nullable=False),
        sa.Column("changed_at", sa.Double, nullable=False),
    )
    op.create_table(
        "evidence",
        sa.Column("release", sa.Text, sa.ForeignKey("releases.id"), primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.BigInteger, nullable=False),
        sa.Column("slow", sa.BigInteger, nullable=False),
        sa.Column("rescued", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "cursors",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("gateway", sa.Text, primary_key=True),
        sa.Column("window", sa.BigInteger, nullable=False),
        sa.Column("segment", sa.BigInteger, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
    )


def _create_observed() -> None:
    op.create_table(
        "gateways",
        sa.Column("gateway", sa.Text, primary_key=True),
        sa.Column("endpoint", sa.Text, primary_key=True),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("lapsed", sa.Boolean, nullable=False),
        sa.Column("tripped", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "replicas",
        sa.Column("agent", sa.Text, primary_key=True),
        sa.Column("endpoint", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("ready", sa.Boolean, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False),
        sa.Column("restarts", sa.BigInteger, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )


def _protect_sqlite(table: str) -> None:
    """Refuse every way to change a row; INSERT OR REPLACE is one of them."""
    refuse = f"SELECT RAISE(ABORT, '{table} are append-only')"
    for verb in ("UPDATE", "DELETE"):
        op.execute(f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} BEGIN {refuse}; END")
    taken = f"EXISTS (SELECT 1 FROM {table} WHERE seq = NEW.seq)"  # noqa: S608 - names of ours
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN {taken} BEGIN {refuse}; END"
    )


def _protect_postgresql(table: str) -> None:
    op.execute(
        f"CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} are append-only'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only()"
    )
