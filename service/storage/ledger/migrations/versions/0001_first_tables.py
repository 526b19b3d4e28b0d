"""The first tables: jobs, outputs, deliveries, events, breakers, tallies, heartbeats."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UID = sa.String(64)
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables, and triggers that keep the trace append-only."""
    _jobs()
    _outputs()
    _deliveries()
    _events()
    op.create_table(
        "breakers",
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("open_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("destination", name="pk_breakers"),
    )
    tallies = op.create_table(
        "tallies",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_tallies"),
    )
    op.bulk_insert(tallies, [{"name": "received", "total": 0}, {"name": "forgotten", "total": 0}])
    op.create_table(
        "heartbeats",
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("holder", name="pk_heartbeats"),
    )
    for statement in _append_only(op.get_bind().dialect.name):
        op.execute(statement)


def downgrade() -> None:
    """Drop all tables."""
    for name in ("heartbeats", "tallies", "breakers", "events", "deliveries", "outputs", "jobs"):
        op.drop_table(name)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION events_are_append_only")


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("sop_instance_uid", UID, nullable=False),
        sa.Column("sop_class_uid", UID, nullable=False),
        sa.Column("series_instance_uid", UID, nullable=False),
        sa.Column("study_instance_uid", UID, nullable=False),
        sa.Column("transfer_syntax_uid", UID, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("calling_ae_title", sa.String(16), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("corrects", sa.String(32)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("attempt_base", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(128)),
        sa.Column("due_at", sa.Double()),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("reported_at", sa.Double()),
        sa.Column("finished_at", sa.Double()),
        sa.Column("purged_at", sa.Double()),
        sa.Column("finding", sa.String(16)),
        sa.Column("probability", sa.Double()),
        sa.Column("operating_point", sa.String(64)),
        sa.Column("model", sa.String(128)),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.ForeignKeyConstraint(["corrects"], ["jobs.id"], name="fk_jobs_corrects"),
        sa.UniqueConstraint("sop_instance_uid", "sha256", name="uq_jobs_sop_instance_uid"),
        sa.CheckConstraint(
            "state IN ('received', 'reported', 'delivered', 'not_analysed', 'parked')",
            name="ck_jobs_state",
        ),
    )
    op.create_index("ix_jobs_series_instance_uid", "jobs", ["series_instance_uid"])
    op.create_index("ix_jobs_study_instance_uid", "jobs", ["study_instance_uid"])
    op.create_index("ix_jobs_corrects", "jobs", ["corrects"])
    op.create_index("ix_jobs_received_at", "jobs", ["received_at"])
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"])
    op.create_index("ix_jobs_state_due_at", "jobs", ["state", "due_at"])
    op.create_index("ix_jobs_holder", "jobs", ["holder"])


def _outputs() -> None:
    op.create_table(
        "outputs",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("sop_class_uid", UID, nullable=False),
        sa.Column("sop_instance_uid", UID, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "kind", name="pk_outputs"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_outputs_job_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_outputs_sop_instance_uid", "outputs", ["sop_instance_uid"])


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(128)),
        sa.Column("due_at", sa.Double()),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("finished_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_deliveries_job_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("job_id", "kind", "destination", name="uq_deliveries_job_id"),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'parked')", name="ck_deliveries_state"
        ),
    )
    op.create_index(
        "ix_deliveries_destination_state_due_at", "deliveries", ["destination", "state", "due_at"]
    )
    op.create_index("ix_deliveries_holder", "deliveries", ["holder"])


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_events_job_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_events_job_id", "events", ["job_id"])


def _append_only(dialect: str) -> list[str]:
    """Build the triggers that reject changes of an event; it is deleted only with its job."""
    if dialect == "sqlite":
        return [
            (
                "CREATE TRIGGER events_are_append_only BEFORE UPDATE ON events "
                "BEGIN SELECT RAISE(ABORT, 'the trace is append-only'); END"
            )
        ]
    return [
        (
            "CREATE FUNCTION events_are_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the trace is append-only'; END $$"
        ),
        (
            "CREATE TRIGGER events_are_append_only BEFORE UPDATE ON events "
            "FOR EACH ROW EXECUTE FUNCTION events_are_append_only()"
        ),
    ]
