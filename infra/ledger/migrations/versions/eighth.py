"""A namespace keeps what was said of it alone; whatever was not goes by each host's settings."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
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
    """Let each be absent; what was said before stays said."""
    with op.batch_alter_table("namespaces") as batch:
        for name, kind in SAID.items():
            batch.alter_column(name, existing_type=kind, nullable=True, server_default=None)
