"""Properties of the ledger as a whole: which spool is its own."""

from typing import Final

from sqlalchemy import insert, select

from service.storage.ledger.database import Database, LedgerError
from service.storage.ledger.tables import PROPERTIES

_SPOOL: Final = "spool"
_QUERY: Final = select(PROPERTIES.c.value).where(PROPERTIES.c.name == _SPOOL)


class Properties:
    """Properties of the ledger, one row each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def spool(self) -> str | None:
        """Return the id of the spool that holds the bytes of the jobs; None if it is not known."""
        with self._database.read() as connection:
            return connection.execute(_QUERY).scalar_one_or_none()

    def claim_spool(self, spool_id: str) -> str:
        """Record the id of the spool, unless one is recorded; return the one that is.

        Raises:
            LedgerError: The ledger does not answer.
        """
        try:
            with self._database.write() as connection:
                if connection.execute(_QUERY).scalar_one_or_none() is None:
                    connection.execute(insert(PROPERTIES).values(name=_SPOOL, value=spool_id))
        except LedgerError:  # another process was first, or the ledger does not answer
            if (known := self.spool()) is None:
                raise
            return known
        return self.spool() or spool_id
