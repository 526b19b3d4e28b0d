"""What the model saw in each job's radiograph."""

from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, select

from service.domain.evidence import DECIMALS, AttentionMap, Evidence, Region
from service.storage.ledger.database import Database
from service.storage.ledger.tables import EVIDENCE

_PLAIN: Final = (  # the columns that hold a value as it is
    *("other_threshold", "other_indeterminate_low", "other_indeterminate_high"),
    *("calibrated", "weights_sha256"),
)


_DELETE: Final = delete(EVIDENCE).where(EVIDENCE.c.job_id == bindparam("of_job"))
_INSERT: Final = insert(EVIDENCE)


class EvidenceOfJobs:
    """The evidence of each job's latest analysis."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, job_id: str) -> Evidence | None:
        """Return the evidence of a job; None where none was recorded."""
        query = select(EVIDENCE).where(EVIDENCE.c.job_id == job_id)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return Evidence(
            region=None if row.region is None else Region(**row.region),
            attention=None if row.attention is None else _map_of(row.attention),
            **{name: getattr(row, name) for name in _PLAIN},
        )


def record_evidence(connection: Connection, job_id: str, evidence: Evidence | None) -> None:
    """Record the evidence of a job, in the caller's transaction; replaces or removes an earlier."""
    connection.execute(_DELETE, {"of_job": job_id})
    if evidence is None:
        return
    region, attention = evidence.region, evidence.attention
    row = {
        "job_id": job_id,
        "region": None if region is None else asdict(region),
        "attention": None if attention is None else _json_of(attention),
        **{name: getattr(evidence, name) for name in _PLAIN},
    }
    connection.execute(_INSERT, row)


def _json_of(attention: AttentionMap) -> dict[str, Any]:
    values = [round(value, DECIMALS) for value in attention.values]
    return {"rows": attention.rows, "columns": attention.columns, "values": values}


def _map_of(stored: dict[str, Any]) -> AttentionMap:
    return AttentionMap(**{**stored, "values": tuple(stored["values"])})
