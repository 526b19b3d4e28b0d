"""What names the bytes of an instance is a digest, whichever: it says of which kind it is.

Those that are there stay: a SHA-256 without a name (`service.dicom.data_set_digest`).
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLES = ("jobs", "verdicts")


def upgrade() -> None:
    """Rename the column, which takes its constraint along; a digest with its name is no longer."""
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN sha256 TO digest")


def downgrade() -> None:
    """Rename it back."""
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN digest TO sha256")
