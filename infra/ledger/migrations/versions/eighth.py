"""A canary may get copies of requests before it gets any."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add how many of them, in percent."""
    column = sa.Column("shadow_percent", sa.Double, nullable=False, server_default="0")
    op.add_column("desired", column)
