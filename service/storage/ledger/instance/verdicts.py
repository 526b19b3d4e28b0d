"""Radiologists' verdicts on reports: appended to, read, never changed."""

from typing import Any, Final

from sqlalchemy import Connection, Row, exists, func, insert, select

from service.domain.routing import OutputKind
from service.domain.verdict import Opinion, Verdict, require_consistent
from service.storage.ledger.clock import Clock
from service.storage.ledger.database import Database
from service.storage.ledger.tables import JOBS, OUTPUTS, REVISIONS, VERDICTS

_EVERY: Final = 1_000_000  # a limit that is never reached


class ReplacedReportError(Exception):
    """The report is no longer the current one of its job."""


class Verdicts:
    """The verdicts; triggers of the database reject every change and deletion."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def record(
        self,
        job_id: str,
        *,
        report_uid: str,
        user: str,
        opinion: Opinion,
        right_finding: str | None = None,
        comment: str = "",
    ) -> Verdict:
        """Record what a user thinks of the current report of a job.

        The job is locked, so that no other report replaces this one in the meantime. What
        retraining needs of the job is copied: the verdict outlives it.

        Args:
            job_id: The job.
            report_uid: SOP Instance UID of the report that the user saw.
            user: The user's name.
            opinion: What the user thinks.
            right_finding: The finding that should have been; of one who disagrees.
            comment: In the user's words; may be blank.

        Raises:
            LookupError: There is no such job, or it has no such report.
            ReplacedReportError: The report was replaced by another.
            VerdictError: The verdict contradicts itself, or the job has no finding.
        """
        now = self._clock()
        with self._database.write() as connection:
            job = connection.execute(
                select(JOBS).where(JOBS.c.id == job_id).with_for_update(key_share=True)
            ).one_or_none()
            if job is None:
                raise LookupError("job")
            _require_current(connection, job_id, report_uid)
            require_consistent(opinion, right_finding, job.finding)
            values = {
                "at": now.wall,
                "user_name": user,
                "opinion": str(opinion),
                "right_finding": right_finding,
                "comment": comment,
                "job_id": job_id,
                "report_uid": report_uid,
                "sop_instance_uid": job.sop_instance_uid,
                "digest": job.digest,
                "finding": job.finding,
                "probability": job.probability,
                "operating_point": job.operating_point,
                "model": job.model,
                "population": job.population,
            }
            row = connection.execute(insert(VERDICTS).values(values).returning(VERDICTS)).one()
            return _verdict_of(row)

    def of_job(self, job_id: str) -> list[Verdict]:
        """List every verdict on the reports of a job, the oldest first."""
        query = select(VERDICTS).where(VERDICTS.c.job_id == job_id).order_by(VERDICTS.c.id)
        with self._database.read() as connection:
            return [_verdict_of(row) for row in connection.execute(query)]

    def latest(
        self, since: float | None = None, *, after: int = 0, limit: int = _EVERY
    ) -> list[Verdict]:
        """List the latest verdict of each user on each report, in the order of recording.

        Args:
            since: Only those of this moment or later, seconds since the epoch.
            after: Only those with a larger id: the last one of the page before.
            limit: At most so many.
        """
        later = VERDICTS.alias()
        replaced = exists().where(
            later.c.job_id == VERDICTS.c.job_id,  # the index
            later.c.report_uid == VERDICTS.c.report_uid,
            later.c.user_name == VERDICTS.c.user_name,
            later.c.id > VERDICTS.c.id,
        )
        query = select(VERDICTS).where(VERDICTS.c.id > after, ~replaced)
        if since is not None:
            query = query.where(VERDICTS.c.at >= since)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(VERDICTS.c.id).limit(limit))
            return [_verdict_of(row) for row in rows]

    def readers(self) -> dict[str, str]:
        """Return a pseudonym for each user who gave a verdict: `reader-1`, `reader-2` and so on.

        They are numbered by their first verdict. As verdicts are only ever appended, a number never
        changes, and nothing in it can be traced to a name without the ledger.
        """
        first = func.min(VERDICTS.c.id)
        query = select(VERDICTS.c.user_name).group_by(VERDICTS.c.user_name).order_by(first)
        with self._database.read() as connection:
            names = connection.execute(query).scalars()
            return {name: f"reader-{number}" for number, name in enumerate(names, start=1)}


def _require_current(connection: Connection, job_id: str, report_uid: str) -> None:
    current = connection.execute(
        select(OUTPUTS.c.sop_instance_uid).where(
            OUTPUTS.c.job_id == job_id, OUTPUTS.c.kind == OutputKind.SR
        )
    ).scalar()
    if report_uid == current:
        return
    of_job = select(REVISIONS.c.id).where(
        REVISIONS.c.job_id == job_id, REVISIONS.c.sop_instance_uid == report_uid
    )
    if connection.execute(of_job).first() is None:
        raise LookupError("report")
    raise ReplacedReportError


def _verdict_of(row: Row[Any]) -> Verdict:
    values = dict(row._mapping)  # noqa: SLF001 -- SQLAlchemy's public name begins so
    user = values.pop("user_name")
    return Verdict(**{**values, "user": user, "opinion": Opinion(values["opinion"])})
