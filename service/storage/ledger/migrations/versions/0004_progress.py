"""Whether the work of a process makes progress."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column `progress` of heartbeats, which are of no worth once their process ended."""
    op.execute("DELETE FROM heartbeats")
    with op.batch_alter_table("heartbeats") as heartbeats:
        heartbeats.add_column(sa.Column("progress", sa.Boolean(), nullable=False))


def downgrade() -> None:
    """Drop it."""
    with op.batch_alter_table("heartbeats") as heartbeats:
        heartbeats.drop_column("progress")
