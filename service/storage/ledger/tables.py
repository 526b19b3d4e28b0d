"""The ledger's tables as of the latest migration; times are seconds since the epoch.

Times that decide are of the scheduling clock (see `clock`): `arrived_at`, `due_at`, `since`,
`kept_since`, `promised_at`, `open_until`, `locked_until`, of heartbeats `at`, and all of sessions,
besides `expires_at` of tokens. The others are of the wall clock, for people.
"""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    literal,
    text,
)

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite generates values of an INTEGER primary key only
ROW_NUMBER: Final = BigInteger().with_variant(Integer(), "sqlite")
UID: Final = String(64)  # PS3.5 table 6.2-1
ORDINARY: Final = 0  # priorities
URGENT: Final = 1
# in the order of code points, so that the words with one beginning are a range of the index
WORD: Final = String(64).with_variant(String(64, collation="C"), "postgresql")


def _partial(name: str, *columns: str, where: str) -> Index:
    """Make an index of the rows for which `where` holds: few of many, whatever was finished."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


JOBS: Final = Table(
    "jobs",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("sop_instance_uid", UID, nullable=False),
    Column("sop_class_uid", UID, nullable=False),
    Column("series_instance_uid", UID, nullable=False, index=True),
    Column("study_instance_uid", UID, nullable=False, index=True),
    Column("transfer_syntax_uid", UID, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("calling_ae_title", String(16), nullable=False),
    Column("source", String(16), nullable=False),
    Column("corrects", String(32), ForeignKey("jobs.id"), index=True),
    Column("state", String(16), nullable=False),
    Column("reason", String(64)),
    Column("attempt", Integer, nullable=False, default=0),
    Column("attempt_base", Integer, nullable=False, default=0),
    Column("holder", String(128)),
    Column("due_at", Double),
    Column("received_at", Double, nullable=False, index=True),
    Column("arrived_at", Double),  # by which the instances of one UID are in order
    Column("asked_at", Double, nullable=False),
    Column("reported_at", Double),
    Column("finished_at", Double, index=True),
    Column("kept_since", Double),  # finished: retention counts from here
    Column("promised_at", Double),  # committed to a sender, or stored again after they were gone
    Column("purged_at", Double),  # when retention marked the bytes as gone
    Column("discarded_at", Double),  # when their files were removed after that
    Column("finding", String(16)),
    Column("probability", Double),
    Column("operating_point", String(64)),
    Column("model", String(128)),
    Column("refusal", String(64)),
    Column("faults", Integer, nullable=False, default=0),
    Column("other_finding", String(16)),
    Column("other_probability", Double),
    Column("other_operating_point", String(64)),
    Column("population", String(64)),
    Column("threshold", Double),  # of the operating point, and the band in which it abstains
    Column("indeterminate_low", Double),
    Column("indeterminate_high", Double),
    Column("priority", Integer, nullable=False, default=ORDINARY),
    Column("repeats", Integer, nullable=False, default=0),  # how often it was received again
    Column("last_repeated_at", Double),
    UniqueConstraint("sop_instance_uid", "digest"),
    CheckConstraint(
        "state IN ('received', 'reported', 'delivered', 'not_analysed', 'parked', 'dismissed')",
        name="state",
    ),
    Index("ix_jobs_state_received_at", "state", "received_at"),
    Index("ix_jobs_finding_received_at", "finding", "received_at"),
    Index("ix_jobs_calling_ae_title_received_at", "calling_ae_title", "received_at"),
    # a job has a time at which it is due while it is received, and a holder while it is leased
    _partial("ix_jobs_due", "due_at", "id", where="due_at IS NOT NULL"),
    _partial("ix_jobs_urgent", "priority", "due_at", "id", where="due_at IS NOT NULL"),
    _partial("ix_jobs_held", "holder", where="holder IS NOT NULL"),
    _partial("ix_jobs_parked", "reason", "received_at", "id", where="state = 'parked'"),
    _partial("ix_jobs_reported", "received_at", where="reported_at IS NOT NULL"),
    _partial(
        *("ix_jobs_to_purge", "kept_since", "id"),
        where="finished_at IS NOT NULL AND purged_at IS NULL",
    ),
    _partial(
        *("ix_jobs_to_discard", "purged_at", "id"),
        where="purged_at IS NOT NULL AND discarded_at IS NULL",
    ),
    _partial("ix_jobs_to_forget", "kept_since", "id", where="discarded_at IS NOT NULL"),
)

OUTPUTS: Final = Table(
    "outputs",
    METADATA,
    Column("job_id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("sop_class_uid", UID, nullable=False),
    Column("sop_instance_uid", UID, nullable=False, index=True),
)

REVISIONS: Final = Table(
    "revisions",
    METADATA,
    Column("id", ROW_NUMBER, primary_key=True, autoincrement=True),
    Column(
        "job_id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("sop_class_uid", UID, nullable=False),
    Column("sop_instance_uid", UID, nullable=False, index=True),
    Column("series_instance_uid", UID, nullable=False),
    Column("follows", ROW_NUMBER, ForeignKey("revisions.id", ondelete="SET NULL"), index=True),
    Column("dated_at", Double, nullable=False),
    UniqueConstraint("job_id", "sop_instance_uid"),
)

DELIVERIES: Final = Table(
    "deliveries",
    METADATA,
    Column("id", ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("job_id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("destination", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(64)),
    Column("attempt", Integer, nullable=False, default=0),
    Column("refusals", Integer, nullable=False, default=0),
    Column("holder", String(128)),
    Column("due_at", Double),
    Column("since", Double, nullable=False),
    Column("status", Integer),
    Column("finished_at", Double),
    Column("sent_sop_class_uid", UID),
    Column("sent_sop_instance_uid", UID, index=True),
    Column("transaction_uid", UID),
    Column("priority", Integer, nullable=False, default=0),  # of the job
    UniqueConstraint("job_id", "kind", "destination"),
    CheckConstraint("state IN ('pending', 'stored', 'delivered', 'parked')", name="state"),
    # a delivery has a time at which it is due while it is in flight
    _partial(
        *("ix_deliveries_due", "destination", "state", "due_at", "id"),
        where="due_at IS NOT NULL",
    ),
    _partial(
        *("ix_deliveries_urgent", "destination", "state", "priority", "due_at", "id"),
        where="due_at IS NOT NULL",
    ),
    _partial(
        *("ix_deliveries_since", "destination", "state", "since"),
        where="due_at IS NOT NULL",
    ),
    _partial("ix_deliveries_held", "holder", where="holder IS NOT NULL"),
    _partial("ix_deliveries_parked", "destination", "id", where="state = 'parked'"),
    Index("ix_deliveries_destination_finished_at", "destination", "finished_at"),
)

TRANSACTIONS: Final = Table(  # commitment requests to destinations whose result still counts
    "transactions",
    METADATA,
    Column("transaction_uid", UID, primary_key=True),
    Column(
        "delivery_id",
        ROW_NUMBER,
        ForeignKey("deliveries.id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
)

REQUESTS: Final = Table(  # commitment requests of senders, until their result is reported
    "requests",
    METADATA,
    Column("id", ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("transaction_uid", UID, nullable=False),
    Column("calling_ae_title", String(16), nullable=False),
    Column("instances", JSON, nullable=False),  # [SOP class UID, SOP instance UID] each
    Column("attempt", Integer, nullable=False, default=0),
    Column("refusals", Integer, nullable=False, default=0),
    Column("holder", String(128), index=True),
    Column("due_at", Double, nullable=False, index=True),
    Column("since", Double, nullable=False),
    UniqueConstraint("calling_ae_title", "transaction_uid"),
)

EVENTS: Final = Table(
    "events",
    METADATA,
    Column("id", ROW_NUMBER, primary_key=True, autoincrement=True),
    Column(
        "job_id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("at", Double, nullable=False),
    Column("name", String(64), nullable=False),
    Column("detail", JSON, nullable=False),
)

BREAKERS: Final = Table(
    "breakers",
    METADATA,
    Column("name", String(128), primary_key=True),  # of a destination, or `HOST/infer/`
    Column("failures", Integer, nullable=False),
    Column("open_until", Double, nullable=False),
    Column("fault", String(32)),
)

TALLIES: Final = Table(
    "tallies",
    METADATA,
    Column("name", String(32), primary_key=True),
    Column("total", BigInteger, nullable=False),
)

TALLY_CHANGES: Final = (
    Table(  # how many rows there are of each kind: the sums of changes; see `tallies`
        "tally_changes",
        METADATA,
        Column("id", ROW_NUMBER, primary_key=True, autoincrement=True),
        Column("subject", String(16), nullable=False),
        Column("state", String(16), nullable=False),
        Column("name", String(64), nullable=False),
        Column("number", BigInteger, nullable=False),
    )
)

HEARTBEATS: Final = Table(
    "heartbeats",
    METADATA,
    Column("holder", String(128), primary_key=True),
    Column("role", String(32), nullable=False),
    Column("ready", Boolean, nullable=False),
    Column("at", Double, nullable=False),
    Column("progress", Boolean, nullable=False),
)

CLOCKS: Final = Table(  # scheduling time, one row for each boot of a machine (see `clock`)
    "clocks",
    METADATA,
    Column("boot", String(64), primary_key=True),
    Column("boot_at", Double, nullable=False),  # scheduling time at that boot
    Column("seen_at", Double, nullable=False),  # latest scheduling time that was noted
    Column("database_at", Double, nullable=False),  # of the database's clock, then
    Column("wall_boot_at", Double, nullable=False),  # wall clock at that boot, as of then
)

PATIENTS: Final = Table(  # of each job, for people to find it by
    "patients",
    METADATA,
    Column("job_id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("patient_name", String(324), nullable=False),  # PS3.5 table 6.2-1: three groups of 64
    Column("patient_id", String(64), nullable=False, index=True),
    Column("birth_date", String(8), nullable=False),
    Column("sex", String(16), nullable=False),
    Column("accession_number", String(64), nullable=False, index=True),
    Column("study_date", String(8), nullable=False),
    Column("modality", String(16), nullable=False),
    Column("view_position", String(16), nullable=False),
)

PATIENT_WORDS: Final = Table(  # of names and numbers, as people search for them
    "patient_words",
    METADATA,
    Column("job_id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("word", WORD, primary_key=True),
    Index("ix_patient_words_word_job_id", "word", "job_id"),
)

EVIDENCE: Final = Table(  # what the model saw, for the page of a job
    "evidence",
    METADATA,
    Column("job_id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("region", JSON),  # top, left, bottom, right as fractions of rows and columns
    Column("attention", JSON),  # {"rows": n, "columns": n, "values": [...] in 0..1, row by row}
    Column("other_threshold", Double),
    Column("other_indeterminate_low", Double),
    Column("other_indeterminate_high", Double),
    Column("calibrated", Boolean),
    Column("weights_sha256", String(64)),
)

USERS: Final = Table(
    "users",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password_hash", String(256)),
    Column("created_at", Double, nullable=False),
    Column("disabled_at", Double),
    Column("failures", Integer, nullable=False, default=0),
    Column("locked_until", Double),
    Column("subject_sha256", String(64), unique=True),  # of issuer and subject (OpenID Connect)
)

SESSIONS: Final = Table(
    "sessions",
    METADATA,
    Column("token_sha256", String(64), primary_key=True),
    Column("user_name", String(64), ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("csrf_token", String(64), nullable=False),
    Column("started_at", Double, nullable=False),
    Column("used_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Index("ix_sessions_user_name", "user_name"),
)

API_TOKENS: Final = Table(
    "api_tokens",
    METADATA,
    Column("id", String(16), primary_key=True),  # shown; the token itself is not kept
    Column("token_sha256", String(64), nullable=False, unique=True),
    Column("user_name", String(64), ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("label", String(64), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("used_at", Double),
    Column("revoked_at", Double),
    Index("ix_api_tokens_user_name", "user_name"),
)

AUDIT: Final = Table(  # append-only; it outlives the jobs and the users that it names
    "audit",
    METADATA,
    Column("id", ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False, index=True),
    Column("action", String(16), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("user_name", String(64), nullable=False, index=True),
    Column("role", String(16), nullable=False),
    Column("address", String(64), nullable=False),
    Column("job_id", String(32), index=True),
    Column("study_instance_uid", UID),
    Column("sop_instance_uid", UID),
    Column("patient_id", String(64), index=True),
    Column("detail", JSON, nullable=False),
)

AUDIT_EXPORTS: Final = Table(  # how far the trail was exported; one row, which a process leases
    "audit_exports",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("exported", BigInteger, nullable=False),  # number of the last record that was taken
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False),  # in a row
    Column("fault", String(16)),  # of the last failure
    Column("holder", String(128)),
    Column("due_at", Double, nullable=False),
)

VERDICTS: Final = Table(  # append-only; it outlives the jobs
    "verdicts",
    METADATA,
    Column("id", ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False, index=True),
    Column("user_name", String(64), nullable=False),
    Column("opinion", String(16), nullable=False),
    Column("right_finding", String(16)),
    Column("comment", String(2000), nullable=False),
    Column("job_id", String(32), nullable=False, index=True),
    Column("report_uid", UID, nullable=False),
    Column("sop_instance_uid", UID, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("finding", String(16), nullable=False),
    Column("probability", Double, nullable=False),
    Column("operating_point", String(64), nullable=False),
    Column("model", String(128), nullable=False),
    Column("population", String(64)),
)

DRIFT_INPUTS: Final = Table(  # of each instance that a model saw: its group in each input
    "drift_inputs",
    METADATA,
    Column("job_id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("manufacturer", String(32), nullable=False),
    Column("view", String(32), nullable=False),
    Column("kvp", String(32), nullable=False),
    Column("exposure", String(32), nullable=False),
    Column("size", String(32), nullable=False),
    Column("tone", String(32), nullable=False),
)

DRIFT_REFERENCES: Final = Table(  # of this site, as a person accepted them
    "drift_references",
    METADATA,
    Column("input", String(32), primary_key=True),
    Column("at", Double, nullable=False),
    Column("since", Double, nullable=False),
    Column("until", Double, nullable=False),
    Column("counts", JSON, nullable=False),  # films by group
)

SHADOWS: Final = Table(  # what the shadow model is to say or said, beside what was reported
    "shadows",
    METADATA,
    Column("id", ROW_NUMBER, primary_key=True, autoincrement=True),
    Column(
        "job_id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, unique=True
    ),
    Column("planned_at", Double, nullable=False, index=True),
    Column("attempt", Integer, nullable=False, default=0),
    Column("holder", String(128)),
    Column("due_at", Double),
    Column("reported_model", String(128), nullable=False),
    Column("reported_point", String(64), nullable=False),
    Column("reported_finding", String(16)),
    Column("reported_probability", Double),
    Column("reported_reason", String(64)),
    Column("model", String(128)),
    Column("weights_sha256", String(64)),
    Column("operating_point", String(64)),
    Column("finding", String(16)),
    Column("probability", Double),
    Column("reason", String(64)),
    Column("failure", String(32)),
    Column("finished_at", Double),
    # there is a time at which it is due while the shadow model has not read the instance
    _partial("ix_shadows_due", "due_at", "id", where="due_at IS NOT NULL"),
    _partial("ix_shadows_held", "holder", where="holder IS NOT NULL"),
)

PROPERTIES: Final = Table(  # of the ledger as a whole; see `properties`
    "properties",
    METADATA,
    Column("name", String(32), primary_key=True),
    Column("value", String(128), nullable=False),
)


def is_state(table: Table, state: str) -> ColumnElement[bool]:
    """Compare a state with a constant of the statement.

    A database uses a partial index only where the statement itself shows that its rows suffice; the
    value of a parameter is not known when it plans.
    """
    return table.c.state == literal(str(state), literal_execute=True)
