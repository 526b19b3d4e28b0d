"""Storage commitment: requested of destinations, and by senders."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UID = sa.String(64)
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STATE = "ck_deliveries_ck_deliveries_state"  # as the first migration named it


def upgrade() -> None:
    """Add the state `stored`, the transactions and the requests."""
    with op.batch_alter_table("deliveries") as deliveries:
        deliveries.add_column(sa.Column("sent_sop_class_uid", UID, nullable=True))
        deliveries.add_column(sa.Column("sent_sop_instance_uid", UID, nullable=True))
        deliveries.add_column(sa.Column("transaction_uid", UID, nullable=True))
        deliveries.drop_constraint(op.f(STATE), type_="check")
        deliveries.create_check_constraint(
            op.f(STATE), "state IN ('pending', 'stored', 'delivered', 'parked')"
        )
    op.create_index("ix_deliveries_sent_sop_instance_uid", "deliveries", ["sent_sop_instance_uid"])
    op.create_table(
        "transactions",
        sa.Column("transaction_uid", UID, nullable=False),
        sa.Column("delivery_id", ROW_NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("transaction_uid", "delivery_id", name="pk_transactions"),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["deliveries.id"],
            name="fk_transactions_delivery_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_transactions_delivery_id", "transactions", ["delivery_id"])
    _requests()


def _requests() -> None:
    op.create_table(
        "requests",
        sa.Column("id", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("transaction_uid", UID, nullable=False),
        sa.Column("calling_ae_title", sa.String(16), nullable=False),
        sa.Column("instances", sa.JSON(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(128)),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
        sa.UniqueConstraint(
            "calling_ae_title", "transaction_uid", name="uq_requests_calling_ae_title"
        ),
    )
    op.create_index("ix_requests_holder", "requests", ["holder"])
    op.create_index("ix_requests_due_at", "requests", ["due_at"])


def downgrade() -> None:
    """Drop them; deliveries that await commitment count as delivered, as they did before."""
    op.drop_table("requests")
    op.drop_table("transactions")
    op.drop_index("ix_deliveries_sent_sop_instance_uid", "deliveries")
    op.execute("UPDATE deliveries SET state = 'delivered', due_at = NULL WHERE state = 'stored'")
    with op.batch_alter_table("deliveries") as deliveries:
        deliveries.drop_constraint(op.f(STATE), type_="check")
        deliveries.create_check_constraint(
            op.f(STATE), "state IN ('pending', 'delivered', 'parked')"
        )
        for name in ("transaction_uid", "sent_sop_instance_uid", "sent_sop_class_uid"):
            deliveries.drop_column(name)
