"""A scheduling clock apart from the wall clock, and the columns that count by it."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

COLUMNS = ("arrived_at", "kept_since")


def upgrade() -> None:
    """Add the columns and the table; what was recorded so far was by the wall clock.

    Scheduling time goes on from the last event. A job whose analysis was requested anew is not
    reported until it is, whatever the wall clock said then and says now.
    """
    op.create_table(
        "clocks",
        sa.Column("boot", sa.String(64), nullable=False),
        sa.Column("boot_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("database_at", sa.Double(), nullable=False),
        sa.Column("wall_boot_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("boot", name="pk_clocks"),
    )
    op.execute(
        "INSERT INTO clocks (boot, boot_at, seen_at, database_at, wall_boot_at) "
        "SELECT 'before the migration', at, at, at, at FROM events ORDER BY id DESC LIMIT 1"
    )
    for name in COLUMNS:
        op.add_column("jobs", sa.Column(name, sa.Double()))
    op.execute("UPDATE jobs SET arrived_at = received_at, kept_since = finished_at")
    op.execute("UPDATE jobs SET reported_at = NULL WHERE reported_at < asked_at")


def downgrade() -> None:
    """Drop them without replacing the table, which would drop the triggers that count its rows."""
    for name in COLUMNS:
        op.drop_column("jobs", name)
    op.drop_table("clocks")
