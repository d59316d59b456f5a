"""Events of a kind are found without reading the others: each fold of calls asks for some."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make their index."""
    op.create_index("ix_events_kind", "events", ["kind", "seq"])
