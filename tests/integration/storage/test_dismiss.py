"""Dismissal: a person closes a parked job, and nothing of it is sent any more."""

from collections.abc import Callable

import pytest
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage
from support.purged import forget_finished, purge_finished
from support.routes import to
from support.system.clock import Clock

from service.admin.dismiss import dismiss_all
from service.domain.delivery import Delivery, DeliveryState, OutputRecord, Reference
from service.domain.job import ConclusionRecord, Instance, Job, JobState, TransitionError
from service.domain.reasons import Reason
from service.storage.ledger import Ledger, ParkedFilter, StaleLeaseError

Maker = Callable[..., Instance]
CONCLUSION = ConclusionRecord(
    finding="present", probability=0.75, operating_point="screening", model="m 1"
)
OUTPUTS = [
    OutputRecord(kind="sr", sop_class_uid=Comprehensive3DSRStorage, sop_instance_uid="2.25.1"),
    OutputRecord(
        kind="overlay", sop_class_uid=SecondaryCaptureImageStorage, sop_instance_uid="2.25.2"
    ),
]
WHY = "The archive was shut down."


def report(ledger: Ledger, instance: Instance, *destinations: str) -> str:
    job_id = ledger.jobs.receive(instance).job_id
    analyse(ledger, *destinations)
    return job_id


