"""What the page of a job asks the ledger for beside the job, on each database."""

from collections.abc import Callable
from dataclasses import replace

from pydicom.uid import Comprehensive3DSRStorage
from support.routes import to
from support.system.clock import Clock

from service.domain.audit import Action, AuditOutcome, AuditRecord
from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, Instance, Job, Revision
from service.domain.patient import Patient
from service.storage.ledger import Ledger
from service.storage.ledger.reading.related import MOST

Maker = Callable[..., Instance]
JANE = Patient(patient_name="Doe^Jane", patient_id="4711", birth_date="19700131")
SAME_ID = Patient(patient_name="Roe^Rita", patient_id="4711", birth_date="19880808")


def job_of(ledger: Ledger, job_id: str) -> Job:
    job = ledger.queries.job(job_id)
    assert job is not None
    return job


def receive(ledger: Ledger, clock: Clock, instance: Instance, patient: Patient = JANE) -> Job:
    clock.pass_seconds(1)
    return job_of(ledger, ledger.jobs.receive(instance, patient).job_id)


def test_the_other_studies_of_a_patient_are_in_the_order_of_their_dates(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    def receive_of(number: int, study_uid: str, patient: Patient) -> Job:
        return receive(ledger, clock, instance(number, study_instance_uid=study_uid), patient)

    later = receive_of(1, "1.1", replace(JANE, study_date="20260801"))
    undated = receive_of(2, "1.2", JANE)
    receive_of(3, "1.3", replace(SAME_ID, study_date="20200101"))
    of_study = receive_of(4, "1.4", replace(JANE, study_date="20260504"))
    job = receive_of(5, "1.4", replace(JANE, study_date="20260504"))
    prior = receive_of(6, "1.5", replace(JANE, study_date="20250101"))  # it arrives last
    found = ledger.related.others_of_patient(job, JANE)
    assert [each.id for each, _ in found] == [later.id, prior.id, undated.id]
    assert [of_it.study_date for _, of_it in found] == ["20260801", "20250101", ""]
    assert [each.id for each in ledger.related.of_study(job)] == [of_study.id]


def test_a_patient_without_an_id_has_no_other_studies(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    receive(ledger, clock, instance(1, study_instance_uid="1.1"), Patient())
    other = receive(ledger, clock, instance(2, study_instance_uid="1.2"), Patient())
    assert ledger.related.others_of_patient(other, Patient()) == []


def test_so_many_other_studies_are_listed_and_no_more(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    for number in range(MOST + 5):
        last = receive(ledger, clock, instance(number, study_instance_uid=f"1.{number + 1}"))
    found = ledger.related.others_of_patient(last, JANE)
    assert len(found) == MOST
    times = [job.received_at for job, _ in found]
    assert times == sorted(times, reverse=True)


def test_the_jobs_that_correct_one_are_listed_with_it(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    first = receive(ledger, clock, instance(1))
    second = receive(ledger, clock, instance(1, copy=1, bytes_="b"))
    third = receive(ledger, clock, instance(1, copy=2, bytes_="c"))
    assert [each.id for each in ledger.related.corrections(first.id)] == [second.id, third.id]
    assert ledger.related.corrections(second.id) == []


def test_a_report_is_found_with_what_it_said(ledger: Ledger, instance: Maker, clock: Clock) -> None:
    job = receive(ledger, clock, instance(1))
    (leased,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    sr = OutputRecord(kind="sr", sop_class_uid=Comprehensive3DSRStorage, sop_instance_uid="2.25.1")
    revision = Revision(
        job_id=job.id,
        sop_class_uid=sr.sop_class_uid,
        sop_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        predecessor=None,
        dated_at=1.0,
    )
    said = ConclusionRecord(
        finding="present", probability=0.75, operating_point="screening", model="m 1"
    )
    ledger.jobs.report(leased, said, [sr], to([]), revision=revision)
    detail = ledger.related.reports([job.id])["2.25.1"].detail
    assert (detail["finding"], detail["probability"]) == ("present", 0.75)
    assert (detail["operating_point"], detail["model"]) == ("screening", "m 1")
    assert ledger.related.reports(["f" * 32]) == {}


def test_what_people_did_with_a_job_is_listed_by_action(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    job = receive(ledger, clock, instance(1))
    for action, outcome, job_id in (
        (Action.VIEW, AuditOutcome.SUCCESS, job.id),
        (Action.REQUEUE, AuditOutcome.SUCCESS, job.id),
        (Action.REQUEUE, AuditOutcome.FAILURE, job.id),
        (Action.DISMISS, AuditOutcome.SUCCESS, "f" * 32),
    ):
        ledger.audit.append(
            AuditRecord(at=clock(), action=action, outcome=outcome, user="eve", job_id=job_id)
        )
    (act,) = ledger.related.acts(job.id, [Action.REQUEUE, Action.DISMISS])
    assert (act.action, act.user, act.at) == (Action.REQUEUE, "eve", clock())
