"""How much of a namespace's calls is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the limit; 0 means none."""
    column = sa.Column("most_mb", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("namespaces", column)
