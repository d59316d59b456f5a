"""The first tables, and triggers that keep history as it was written."""

from alembic import op

from infra.ledger.schema import APPEND_ONLY, meta

revision = "0001"
down_revision = None

_POSTGRES_FUNCTION = """
CREATE OR REPLACE FUNCTION slipway_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$
"""


def upgrade() -> None:
    """Create everything."""
    bind = op.get_bind()
    meta.create_all(bind)
    if bind.dialect.name == "postgresql":
        op.execute(_POSTGRES_FUNCTION)
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(_trigger(bind.dialect.name, table.name, verb))


def _trigger(dialect: str, table: str, verb: str) -> str:
    name = f"{table}_no_{verb.lower()}"
    if dialect == "postgresql":
        return (
            f"CREATE TRIGGER {name} BEFORE {verb} ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION slipway_append_only()"
        )
    return (
        f"CREATE TRIGGER {name} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    )
