"""The next version of Lobar, as far as two versions side by side need one."""

import shutil
from pathlib import Path
from typing import Final

from service.storage.ledger.migrations import MIGRATIONS
from support.containers.container import ROOT

NEWER: Final = """
import sqlalchemy as sa
from alembic import op

from service.storage.ledger.versions import works_with

revision, down_revision = "9999", "0013"
branch_labels = depends_on = None


def upgrade():
    op.add_column("jobs", sa.Column("newer", sa.String(8)))
    works_with(op.get_bind(), revision, "0013")
    {statements}
"""


def newer_version(folder: Path, statements: str = "") -> Path:
    """Copy this version of Lobar, and let it have one more migration, which only adds.

    A stand-in for the next version, whose code is this one's.
    """
    for package in ("service", "workers"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    (folder / "monai_bundle").symlink_to(ROOT / "monai_bundle")
    migrations = folder / MIGRATIONS.relative_to(ROOT)
    (migrations / "versions" / "9999_newer.py").write_text(NEWER.format(statements=statements))
    return folder
