"""The groups of each instance in what is watched for drift."""

from dataclasses import asdict

from sqlalchemy import Connection, delete, insert, select

from service.domain.monitoring.inputs import InputGroups
from service.storage.ledger.database import Database
from service.storage.ledger.tables import DRIFT_INPUTS


class DriftInputsOfJobs:
    """The groups of each job's instance, as its latest analysis found them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, job_id: str) -> InputGroups | None:
        """Return the groups of a job; None where none were recorded."""
        query = select(DRIFT_INPUTS).where(DRIFT_INPUTS.c.job_id == job_id)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        values = dict(row._mapping)  # noqa: SLF001 -- SQLAlchemy's public name begins so
        del values["job_id"]
        return InputGroups(**values)


def record_drift_inputs(connection: Connection, job_id: str, groups: InputGroups | None) -> None:
    """Record the groups of a job, in the caller's transaction; replaces or removes earlier ones."""
    connection.execute(delete(DRIFT_INPUTS).where(DRIFT_INPUTS.c.job_id == job_id))
    if groups is not None:
        connection.execute(insert(DRIFT_INPUTS).values(job_id=job_id, **asdict(groups)))
