"""Retention marks first and discards afterwards; since when bytes are kept by a promise."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COLUMNS = ("discarded_at", "promised_at")
INDEXES = {  # name: columns, rows
    "ix_jobs_to_purge": (["kept_since", "id"], "finished_at IS NOT NULL AND purged_at IS NULL"),
    "ix_jobs_to_discard": (["purged_at", "id"], "purged_at IS NOT NULL AND discarded_at IS NULL"),
    "ix_jobs_to_forget": (["kept_since", "id"], "discarded_at IS NOT NULL"),
}


def upgrade() -> None:
    """Add the columns; bytes that retention removed before were discarded before the mark."""
    for name in COLUMNS:
        op.add_column("jobs", sa.Column(name, sa.Double()))
    op.execute("UPDATE jobs SET discarded_at = purged_at WHERE purged_at IS NOT NULL")
    for name, (columns, rows) in INDEXES.items():
        where = sa.text(rows)
        op.create_index(name, "jobs", columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop them without replacing the table, which would drop the triggers that count its rows."""
    for name in INDEXES:
        op.drop_index(name, "jobs")
    for name in COLUMNS:
        op.drop_column("jobs", name)
