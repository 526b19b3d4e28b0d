"""Pages of jobs and records, and what is held of a study, on SQLite and on PostgreSQL."""

from collections.abc import Callable

import pytest
from support.purged import purge_finished
from support.routes import to
from support.system.clock import Clock

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, Instance, JobState
from service.domain.patient import Patient
from service.storage.ledger import JobFilter, Ledger, Position, StudyFilter

CONCLUSION = ConclusionRecord(
    finding="absent", probability=0.1, operating_point="balanced", model="lobar 1"
)
OUTPUT = OutputRecord(kind="sr", sop_class_uid="1.2.88", sop_instance_uid="2.25.1")


def test_pages_of_one_moment_and_of_many_leave_nothing_out(
    ledger: Ledger, instance: Callable[..., Instance], clock: Clock
) -> None:
    for number in range(9):
        ledger.jobs.receive(instance(number))
        if number % 3 == 2:
            clock.now += 0.125
    seen: list[str] = []
    after: Position | None = None
    while page := ledger.listing.jobs(JobFilter(), 2, after):
        seen += [job.id for job in page]
        after = Position(page[-1].received_at, page[-1].id)
    assert len(seen) == len(set(seen)) == 9
    moments = [job.received_at for job in ledger.listing.jobs(JobFilter(), 9)]
    assert moments == sorted(moments, reverse=True)


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (JobFilter(state=JobState.RECEIVED), 3),
        (JobFilter(state=JobState.PARKED), 0),
        (JobFilter(finding="absent"), 0),
        (JobFilter(calling_ae_title="MODALITY"), 3),
        (JobFilter(calling_ae_title="OTHER"), 0),
        (JobFilter(study_instance_uid="1.2.3.200", sop_instance_uid="1.2.3.1"), 1),
        (JobFilter(series_instance_uid="1.2.3.101"), 0),
    ],
)
def test_everything_that_is_stated_must_hold(
    ledger: Ledger, instance: Callable[..., Instance], wanted: JobFilter, count: int
) -> None:
    for number in range(3):
        ledger.jobs.receive(instance(number))
    assert len(ledger.listing.jobs(wanted, 10)) == count


def test_since_and_until_include_the_begin_and_not_the_end(
    ledger: Ledger, instance: Callable[..., Instance], clock: Clock
) -> None:
    begin = clock.now
    for number in range(3):
        ledger.jobs.receive(instance(number))
        clock.now += 1
    wanted = JobFilter(since=begin + 1, until=begin + 2)
    (job,) = ledger.listing.jobs(wanted, 10)
    assert job.received_at == begin + 1


def test_a_study_holds_its_jobs_and_their_outputs(
    ledger: Ledger, instance: Callable[..., Instance], clock: Clock
) -> None:
    ledger.jobs.receive(instance(1))
    (job,) = ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    ledger.jobs.report(job, CONCLUSION, [OUTPUT], to(["pacs"]))
    clock.now += 1
    ledger.jobs.receive(instance(2))
    latest, earliest = ledger.holdings.of_study("1.2.3.200", limit=10)
    assert (latest.outputs, earliest.outputs) == ((), (OUTPUT,))
    assert earliest.job.id == job.id
    assert ledger.holdings.of_study("1.2.3.201", limit=10) == []
    assert [each.job.id for each in ledger.holdings.of_study("1.2.3.200", limit=1)] == [
        latest.job.id
    ]


def test_of_a_study_only_the_jobs_of_a_series_or_an_instance_are_listed(
    ledger: Ledger, instance: Callable[..., Instance]
) -> None:
    reported, other = instance(1), instance(2, series_instance_uid="1.2.3.999")
    ledger.jobs.receive(reported)
    (job,) = ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    ledger.jobs.report(job, CONCLUSION, [OUTPUT], to(["pacs"]))
    ledger.jobs.receive(other)

    def found(*uids: str | None) -> list[tuple[str, int]]:
        held = ledger.holdings.of_study("1.2.3.200", *uids, limit=10)
        return sorted((each.job.sop_instance_uid, len(each.outputs)) for each in held)

    one, two = reported.sop_instance_uid, other.sop_instance_uid
    assert found() == sorted([(one, 1), (two, 0)])
    # the ledger does not have the series of an output
    assert found("1.2.3.999") == sorted([(one, 1), (two, 0)])
    assert found("1.2.3.998") == [(one, 1)]
    assert found(None, two) == [(two, 0)]
    assert found("1.2.3.999", two) == [(two, 0)]
    assert found("1.2.3.998", two) == []
    assert found(None, one) == [(one, 0)]
    assert found("1.2.3.998", OUTPUT.sop_instance_uid) == [(one, 1)]
    assert not ledger.holdings.was_purged("1.2.3.200", None, one)
    for each in ledger.deliveries.lease("pacs", "test/", 9, lease_seconds=60):
        ledger.deliveries.delivered(each, status=0)
    assert purge_finished(ledger) == [job.id]
    assert found() == [(two, 0)]
    purged = ledger.holdings.was_purged
    assert purged("1.2.3.200")
    assert purged("1.2.3.200", None, one)
    assert purged("1.2.3.200", None, OUTPUT.sop_instance_uid)
    assert not purged("1.2.3.200", None, two)


def test_studies_come_by_their_latest_instance_and_by_their_patient(
    ledger: Ledger, instance: Callable[..., Instance], clock: Clock
) -> None:
    patients = (Patient(patient_id="P", accession_number="A"), Patient(patient_id="Q"), None)
    for number, patient in enumerate(patients):
        uid = f"1.2.3.{number}00"
        ledger.jobs.receive(instance(number, study_instance_uid=uid), patient)
        clock.now += 1
    ledger.jobs.receive(instance(9, study_instance_uid="1.2.3.000"), patients[0])
    studies = ledger.holdings.studies
    everything = ["1.2.3.000", "1.2.3.200", "1.2.3.100"]
    assert studies(StudyFilter(), 10) == everything
    assert studies(StudyFilter(), 1) + studies(StudyFilter(), 2, 1) == everything
    # whose patient is not recorded may match
    assert studies(StudyFilter(patient_id="Q"), 10) == ["1.2.3.200", "1.2.3.100"]
    assert studies(StudyFilter(accession_number="A"), 10) == ["1.2.3.000", "1.2.3.200"]
    wanted = StudyFilter(study_instance_uids=("1.2.3.100", "1.2.3.9"))
    assert studies(wanted, 10) == ["1.2.3.100"]
