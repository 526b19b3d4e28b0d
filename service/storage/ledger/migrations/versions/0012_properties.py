"""What is known of the ledger as a whole: which spool is its own, which versions work with it.

A later migration that only adds calls `works_with` of `service.storage.ledger.versions`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; the next process that opens the ledger says which spool is its own."""
    op.create_table(
        "properties",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("value", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_properties"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("properties")
