"""Retention marks first and discards afterwards; since when bytes are kept by a promise."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COLUMNS = ("discarded_at", "promised_at")
TO_PURGE, TO_DISCARD = "ix_jobs_to_purge", "ix_jobs_to_discard"
HAS_BYTES = "finished_at IS NOT NULL AND purged_at IS NULL"
IS_MARKED = "purged_at IS NOT NULL AND discarded_at IS NULL"


def upgrade() -> None:
    """Add the columns; bytes that retention removed before were discarded before the mark."""
    for name in COLUMNS:
        op.add_column("jobs", sa.Column(name, sa.Double()))
    op.execute("UPDATE jobs SET discarded_at = purged_at WHERE purged_at IS NOT NULL")
    for name, columns, where in (
        (TO_PURGE, ["kept_since", "id"], HAS_BYTES),
        (TO_DISCARD, ["purged_at", "id"], IS_MARKED),
    ):
        is_in = sa.text(where)
        op.create_index(name, "jobs", columns, sqlite_where=is_in, postgresql_where=is_in)


def downgrade() -> None:
    """Drop them without replacing the table, which would drop the triggers that count its rows."""
    for name in (TO_PURGE, TO_DISCARD):
        op.drop_index(name, "jobs")
    for name in COLUMNS:
        op.drop_column("jobs", name)
