"""A namespace keeps what was said of it alone, and a host's name goes to one home."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

SAID: dict[str, sa.types.TypeEngine[Any]] = {
    "capture": sa.Text(),
    "sample": sa.Double(),
    "strict": sa.Boolean(),
    "when_full": sa.Text(),
    "days": sa.Integer(),
    "most_mb": sa.BigInteger(),
}


def upgrade() -> None:
    """Let what was not said be absent, and make the table of names; what was said stays said."""
    op.create_table(
        "hosts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("home", sa.Text, nullable=False),
        sa.Column("heard_at", sa.Double, nullable=False),
    )
    with op.batch_alter_table("namespaces") as batch:
        for name, kind in SAID.items():
            batch.alter_column(name, existing_type=kind, nullable=True, server_default=None)
