"""The other abnormality of a job, and the population whose operating points were used."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COLUMNS = ("other_finding", "other_probability", "other_operating_point", "population")


def upgrade() -> None:
    """Add the columns; jobs that were reported before have none of these."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("other_finding", sa.String(16)))
        jobs.add_column(sa.Column("other_probability", sa.Double()))
        jobs.add_column(sa.Column("other_operating_point", sa.String(64)))
        jobs.add_column(sa.Column("population", sa.String(64)))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("jobs") as jobs:
        for name in COLUMNS:
            jobs.drop_column(name)
