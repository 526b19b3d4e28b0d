"""The resources of a report as this server has them: with ids, and references within it."""

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

from service.dicom.output_elements import UnreadableOutputError
from service.domain.job import Job
from service.domain.routing import OutputKind
from service.messages.fhir.resources import build_diagnostic_report, build_observations
from service.messages.fhir.terms import Resource, Systems
from service.messages.reading import read_report
from service.storage.ledger import Ledger, ReportFilter
from service.storage.spool import Spool
from service.web.lookup import known_job, known_output
from service.web.problem import Problem, not_found

REPORT, OBSERVATION = "DiagnosticReport", "Observation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """A DiagnosticReport and its Observations."""

    job: Job
    report: Resource
    observations: tuple[Resource, ...]

    def observation(self, name: str) -> Resource:
        """Return the Observation with the last part of its id.

        Raises:
            Problem: there is none.
        """
        wanted = f"{self.job.id}.{name}"
        found = next((each for each in self.observations if each["id"] == wanted), None)
        if found is None:
            raise not_found("Observation")
        return found


class HeldResources:
    """Makes the resources of the reports in the outbox."""

    def __init__(self, ledger: Ledger, spool: Spool) -> None:
        self._ledger = ledger
        self._spool = spool

    def of(self, job_id: str) -> Resources:
        """Return the resources of a job's report.

        Raises:
            Problem: there is no such job, it has no report yet, or retention removed it.
        """
        return self._of(known_job(self._ledger, job_id))

    def find(self, wanted: ReportFilter, limit: int, offset: int) -> Iterator[Resources | None]:
        """Yield the resources of the reports that are wanted; None for one that is gone by now."""
        for job in self._ledger.reports.find(wanted, limit, offset):
            try:
                yield self._of(job)
            except Problem:
                yield None

    def _of(self, job: Job) -> Resources:
        path = known_output(self._ledger, self._spool, job, OutputKind.SR)
        try:
            facts = read_report(path)
        except FileNotFoundError as exc:
            raise Problem(HTTPStatus.GONE, "Retention removed this report.") from exc
        except UnreadableOutputError as exc:
            raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(exc)) from exc
        meta = {"versionId": facts.sop_instance_uid, "lastUpdated": facts.dated_at.isoformat()}
        observations = tuple(
            {**each.resource, "id": f"{job.id}.{each.name}", "meta": meta}
            for each in build_observations(facts, Systems())
        )
        references = [f"{OBSERVATION}/{each['id']}" for each in observations]
        report = build_diagnostic_report(facts, Systems(), references)
        return Resources(
            job=job, report={**report, "id": job.id, "meta": meta}, observations=observations
        )
