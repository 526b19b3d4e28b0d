"""The version of a ledger, and which versions of Lobar work with one that a newer one migrated.

While nodes are upgraded one after another, both versions are at work, and a part of the older one
may have to start again. It may where the newer migrations only added to the tables.
"""

from typing import Final

from sqlalchemy import Connection, column, delete, insert, inspect, select, table

from service.storage.ledger.tables import PROPERTIES

_NAME: Final = "works_with"
_VERSION: Final = table("alembic_version", column("version_num"))  # Alembic's own


def present_revision(connection: Connection) -> str | None:
    """Return the revision to which the tables were migrated; None where there are none."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    revision: str | None = connection.execute(select(_VERSION)).scalar_one_or_none()
    return revision


def works_with(connection: Connection, revision: str, oldest: str) -> None:
    """Record that a process of an older version can work with the tables of a revision.

    For a migration that only adds what older versions neither read nor have to write. It holds for
    this revision alone: a later migration that does not call this ends it.

    Args:
        connection: Of the migration.
        revision: Of the migration.
        oldest: The revision of the oldest version that can work with it.
    """
    value = f"{revision} {oldest}"
    connection.execute(delete(PROPERTIES).where(PROPERTIES.c.name == _NAME))
    connection.execute(insert(PROPERTIES).values(name=_NAME, value=value))


def oldest_that_works_with(connection: Connection, revision: str) -> str | None:
    """Return the revision of the oldest version that works with a revision; None if unknown."""
    if not inspect(connection).has_table(PROPERTIES.name):
        return None
    query = select(PROPERTIES.c.value).where(PROPERTIES.c.name == _NAME)
    value: str = connection.execute(query).scalar_one_or_none() or ""
    of_revision, _, oldest = value.partition(" ")
    return oldest if oldest and of_revision == revision else None
