"""Which reports are found for FHIR, on SQLite and on PostgreSQL."""

from collections.abc import Callable

from support.purged import purge_finished
from support.routes import to
from support.system.clock import Clock

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, Instance
from service.domain.patient import Patient
from service.storage.ledger import Ledger, ReportFilter

CONCLUSION = ConclusionRecord(
    finding="absent", probability=0.1, operating_point="balanced", model="lobar 1"
)


def report(ledger: Ledger, instance: Instance, patient: Patient | None) -> str:
    """Receive an instance and report it, with an overlay beside the report."""
    job_id = ledger.jobs.receive(instance, patient).job_id
    (job,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    outputs = [
        OutputRecord(kind=kind, sop_class_uid="1.2.88", sop_instance_uid=f"2.25.{number}")
        for number, kind in enumerate(("sr", "overlay"), int(job_id[:28], 16) * 10)
    ]
    ledger.jobs.report(job, CONCLUSION, outputs, to(["pacs"]))
    return job_id


def deliver(ledger: Ledger) -> None:
    for each in ledger.deliveries.lease("pacs", "w/", 99, lease_seconds=60):
        ledger.deliveries.delivered(each, status=0)


def test_reports_are_found_by_each_thing_once_and_the_latest_first(
    ledger: Ledger, instance: Callable[..., Instance], clock: Clock
) -> None:
    patients = [Patient(patient_id="P1", accession_number="A1"), Patient(patient_id="P2"), None]
    jobs = []
    for number, patient in enumerate(patients, 1):
        jobs.append(report(ledger, instance(number), patient))
        clock.now += 1
    ledger.jobs.receive(instance(9), patients[0])  # not reported yet

    def found(limit: int = 10, offset: int = 0, **wanted: str) -> list[str]:
        return [each.id for each in ledger.reports.find(ReportFilter(**wanted), limit, offset)]

    first, second, third = jobs
    assert found() == [third, second, first]
    assert found(limit=1, offset=1) == [second]
    assert found(patient_id="P1") == found(accession_number="A1") == found(job_id=first) == [first]
    assert found(report_uid="2.25.20") == [second]
    assert found(report_uid="2.25.21") == []  # its overlay
    assert len(found(study_instance_uid="1.2.3.200")) == 3
    assert found(patient_id="P1", accession_number="A2") == []


def test_what_retention_marked_is_not_found(
    ledger: Ledger, instance: Callable[..., Instance], clock: Clock
) -> None:
    job_id = report(ledger, instance(1), None)
    deliver(ledger)
    assert [each.id for each in ledger.reports.find(ReportFilter(), 10)] == [job_id]
    clock.now += 1
    purge_finished(ledger)
    assert ledger.reports.find(ReportFilter(), 10) == []