def analyse(ledger: Ledger, *destinations: str) -> None:
    (job,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    ledger.jobs.report(job, CONCLUSION, OUTPUTS, to(destinations))


def lease(ledger: Ledger, destination: str) -> list[Delivery]:
    return ledger.deliveries.lease(destination, "d/", 32, lease_seconds=60)


def park(ledger: Ledger, instance: Instance) -> str:
    """A job that one destination has and that was parked for the other."""
    job_id = report(ledger, instance, "north", "south")
    for each in lease(ledger, "north"):
        ledger.deliveries.delivered(each, status=0)
    for each in lease(ledger, "south"):
        ledger.deliveries.park(each, Reason.DESTINATION_REFUSED)
    return job_id


def job(ledger: Ledger, job_id: str) -> Job:
    found = ledger.queries.job(job_id)
    assert found is not None
    return found


def test_a_dismissed_job_is_finished_and_keeps_the_reason_it_was_parked_for(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    job_id = park(ledger, instance())
    clock.pass_seconds(5)
    dismissed = ledger.jobs.dismiss(job_id, f" {WHY}\n")
    assert (dismissed.state, dismissed.reason) == (JobState.DISMISSED, Reason.DESTINATION_REFUSED)
    assert (dismissed.finished_at, dismissed.due_at) == (clock.now, None)
    job_counts = ledger.queries.job_counts()
    assert (job_counts.balance, job_counts.in_flight, job_counts.parked_by_reason) == (0, 0, {})
    assert job_counts.by_state[JobState.DISMISSED] == 1


def test_what_was_not_delivered_is_gone_and_the_trace_names_it(
    ledger: Ledger, instance: Maker
) -> None:
    job_id = park(ledger, instance())
    ledger.jobs.dismiss(job_id, WHY)
    assert ledger.queries.delivery_counts() == {("north", DeliveryState.DELIVERED): 2}
    trace = [(event.name, event.detail) for event in ledger.queries.trace(job_id)]
    assert trace[-3:] == [
        ("dismissed", {"reason": "destination-refused", "why": WHY}),
        ("output-dismissed", {"kind": "sr", "destination": "south"}),
        ("output-dismissed", {"kind": "overlay", "destination": "south"}),
    ]


def test_nothing_of_it_is_sent_any_more(ledger: Ledger, instance: Maker, clock: Clock) -> None:
    job_id = park(ledger, instance())
    ledger.jobs.dismiss(job_id, WHY)
    clock.pass_seconds(100_000)
    assert lease(ledger, "south") == []
    due = ledger.queries.due()
    assert (due.deliver, due.commit, due.oldest_deliver_at, due.oldest_commit_at) == ({},) * 4
    assert ledger.deliveries.park_unknown([]) == 0
    with pytest.raises(TransitionError):
        ledger.jobs.requeue(job_id, to(["south"]))
    assert job(ledger, job_id).state is JobState.DISMISSED


def test_a_worker_that_is_late_changes_nothing(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    job_id = report(ledger, instance(), "south")
    (late, _) = lease(ledger, "south")
    clock.pass_seconds(61)
    for each in lease(ledger, "south"):
        ledger.deliveries.park(each, Reason.DESTINATION_UNREACHABLE)
    ledger.jobs.dismiss(job_id, WHY)
    with pytest.raises(StaleLeaseError):
        ledger.deliveries.delivered(late, status=0)
    assert job(ledger, job_id).state is JobState.DISMISSED


def test_a_commitment_that_arrives_late_changes_nothing(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    job_id = report(ledger, instance(), "pacs")
    for each in lease(ledger, "pacs"):
        sent = Reference(each.sop_class_uid, each.sop_instance_uid)
        ledger.deliveries.stored(each, status=0, sent=sent)
    asked = ledger.commitments.lease("pacs", "d/", 9, transaction_uid="1.2.9", lease_seconds=60)
    ledger.commitments.asked(asked, again_in=10)
    clock.pass_seconds(11)
    for each in ledger.commitments.lease(
        "pacs", "d/", 9, transaction_uid="1.2.10", lease_seconds=60
    ):
        ledger.deliveries.park(each, Reason.NOT_COMMITTED)
    ledger.jobs.dismiss(job_id, WHY)
    before = ledger.queries.trace(job_id)

    assert not ledger.commitments.is_awaited("1.2.9")
    committed = [each.sent for each in asked if each.sent is not None]
    assert len(committed) == 2
    changed = ledger.commitments.answered(
        "1.2.9", committed, {}, again_in=lambda n: 10.0 * n, maximum_refusals=3
    )

    assert changed == []
    assert ledger.queries.trace(job_id) == before
    assert job(ledger, job_id).state is JobState.DISMISSED


def test_retention_treats_it_as_any_finished_job(ledger: Ledger, instance: Maker) -> None:
    job_id = park(ledger, instance())
    assert purge_finished(ledger) == []
    ledger.jobs.dismiss(job_id, WHY)
    assert purge_finished(ledger) == [job_id]
    with pytest.raises(TransitionError, match="retention"):
        ledger.jobs.reanalyse(job_id)
    assert forget_finished(ledger) == [job_id]
    job_counts = ledger.queries.job_counts()
    assert (job_counts.forgotten, job_counts.balance) == (1, 0)


def test_it_can_be_analysed_again_and_only_what_is_missing_is_sent(
    ledger: Ledger, instance: Maker
) -> None:
    job_id = park(ledger, instance())
    ledger.jobs.dismiss(job_id, WHY)
    again = ledger.jobs.reanalyse(job_id)
    assert (again.state, again.reason, again.finished_at) == (JobState.RECEIVED, None, None)
    analyse(ledger, "north", "south")
    assert lease(ledger, "north") == []
    assert len(lease(ledger, "south")) == 2
    assert ledger.queries.trace(job_id)[-1].name == "reported"


def test_the_same_bytes_received_again_leave_it_dismissed(ledger: Ledger, instance: Maker) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    (leased,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    ledger.jobs.park(leased, Reason.BYTES_MISSING)
    assert ledger.jobs.receive(instance(copy=1)).lacks_bytes
    ledger.jobs.dismiss(job_id, WHY)
    receipt = ledger.jobs.receive(instance(copy=2))
    assert (receipt.repeated, receipt.lacks_bytes) == (True, False)
    assert job(ledger, job_id).state is JobState.DISMISSED


@pytest.mark.parametrize("why", ["", "  \n", "x" * 501, "two\nlines", "a\x00b", "a\x1b[2J"])
def test_a_reason_that_is_not_one_sentence_is_refused(
    ledger: Ledger, instance: Maker, why: str
) -> None:
    job_id = park(ledger, instance())
    with pytest.raises(ValueError, match="Say"):
        ledger.jobs.dismiss(job_id, why)
    assert job(ledger, job_id).state is JobState.PARKED


def test_only_a_parked_job_can_be_dismissed(ledger: Ledger, instance: Maker) -> None:
    job_id = report(ledger, instance(), "north")
    with pytest.raises(TransitionError):
        ledger.jobs.dismiss(job_id, WHY)
    with pytest.raises(LookupError):
        ledger.jobs.dismiss("0" * 32, WHY)


def test_the_parked_jobs_are_listed_by_reason_and_by_time(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    first = park(ledger, instance(n=1))
    clock.pass_seconds(10)
    second = park(ledger, instance(n=2))
    listed = ledger.queries.parked
    assert [each.id for each in listed(None)] == [first, second]
    assert [each.id for each in listed(Reason.DESTINATION_REFUSED, clock.now)] == [first]
    assert listed(Reason.NO_DESTINATION, clock.now) == []


def test_all_that_pass_a_filter_are_dismissed_in_batches(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    jobs = []
    for n in range(12):
        sender = "HOSTILE" if n % 3 else "MODALITY"
        jobs.append(ledger.jobs.receive(instance(n, calling_ae_title=sender)).job_id)
        (leased,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
        ledger.jobs.park(leased, Reason.REPORT_FAILED if n % 2 else Reason.BYTES_MISSING)
        clock.pass_seconds(n % 2)  # two are received at one moment
    wanted = ParkedFilter(
        reason=Reason.REPORT_FAILED, before=clock.now - 1, calling_ae_title="HOSTILE"
    )
    expected = [jobs[n] for n in (1, 5, 7)]
    assert ledger.queries.parked_count(wanted) == len(expected)
    assert dismiss_all(ledger, wanted, WHY, batch=2) == len(expected)
    dismissed = ledger.queries.recent(99, state=JobState.DISMISSED)
    assert sorted(each.id for each in dismissed) == sorted(expected)
    assert [each.detail.get("why") for each in ledger.queries.trace(expected[0])][-1] == WHY
    (record,) = ledger.audit.recent()
    assert (record.detail["jobs"], record.detail["calling_ae_title"]) == (3, "HOSTILE")
    assert dismiss_all(ledger, ParkedFilter(), WHY, batch=4) == 9
    assert ledger.queries.job_counts().balance == 0
