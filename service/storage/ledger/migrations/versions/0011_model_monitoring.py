"""What is watched for drift, this site's references, and what a shadow model says."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

INPUTS = ("manufacturer", "view", "kvp", "exposure", "size", "tone")
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INDEXES = {  # name: columns, rows
    "ix_shadows_due": (["due_at", "id"], "due_at IS NOT NULL"),
    "ix_shadows_held": (["holder"], "holder IS NOT NULL"),
}


def upgrade() -> None:
    """Add the tables; of what was analysed so far nothing is known."""
    op.create_table(
        "drift_inputs",
        sa.Column("job_id", sa.String(32), nullable=False),
        *(sa.Column(name, sa.String(32), nullable=False) for name in INPUTS),
        sa.PrimaryKeyConstraint("job_id", name="pk_drift_inputs"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_drift_inputs_job_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "drift_references",
        sa.Column("input", sa.String(32), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("input", name="pk_drift_references"),
    )
    op.create_table(
        "shadows",
        sa.Column("id", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("planned_at", sa.Double(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(128)),
        sa.Column("due_at", sa.Double()),
        sa.Column("reported_model", sa.String(128), nullable=False),
        sa.Column("reported_point", sa.String(64), nullable=False),
        sa.Column("reported_finding", sa.String(16)),
        sa.Column("reported_probability", sa.Double()),
        sa.Column("reported_reason", sa.String(64)),
        sa.Column("model", sa.String(128)),
        sa.Column("weights_sha256", sa.String(64)),
        sa.Column("operating_point", sa.String(64)),
        sa.Column("finding", sa.String(16)),
        sa.Column("probability", sa.Double()),
        sa.Column("reason", sa.String(64)),
        sa.Column("failure", sa.String(32)),
        sa.Column("finished_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_shadows"),
        sa.UniqueConstraint("job_id", name="uq_shadows_job_id"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_shadows_job_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_shadows_planned_at", "shadows", ["planned_at"])
    for name, (columns, rows) in INDEXES.items():
        where = sa.text(rows)
        op.create_index(name, "shadows", columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop them."""
    for name in ("shadows", "drift_references", "drift_inputs"):
        op.drop_table(name)
