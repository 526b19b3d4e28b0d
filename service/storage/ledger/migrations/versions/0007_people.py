"""What the pages need: patients, evidence, users, sessions, tokens, audit trail, verdicts."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UID = sa.String(64)
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STATE = "ck_jobs_ck_jobs_state"  # as the first migration named it
STATES = ("received", "reported", "delivered", "not_analysed", "parked")
POINT = ("threshold", "indeterminate_low", "indeterminate_high")
APPEND_ONLY = ("audit", "verdicts")
WORD = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
TABLES = (
    "verdicts",
    "audit_exports",
    "audit",
    "api_tokens",
    "sessions",
    "users",
    "evidence",
    "patient_words",
    "patients",
)
LAST_ANSWER = "ix_deliveries_destination_finished_at"
INDEXES = {
    "ix_jobs_state_received_at": ["state", "received_at"],
    "ix_jobs_finding_received_at": ["finding", "received_at"],
    "ix_jobs_calling_ae_title_received_at": ["calling_ae_title", "received_at"],
}


def upgrade() -> None:
    """Add the state `dismissed`, the columns and the tables."""
    with op.batch_alter_table("jobs") as jobs:
        for name in POINT:
            jobs.add_column(sa.Column(name, sa.Double()))
        jobs.drop_constraint(op.f(STATE), type_="check")
        jobs.create_check_constraint(op.f(STATE), _in((*STATES, "dismissed")))
    for name, columns in INDEXES.items():
        op.create_index(name, "jobs", columns)
    op.create_index(LAST_ANSWER, "deliveries", ["destination", "finished_at"])
    _of_jobs()
    _of_users()
    _audit()
    _verdicts()
    tallies = sa.table("tallies", sa.column("name", sa.String), sa.column("total", sa.BigInteger))
    op.bulk_insert(tallies, [{"name": "audited", "total": 0}])
    for table in APPEND_ONLY:
        for statement in _append_only(table, op.get_bind().dialect.name):
            op.execute(statement)


def downgrade() -> None:
    """Drop them; dismissed jobs are parked again, as what they were dismissed from."""
    op.execute("DELETE FROM tallies WHERE name = 'audited'")
    for name in TABLES:
        op.drop_table(name)
    if op.get_bind().dialect.name == "postgresql":
        for table in APPEND_ONLY:
            op.execute(f"DROP FUNCTION {table}_is_append_only")
    for name in INDEXES:
        op.drop_index(name, "jobs")
    op.drop_index(LAST_ANSWER, "deliveries")
    op.execute("UPDATE jobs SET state = 'parked', finished_at = NULL WHERE state = 'dismissed'")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_constraint(op.f(STATE), type_="check")
        jobs.create_check_constraint(op.f(STATE), _in(STATES))
        for name in POINT:
            jobs.drop_column(name)


def _in(states: tuple[str, ...]) -> str:
    return f"state IN ({', '.join(repr(state) for state in states)})"


def _job_id(table: str) -> tuple[sa.Column[str], sa.PrimaryKeyConstraint, sa.ForeignKeyConstraint]:
    return (
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=f"pk_{table}"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=f"fk_{table}_job_id", ondelete="CASCADE"
        ),
    )


def _of_jobs() -> None:
    op.create_table(
        "patients",
        *_job_id("patients"),
        sa.Column("patient_name", sa.String(324), nullable=False),
        sa.Column("patient_id", sa.String(64), nullable=False),
        sa.Column("birth_date", sa.String(8), nullable=False),
        sa.Column("sex", sa.String(16), nullable=False),
        sa.Column("accession_number", sa.String(64), nullable=False),
        sa.Column("study_date", sa.String(8), nullable=False),
        sa.Column("modality", sa.String(16), nullable=False),
        sa.Column("view_position", sa.String(16), nullable=False),
    )
    for column in ("patient_id", "accession_number"):
        op.create_index(f"ix_patients_{column}", "patients", [column])
    op.create_table(
        "patient_words",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("word", WORD, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "kind", "word", name="pk_patient_words"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_patient_words_job_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_patient_words_word_job_id", "patient_words", ["word", "job_id"])
    op.create_table(
        "evidence",
        *_job_id("evidence"),
        sa.Column("region", sa.JSON()),
        sa.Column("attention", sa.JSON()),
        sa.Column("other_threshold", sa.Double()),
        sa.Column("other_indeterminate_low", sa.Double()),
        sa.Column("other_indeterminate_high", sa.Double()),
        sa.Column("calibrated", sa.Boolean()),
        sa.Column("weights_sha256", sa.String(64)),
    )


def _user_name(table: str) -> tuple[sa.Column[str], sa.ForeignKeyConstraint]:
    return (
        sa.Column("user_name", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_name"], ["users.name"], name=f"fk_{table}_user_name", ondelete="CASCADE"
        ),
    )


def _of_users() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password_hash", sa.String(256)),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("disabled_at", sa.Double()),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("locked_until", sa.Double()),
        sa.Column("subject_sha256", sa.String(64)),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
        sa.UniqueConstraint("subject_sha256", name="uq_users_subject_sha256"),
    )
    op.create_table(
        "sessions",
        sa.Column("token_sha256", sa.String(64), nullable=False),
        *_user_name("sessions"),
        sa.Column("csrf_token", sa.String(64), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("token_sha256", name="pk_sessions"),
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_index("ix_sessions_user_name", "sessions", ["user_name"])
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("token_sha256", sa.String(64), nullable=False),
        *_user_name("api_tokens"),
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.Column("used_at", sa.Double()),
        sa.Column("revoked_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_api_tokens"),
        sa.UniqueConstraint("token_sha256", name="uq_api_tokens_token_sha256"),
    )
    op.create_index("ix_api_tokens_user_name", "api_tokens", ["user_name"])


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("user_name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(32)),
        sa.Column("study_instance_uid", UID),
        sa.Column("sop_instance_uid", UID),
        sa.Column("patient_id", sa.String(64)),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    for column in ("at", "user_name", "job_id", "patient_id"):
        op.create_index(f"ix_audit_{column}", "audit", [column])
    op.create_table(
        "audit_exports",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("exported", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("fault", sa.String(16)),
        sa.Column("holder", sa.String(128)),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_exports"),
    )
    op.bulk_insert(
        sa.table(
            "audit_exports",
            *(sa.column(name) for name in ("id", "exported", "attempt", "failures", "due_at")),
        ),
        [{"id": "syslog", "exported": 0, "attempt": 0, "failures": 0, "due_at": 0.0}],
    )


def _verdicts() -> None:
    op.create_table(
        "verdicts",
        sa.Column("id", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("user_name", sa.String(64), nullable=False),
        sa.Column("opinion", sa.String(16), nullable=False),
        sa.Column("right_finding", sa.String(16)),
        sa.Column("comment", sa.String(2000), nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("report_uid", UID, nullable=False),
        sa.Column("sop_instance_uid", UID, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("finding", sa.String(16), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("operating_point", sa.String(64), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("population", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_verdicts"),
    )
    for column in ("at", "job_id"):
        op.create_index(f"ix_verdicts_{column}", "verdicts", [column])


def _append_only(table: str, dialect: str) -> list[str]:
    """Build the triggers that reject every change of a row, and its deletion."""
    sentence = f"{table} is append-only"
    if dialect == "sqlite":
        return [
            (
                f"CREATE TRIGGER {table}_is_append_only_{event.lower()} BEFORE {event} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{sentence}'); END"
            )
            for event in ("UPDATE", "DELETE")
        ]
    return [
        (
            f"CREATE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{sentence}'; END $$"
        ),
        (
            f"CREATE TRIGGER {table}_is_append_only BEFORE UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {table}_is_append_only()"
        ),
    ]
