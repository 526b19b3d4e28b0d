"""Breakers of infer workers beside those of destinations, and jobs met by a fault."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Name breakers by more than a destination, with their fault; count the faults of a job.

    The breakers are made anew: they hold pauses of minutes, and whatever was paused is tried.
    """
    op.drop_table("breakers")
    op.create_table(
        "breakers",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("open_until", sa.Double(), nullable=False),
        sa.Column("fault", sa.String(32)),
        sa.PrimaryKeyConstraint("name", name="pk_breakers"),
    )
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("faults", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Put back what was before, without the breakers that are open."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("faults")
    op.drop_table("breakers")
    op.create_table(
        "breakers",
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("open_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("destination", name="pk_breakers"),
    )
