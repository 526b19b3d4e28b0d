"""Jobs in the ledger, on each database."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from pydicom.uid import Comprehensive3DSRStorage
from support.routes import to
from support.system.clock import Clock

from service.domain.delivery import OutputRecord
from service.domain.job import (
    ConclusionRecord,
    Instance,
    Job,
    JobState,
    OtherAbnormality,
    TransitionError,
)
from service.domain.reasons import Reason
from service.storage.ledger import Ledger, StaleLeaseError

Maker = Callable[..., Instance]
CONCLUSION = ConclusionRecord(
    finding="present", probability=0.75, operating_point="screening", model="m 1"
)
SR = OutputRecord(kind="sr", sop_class_uid=Comprehensive3DSRStorage, sop_instance_uid="2.25.1")


def lease(ledger: Ledger, holder: str = "w/", limit: int = 8, attempts: int = 3) -> list[Job]:
    return ledger.jobs.lease(holder, limit, lease_seconds=60, maximum_attempts=attempts)


def names(ledger: Ledger, job_id: str) -> list[str]:
    return [event.name for event in ledger.queries.trace(job_id)]


def test_the_same_bytes_received_twice_are_one_job(ledger: Ledger, instance: Maker) -> None:
    first = ledger.jobs.receive(instance(copy=0))
    second = ledger.jobs.receive(instance(copy=1))
    assert (first.repeated, second.repeated) == (False, True)
    assert second.job_id == first.job_id
    assert ledger.queries.job_counts().received == 1
    assert names(ledger, first.job_id) == ["received", "received-again"]


def test_other_bytes_under_the_same_uid_are_a_new_job_linked_to_the_first(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    first = ledger.jobs.receive(instance(copy=0, bytes_="a"))
    clock.pass_seconds(1)
    second = ledger.jobs.receive(instance(copy=1, bytes_="b"))
    clock.pass_seconds(1)
    third = ledger.jobs.receive(instance(copy=2, bytes_="c"))
    assert second.corrects == third.corrects == first.job_id
    assert ledger.queries.job_counts().received == 3


def test_the_same_instance_on_many_associations_at_once_is_one_job(
    ledger: Ledger, instance: Maker
) -> None:
    with ThreadPoolExecutor(8) as senders:
        receipts = list(senders.map(lambda n: ledger.jobs.receive(instance(copy=n)), range(16)))
    assert len({receipt.job_id for receipt in receipts}) == 1
    assert sum(not receipt.repeated for receipt in receipts) == 1
    assert ledger.queries.job_counts().received == 1


def test_a_leased_job_is_not_due_until_the_lease_runs_out(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    ledger.jobs.receive(instance())
    assert len(lease(ledger)) == 1
    assert lease(ledger) == []
    assert ledger.queries.due().infer == 0
    clock.pass_seconds(61)
    (again,) = lease(ledger)
    assert (again.attempt, again.tries) == (2, 2)


def test_two_workers_never_lease_the_same_job(ledger: Ledger, instance: Maker) -> None:
    for n in range(40):
        ledger.jobs.receive(instance(n))
    with ThreadPoolExecutor(4) as workers:
        batches = list(workers.map(lambda n: lease(ledger, f"w{n}/", limit=5), range(12)))
    taken = [job.id for batch in batches for job in batch]
    assert sorted(set(taken)) == sorted(taken)
    assert len(taken) == 40


def test_a_job_that_was_tried_before_runs_alone(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    for n in range(3):
        ledger.jobs.receive(instance(n))
        clock.pass_seconds(1)
    assert len(lease(ledger)) == 3
    clock.pass_seconds(61)
    assert [len(lease(ledger)) for _ in range(4)] == [1, 1, 1, 0]


def test_a_job_that_kills_its_worker_is_parked_when_its_attempts_are_used_up(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    for _ in range(3):
        assert len(lease(ledger, attempts=3)) == 1
        clock.pass_seconds(61)
    assert lease(ledger, attempts=3) == []
    job = ledger.queries.job(job_id)
    assert job is not None
    assert (job.state, job.reason) == (JobState.PARKED, Reason.ATTEMPTS_EXHAUSTED)


@pytest.mark.parametrize("write", ["report", "not_analysed", "park", "postpone", "renew"])
def test_a_stale_worker_changes_nothing(
    ledger: Ledger, instance: Maker, clock: Clock, write: str
) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    (stale,) = lease(ledger, "slow/")
    clock.pass_seconds(61)
    (fresh,) = lease(ledger, "fast/")
    writes = {
        "report": lambda: ledger.jobs.report(stale, CONCLUSION, [SR], to(["pacs"])),
        "not_analysed": lambda: ledger.jobs.not_analysed(stale, Reason.MODALITY),
        "park": lambda: ledger.jobs.park(stale, Reason.REPORT_FAILED),
        "postpone": lambda: ledger.jobs.postpone(stale, 1, "error"),
        "renew": lambda: ledger.jobs.renew(stale, 60),
    }
    before = ledger.queries.job(job_id), names(ledger, job_id)
    with pytest.raises(StaleLeaseError):
        writes[write]()
    assert (ledger.queries.job(job_id), names(ledger, job_id)) == before
    ledger.jobs.report(fresh, CONCLUSION, [SR], to(["pacs"]))
    assert ledger.queries.job_counts().by_state[JobState.REPORTED] == 1


OTHER = OtherAbnormality(finding="indeterminate", probability=0.65, operating_point="sensitive")


def test_another_abnormality_is_kept_until_a_later_report_replaces_it(
    ledger: Ledger, instance: Maker
) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    read = replace(CONCLUSION, other=OTHER, population="adults")
    kept = []
    for conclusion in (read, CONCLUSION):
        (job,) = lease(ledger)
        ledger.jobs.report(job, conclusion, [SR], to([]))
        reported = ledger.queries.job(job_id)
        assert reported is not None
        kept.append((reported.other, reported.population))
        ledger.jobs.reanalyse(job_id)
    assert kept == [(OTHER, "adults"), (None, None)]
    details = [e.detail for e in ledger.queries.trace(job_id) if e.name == "reported"]
    assert (details[0]["other_finding"], details[0]["other_probability"]) == ("indeterminate", 0.65)
    assert "other_finding" not in details[1]


def test_a_stale_worker_stays_stale_after_a_requeue(ledger: Ledger, instance: Maker) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    (stale,) = lease(ledger)
    ledger.jobs.park(stale, Reason.REPORT_FAILED)
    ledger.jobs.requeue(job_id, to([]))
    (fresh,) = lease(ledger)
    assert (fresh.attempt, fresh.tries) == (2, 1)
    with pytest.raises(StaleLeaseError):
        ledger.jobs.not_analysed(stale, Reason.MODALITY)


def test_a_postponed_job_is_due_again_after_its_time(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    ledger.jobs.receive(instance())
    (job,) = lease(ledger)
    ledger.jobs.postpone(job, 30, "error")
    clock.pass_seconds(29)
    assert lease(ledger) == []
    clock.pass_seconds(2)
    assert len(lease(ledger)) == 1


def test_a_renewed_lease_lasts_longer_and_counts_once(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    (job,) = lease(ledger, "slow/")
    for _ in range(3):
        clock.pass_seconds(50)
        ledger.jobs.renew(job, 60)
        assert lease(ledger, "fast/") == []
    ledger.jobs.report(job, CONCLUSION, [SR], to(["pacs"]))
    reported = ledger.queries.job(job_id)
    assert reported is not None
    assert (reported.attempt, reported.tries) == (1, 1)


def test_a_lease_that_was_ended_is_not_renewed(ledger: Ledger, instance: Maker) -> None:
    ledger.jobs.receive(instance())
    (job,) = lease(ledger)
    ledger.jobs.postpone(job, 0, "error")
    with pytest.raises(StaleLeaseError):
        ledger.jobs.renew(job, 60)
    assert ledger.queries.due().infer == 1


def test_a_postponement_that_is_not_the_jobs_doing_uses_up_no_attempt(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    ledger.jobs.postpone(lease(ledger)[0], 0, "error")
    for _ in range(5):
        (job,) = lease(ledger, attempts=3)
        assert job.tries == 2
        ledger.jobs.postpone(job, 1, "disk-full", counts=False)
        ledger.jobs.postpone(job, 1, "disk-full", counts=False)  # a repeat gives back no more
        clock.pass_seconds(1)
        waiting = ledger.queries.job(job_id)
        assert waiting is not None
        assert (waiting.state, waiting.tries) == (JobState.RECEIVED, 1)
        attempts = waiting.attempt
    assert attempts == 6, "every lease counts as an attempt, which is the fence"
    assert ledger.queries.trace(job_id)[-1].detail["counts"] is False


def test_what_a_dead_worker_held_is_due_at_once_and_its_attempt_stays_counted(
    ledger: Ledger, instance: Maker
) -> None:
    for n in range(2):
        ledger.jobs.receive(instance(n))
    (mine,) = lease(ledger, "host/infer/12/", limit=1)
    (other,) = lease(ledger, "host/infer/123/", limit=1)
    assert ledger.release("host/infer/12/") == 1
    (again,) = lease(ledger, "host/infer/9/")
    assert (again.id, again.tries) == (mine.id, 2)
    assert other.id != mine.id


def test_without_a_destination_a_reported_job_is_parked_and_a_requeue_sends_it(
    ledger: Ledger, instance: Maker
) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    (job,) = lease(ledger)
    ledger.jobs.report(job, CONCLUSION, [SR], to([]))
    parked = ledger.queries.job(job_id)
    assert parked is not None
    assert (parked.state, parked.reason) == (JobState.PARKED, Reason.NO_DESTINATION)
    assert parked.probability == 0.75
    assert ledger.jobs.requeue(job_id, to(["pacs"])).state == JobState.REPORTED
    assert ledger.queries.due().deliver == {"pacs": 1}


def test_a_requeue_without_a_destination_parks_again_instead_of_hanging(
    ledger: Ledger, instance: Maker
) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    (job,) = lease(ledger)
    ledger.jobs.report(job, CONCLUSION, [SR], to([]))
    assert ledger.jobs.requeue(job_id, to([])).state == JobState.PARKED


@pytest.mark.parametrize("state", [JobState.RECEIVED, JobState.NOT_ANALYSED])
def test_only_a_parked_job_is_requeued(ledger: Ledger, instance: Maker, state: JobState) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    if state is JobState.NOT_ANALYSED:
        ledger.jobs.not_analysed(lease(ledger)[0], Reason.VIEW)
    with pytest.raises(TransitionError):
        ledger.jobs.requeue(job_id, to(["pacs"]))


def test_an_unknown_job_is_not_requeued(ledger: Ledger) -> None:
    with pytest.raises(LookupError):
        ledger.jobs.requeue("0" * 32, to([]))


def test_a_job_is_found_by_every_name_it_has(ledger: Ledger, instance: Maker) -> None:
    job_id = ledger.jobs.receive(instance(7)).job_id
    (job,) = lease(ledger)
    ledger.jobs.report(job, CONCLUSION, [SR], to(["pacs"]))
    for name in (job_id, job_id[:30], "1.2.3.7", "1.2.3.100", "1.2.3.200", "2.25.1"):
        assert [found.id for found in ledger.queries.find(name)] == [job_id], name
    for name in ("", "0", "1.2.3", "%", "' OR 1=1 --"):
        assert ledger.queries.find(name) == [], name


def test_a_job_whose_bytes_were_lost_is_predicted_again_and_sends_only_what_changed(
    ledger: Ledger, instance: Maker
) -> None:
    job_id = ledger.jobs.receive(instance(copy=0)).job_id
    other = replace(SR, kind="overlay", sop_instance_uid="2.25.2")
    ledger.jobs.report(lease(ledger)[0], CONCLUSION, [SR, other], to(["pacs"]))
    first, second = ledger.deliveries.lease("pacs", "d/", 8, lease_seconds=60)
    ledger.deliveries.delivered(first, status=0)
    ledger.deliveries.park(second, Reason.BYTES_MISSING)

    again = ledger.jobs.receive(instance(copy=1))
    assert (again.job_id, again.repeated, again.lacks_bytes) == (job_id, True, True)
    assert ledger.jobs.requeue(job_id, to([])).state == JobState.RECEIVED
    ledger.jobs.report(lease(ledger)[0], CONCLUSION, [SR, other], to(["pacs"]))
    (pending,) = ledger.deliveries.lease("pacs", "d/", 8, lease_seconds=60)
    assert pending.kind == second.kind, "the other was delivered and came out the same"
    ledger.deliveries.delivered(pending, status=0)
    job = ledger.queries.job(job_id)
    assert job is not None
    assert job.state == JobState.DELIVERED
    assert ledger.queries.job_counts().balance == 0


def test_an_output_that_changed_is_sent_again(ledger: Ledger, instance: Maker) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    other = replace(SR, kind="overlay", sop_instance_uid="2.25.2")
    ledger.jobs.report(lease(ledger)[0], CONCLUSION, [SR, other], to(["pacs"]))
    first, second = ledger.deliveries.lease("pacs", "d/", 8, lease_seconds=60)
    ledger.deliveries.delivered(first, status=0)
    ledger.deliveries.park(second, Reason.BYTES_MISSING)
    ledger.jobs.requeue(job_id, to([]))
    anew = [replace(each, sop_instance_uid=f"{each.sop_instance_uid}9") for each in (SR, other)]
    ledger.jobs.report(lease(ledger)[0], CONCLUSION, anew, to(["pacs"]))
    pending = ledger.deliveries.lease("pacs", "d/", 8, lease_seconds=60)
    assert {each.sop_instance_uid for each in pending} == {"2.25.19", "2.25.29"}


def test_a_requeue_tries_a_silent_destination_at_once(ledger: Ledger, instance: Maker) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    ledger.jobs.report(lease(ledger)[0], CONCLUSION, [SR], to(["pacs"]))
    (delivery,) = ledger.deliveries.lease("pacs", "d/", 8, lease_seconds=60)
    ledger.deliveries.park(delivery, Reason.DESTINATION_UNREACHABLE)
    ledger.deliveries.open_breaker("pacs", lambda _: 900)
    ledger.jobs.requeue(job_id, to(["pacs"]))
    assert len(ledger.deliveries.lease("pacs", "d/", 8, lease_seconds=60)) == 1


def test_the_parked_are_listed_by_reason(ledger: Ledger, instance: Maker) -> None:
    for n, reason in enumerate((Reason.REPORT_FAILED, Reason.BYTES_MISSING)):
        ledger.jobs.receive(instance(n))
        ledger.jobs.park(lease(ledger)[0], reason)
    assert [job.reason for job in ledger.queries.parked(Reason.BYTES_MISSING)] == [
        Reason.BYTES_MISSING
    ]
    assert len(ledger.queries.parked(None)) == 2
