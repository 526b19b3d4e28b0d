"""Alembic migrations of the ledger.

Alembic is imported where it migrates: it takes as long to import as the rest of the ledger, and
every part finds the tables migrated by the one that started before it.
"""

from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

MIGRATIONS: Final = Path(__file__).parent


@cache
def known_revisions() -> frozenset[str]:
    """Return the revisions of this version, by which its files are named."""
    return frozenset(
        file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*_*.py")
    )


def latest_revision() -> str:
    """Return the revision that this version needs, the highest number."""
    return max(known_revisions())


def migrate(connection: Connection, revision: str) -> None:
    """Migrate the tables up to a revision; the caller commits."""
    from alembic import command  # noqa: PLC0415 -- see above
    from alembic.config import Config  # noqa: PLC0415 -- as above

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
