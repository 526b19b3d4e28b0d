"""What a large backlog needs: indexes of what is due, tallies, priorities, counted repeats."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PARTIAL = {  # name: table, columns, rows
    "ix_jobs_due": ("jobs", ["due_at", "id"], "due_at IS NOT NULL"),
    "ix_jobs_urgent": ("jobs", ["priority", "due_at", "id"], "due_at IS NOT NULL"),
    "ix_jobs_held": ("jobs", ["holder"], "holder IS NOT NULL"),
    "ix_jobs_parked": ("jobs", ["reason", "received_at", "id"], "state = 'parked'"),
    "ix_jobs_reported": ("jobs", ["received_at"], "reported_at IS NOT NULL"),
    "ix_deliveries_due": (
        *("deliveries", ["destination", "state", "due_at", "id"]),
        "due_at IS NOT NULL",
    ),
    "ix_deliveries_urgent": (
        *("deliveries", ["destination", "state", "priority", "due_at", "id"]),
        "due_at IS NOT NULL",
    ),
    "ix_deliveries_since": ("deliveries", ["destination", "state", "since"], "due_at IS NOT NULL"),
    "ix_deliveries_held": ("deliveries", ["holder"], "holder IS NOT NULL"),
    "ix_deliveries_parked": ("deliveries", ["destination", "id"], "state = 'parked'"),
}
REPLACED = {
    "ix_jobs_state_due_at": ("jobs", ["state", "due_at"]),
    "ix_jobs_holder": ("jobs", ["holder"]),
    "ix_deliveries_destination_state_due_at": ("deliveries", ["destination", "state", "due_at"]),
    "ix_deliveries_holder": ("deliveries", ["holder"]),
}
# what counts a row of each table, and what else is counted besides its state
COUNTED = {
    "jobs": "CASE WHEN {row}.state = 'parked' THEN coalesce({row}.reason, '') ELSE '' END",
    "deliveries": "{row}.destination",
}
WATCHED = {"jobs": ("state", "reason"), "deliveries": ("state", "destination")}


def upgrade() -> None:
    """Add the columns, the indexes and the tallies of the rows that are there."""
    _add_columns()
    for name, (table, _) in REPLACED.items():
        op.drop_index(name, table)
    for name, (table, columns, rows) in PARTIAL.items():
        where = sa.text(rows)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
    op.create_index("ix_revisions_sop_instance_uid", "revisions", ["sop_instance_uid"])
    op.create_table(
        "tally_changes",
        sa.Column("id", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("subject", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tally_changes"),
    )
    for table, name in COUNTED.items():
        op.execute(
            "INSERT INTO tally_changes (subject, state, name, number) "  # noqa: S608 -- constants
            f"SELECT '{table}', state, {name.format(row=table)}, count(*) FROM {table} "
            "GROUP BY 2, 3"
        )
        for statement in _counting(table, op.get_bind().dialect.name):
            op.execute(statement)
    op.execute(
        "INSERT INTO tally_changes (subject, state, name, number) "
        "SELECT 'received', '', '', total FROM tallies WHERE name = 'received'"
    )
    op.execute("DELETE FROM tallies WHERE name = 'received'")


def downgrade() -> None:
    """Drop them; how often an instance was received again is lost."""
    op.execute(
        "INSERT INTO tallies (name, total) SELECT 'received', coalesce(sum(number), 0) "
        "FROM tally_changes WHERE subject = 'received'"
    )
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for table in COUNTED:
        for event in ("insert", "update", "delete"):
            of = f" ON {table}" if is_postgresql else ""
            op.execute(f"DROP TRIGGER IF EXISTS {table}_are_counted_{event}{of}")
        if is_postgresql:
            op.execute(f"DROP FUNCTION {table}_are_counted")
    op.drop_table("tally_changes")
    op.drop_index("ix_revisions_sop_instance_uid", "revisions")
    for name, (table, _, _) in PARTIAL.items():
        op.drop_index(name, table)
    for name, (table, columns) in REPLACED.items():
        op.create_index(name, table, columns)
    for name in ("priority", "repeats", "last_repeated_at"):
        op.drop_column("jobs", name)
    op.drop_column("deliveries", "priority")


def _add_columns() -> None:
    """Add the columns without copying the tables, which SQLite can for columns as these."""
    for table in ("jobs", "deliveries"):
        op.add_column(
            table, sa.Column("priority", sa.Integer(), nullable=False, server_default="0")
        )
    op.add_column("jobs", sa.Column("repeats", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("last_repeated_at", sa.Double()))


def _counting(table: str, dialect: str) -> list[str]:
    """Build the triggers that write each change of a number into the tallies."""
    old, new = (_change(table, row, by) for row, by in (("OLD", -1), ("NEW", 1)))
    watched = WATCHED[table]
    different = "IS NOT" if dialect == "sqlite" else "IS DISTINCT FROM"
    changed = " OR ".join(f"OLD.{name} {different} NEW.{name}" for name in watched)
    if dialect == "sqlite":
        return [
            _trigger(table, "insert", "INSERT", f"BEGIN {new}; END"),
            _trigger(table, "delete", "DELETE", f"BEGIN {old}; END"),
            _trigger(
                *(table, "update", f"UPDATE OF {', '.join(watched)}"),
                f"WHEN {changed} BEGIN {old}; {new}; END",
            ),
        ]
    call = f"EXECUTE FUNCTION {table}_are_counted()"
    return [
        (
            f"CREATE FUNCTION {table}_are_counted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF TG_OP <> 'INSERT' THEN {old}; END IF; "
            f"IF TG_OP <> 'DELETE' THEN {new}; END IF; RETURN NULL; END $$"
        ),
        _trigger(table, "insert", "INSERT", call),
        _trigger(table, "delete", "DELETE", call),
        _trigger(table, "update", f"UPDATE OF {', '.join(watched)}", f"WHEN ({changed}) {call}"),
    ]


def _trigger(table: str, name: str, event: str, does: str) -> str:
    return f"CREATE TRIGGER {table}_are_counted_{name} AFTER {event} ON {table} FOR EACH ROW {does}"


def _change(table: str, row: str, by: int) -> str:
    return (
        "INSERT INTO tally_changes (subject, state, name, number) "  # noqa: S608 -- constants
        f"VALUES ('{table}', {row}.state, {COUNTED[table].format(row=row)}, {by})"
    )
