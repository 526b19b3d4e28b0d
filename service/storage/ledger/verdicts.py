"""The verdicts of radiologists: appended to, read, never changed."""

from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Row, insert, select

from service.domain.verdict import Opinion, Verdict
from service.storage.ledger.database import Database
from service.storage.ledger.tables import VERDICTS


class Verdicts:
    """The verdicts; a later one of the same person on the same report replaces the earlier."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, verdict: Verdict) -> Verdict:
        """Append a verdict; durable when this returns, with the ledger's number."""
        values = asdict(verdict)
        del values["id"]
        values["user_name"] = values.pop("user")
        with self._database.write() as connection:
            written = connection.execute(insert(VERDICTS).values(**values))
            (number,) = written.inserted_primary_key or (None,)
        return replace(verdict, id=number)

    def of_job(self, job_id: str) -> list[Verdict]:
        """List the verdicts on the reports of a job, the oldest first."""
        query = select(VERDICTS).where(VERDICTS.c.job_id == job_id).order_by(VERDICTS.c.id)
        with self._database.read() as connection:
            return [_verdict_of(row) for row in connection.execute(query)]


def _verdict_of(row: Row[Any]) -> Verdict:
    values = dict(row._mapping)  # noqa: SLF001 -- SQLAlchemy's public name begins so
    user = values.pop("user_name")
    return Verdict(**{**values, "user": user, "opinion": Opinion(values["opinion"])})
