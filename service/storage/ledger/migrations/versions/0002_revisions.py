"""Reports that replace each other, and reports of instances that were not analysed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UID = sa.String(64)
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the revisions, and the columns `asked_at` and `refusal` of jobs."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("asked_at", sa.Double(), nullable=True))
        jobs.add_column(sa.Column("refusal", sa.String(64), nullable=True))
    op.execute("UPDATE jobs SET asked_at = received_at")
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("asked_at", existing_type=sa.Double(), nullable=False)
    op.create_table(
        "revisions",
        sa.Column("id", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("sop_class_uid", UID, nullable=False),
        sa.Column("sop_instance_uid", UID, nullable=False),
        sa.Column("series_instance_uid", UID, nullable=False),
        sa.Column("follows", ROW_NUMBER, nullable=True),
        sa.Column("dated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revisions"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_revisions_job_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["follows"], ["revisions.id"], name="fk_revisions_follows", ondelete="SET NULL"
        ),
        sa.UniqueConstraint("job_id", "sop_instance_uid", name="uq_revisions_job_id"),
    )
    op.create_index("ix_revisions_job_id", "revisions", ["job_id"])
    op.create_index("ix_revisions_follows", "revisions", ["follows"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("revisions")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("refusal")
        jobs.drop_column("asked_at")
