"""Deliveries in the ledger, on each database."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage
from support.routes import to
from support.system.clock import Clock

from service.domain.delivery import Delivery, DeliveryState, OutputRecord
from service.domain.job import ConclusionRecord, Instance, JobState
from service.domain.reasons import Reason
from service.storage.ledger import Acknowledged, Ledger, StaleLeaseError

Maker = Callable[..., Instance]
CONCLUSION = ConclusionRecord(
    finding="absent", probability=0.1, operating_point="screening", model="m 1"
)
OUTPUTS = [
    OutputRecord(kind="sr", sop_class_uid=Comprehensive3DSRStorage, sop_instance_uid="2.25.1"),
    OutputRecord(
        kind="overlay", sop_class_uid=SecondaryCaptureImageStorage, sop_instance_uid="2.25.2"
    ),
]


def report(ledger: Ledger, instance: Instance, *destinations: str) -> str:
    job_id = ledger.jobs.receive(instance).job_id
    (job,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    ledger.jobs.report(job, CONCLUSION, OUTPUTS, to(destinations))
    return job_id


def lease(ledger: Ledger, destination: str, holder: str = "d/") -> list[Delivery]:
    return ledger.deliveries.lease(destination, holder, 32, lease_seconds=60)


def state(ledger: Ledger, job_id: str) -> tuple[JobState, Reason | None]:
    job = ledger.queries.job(job_id)
    assert job is not None
    return job.state, job.reason


def test_a_job_is_delivered_when_every_destination_has_every_output(
    ledger: Ledger, instance: Maker
) -> None:
    job_id = report(ledger, instance(), "north", "south")
    for delivery in lease(ledger, "north"):
        ledger.deliveries.delivered(delivery, status=0)
    assert state(ledger, job_id) == (JobState.REPORTED, None)
    first, second = lease(ledger, "south")
    ledger.deliveries.delivered(first, status=0)
    assert state(ledger, job_id) == (JobState.REPORTED, None)
    ledger.deliveries.delivered(second, status=0xB000)
    assert state(ledger, job_id) == (JobState.DELIVERED, None)
    assert [each.status for each in ledger.queries.deliveries(job_id)] == [0, 0, 0, 0xB000]


def test_a_renewed_delivery_is_not_taken_over(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    report(ledger, instance(), "pacs")
    first, second = lease(ledger, "pacs", "slow/")
    clock.pass_seconds(50)
    ledger.deliveries.renew(first, 60)
    clock.pass_seconds(50)
    (taken_over,) = lease(ledger, "pacs", "fast/")
    assert taken_over.id == second.id
    ledger.deliveries.delivered(first, status=0)
    with pytest.raises(StaleLeaseError):
        ledger.deliveries.renew(second, 60)


def test_the_last_two_deliveries_finished_at_once_still_close_the_job(
    ledger: Ledger, instance: Maker
) -> None:
    for n in range(10):
        job_id = report(ledger, instance(n), "north", "south")
        deliveries = lease(ledger, "north") + lease(ledger, "south")
        with ThreadPoolExecutor(4) as senders:
            list(senders.map(lambda d: ledger.deliveries.delivered(d, status=0), deliveries))
        assert state(ledger, job_id) == (JobState.DELIVERED, None)


def test_an_open_breaker_does_not_delay_another_destination(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    report(ledger, instance(), "dead", "live")
    assert ledger.deliveries.open_breaker("dead", lambda _: 30) == 30
    assert lease(ledger, "dead") == []
    assert ledger.queries.due().deliver == {"live": 2}
    assert len(lease(ledger, "live")) == 2
    clock.pass_seconds(31)
    assert len(lease(ledger, "dead")) == 2


def test_a_breaker_stays_open_longer_each_time_and_closes_with_an_answer(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    report(ledger, instance(), "pacs")
    pauses = []
    for _ in range(3):
        pauses.append(ledger.deliveries.open_breaker("pacs", lambda n: 10.0 * n))
        clock.pass_seconds(pauses[-1] + 1)
    assert pauses == [10, 20, 30]
    delivery, _ = lease(ledger, "pacs")
    ledger.deliveries.delivered(delivery, status=0)
    assert ledger.deliveries.open_breaker("pacs", lambda n: 10.0 * n) == 10


def test_a_refusal_is_kept_and_the_output_is_due_again_later(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    job_id = report(ledger, instance(), "pacs")
    delivery, _ = lease(ledger, "pacs")
    ledger.deliveries.refused(delivery, status=0xA700, again_in=30)
    kept = ledger.queries.deliveries(job_id)[0]
    assert (kept.status, kept.refusals, kept.state) == (0xA700, 1, DeliveryState.PENDING)
    clock.pass_seconds(31)
    assert delivery.id in [each.id for each in lease(ledger, "pacs")]


def test_a_parked_delivery_parks_its_job_once_nothing_else_is_in_flight(
    ledger: Ledger, instance: Maker
) -> None:
    job_id = report(ledger, instance(), "pacs")
    first, second = lease(ledger, "pacs")
    ledger.deliveries.park(first, Reason.DESTINATION_REFUSED, status=0xC000)
    assert state(ledger, job_id) == (JobState.REPORTED, None)
    ledger.deliveries.delivered(second, status=0)
    assert state(ledger, job_id) == (JobState.PARKED, Reason.DESTINATION_REFUSED)


def test_a_requeue_sends_only_what_was_not_delivered(ledger: Ledger, instance: Maker) -> None:
    job_id = report(ledger, instance(), "pacs")
    first, second = lease(ledger, "pacs")
    ledger.deliveries.delivered(first, status=0)
    ledger.deliveries.park(second, Reason.DESTINATION_REFUSED)
    ledger.jobs.requeue(job_id, to(["pacs"]))
    (pending,) = lease(ledger, "pacs")
    assert (pending.kind, pending.refusals) == (second.kind, 0)
    ledger.deliveries.delivered(pending, status=0)
    assert state(ledger, job_id) == (JobState.DELIVERED, None)


def test_deliveries_to_a_removed_destination_are_parked_and_requeued_to_the_configured_ones(
    ledger: Ledger, instance: Maker
) -> None:
    job_id = report(ledger, instance(), "old")
    assert ledger.deliveries.park_unknown(["new"]) == 2
    assert state(ledger, job_id) == (JobState.PARKED, Reason.DESTINATION_REMOVED)
    ledger.jobs.requeue(job_id, to(["new"]))
    for delivery in lease(ledger, "new"):
        ledger.deliveries.delivered(delivery, status=0)
    assert state(ledger, job_id) == (JobState.DELIVERED, None)


@pytest.mark.parametrize("write", ["delivered", "refused", "unreached", "park"])
def test_a_stale_sender_changes_nothing(
    ledger: Ledger, instance: Maker, clock: Clock, write: str
) -> None:
    job_id = report(ledger, instance(), "pacs")
    stale, _ = lease(ledger, "pacs", "slow/")
    clock.pass_seconds(61)
    lease(ledger, "pacs", "fast/")
    writes = {
        "delivered": lambda: ledger.deliveries.delivered(stale, status=0),
        "refused": lambda: ledger.deliveries.refused(stale, status=0xC000, again_in=1),
        "unreached": lambda: ledger.deliveries.unreached(stale, again_in=1, why="no-answer"),
        "park": lambda: ledger.deliveries.park(stale, Reason.DESTINATION_REFUSED),
    }
    before = ledger.queries.deliveries(job_id)
    with pytest.raises(StaleLeaseError):
        writes[write]()
    assert ledger.queries.deliveries(job_id) == before


def test_answers_recorded_together_are_recorded_but_for_a_stale_one(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    first, second = (report(ledger, instance(n), "pacs") for n in range(2))
    leased = lease(ledger, "pacs", "slow/")
    clock.pass_seconds(50)
    for each in leased[1:]:
        ledger.deliveries.renew(each, 60)
    clock.pass_seconds(50)
    (taken_over,) = lease(ledger, "pacs", "fast/")
    answers = [Acknowledged(delivery=each, status=0xB000) for each in leased]
    current = ledger.deliveries.delivered_together(answers)
    assert {each.id for each in current} == {each.id for each in leased} - {taken_over.id}
    assert (taken_over.job_id, state(ledger, first)) == (first, (JobState.REPORTED, None))
    assert state(ledger, second) == (JobState.DELIVERED, None)
    names = [event.name for event in ledger.queries.trace(second)]
    assert names.count("output-delivered") == 2
    assert names[-1] == "delivered"
    assert ledger.deliveries.delivered_together(answers) == []
    ledger.deliveries.delivered(taken_over, status=0)
    assert state(ledger, first) == (JobState.DELIVERED, None)


def test_two_workers_that_record_answers_of_the_same_jobs_do_not_wait_for_each_other(
    ledger: Ledger, instance: Maker
) -> None:
    jobs = [report(ledger, instance(n), "north", "south") for n in range(8)]
    answers = [
        [Acknowledged(delivery=each, status=0) for each in lease(ledger, name)]
        for name in ("north", "south")
    ]
    answers[1].reverse()
    with ThreadPoolExecutor(2) as workers:
        recorded = list(workers.map(ledger.deliveries.delivered_together, answers))
    assert [len(each) for each in recorded] == [16, 16]
    assert {state(ledger, each) for each in jobs} == {(JobState.DELIVERED, None)}


def test_what_a_dead_sender_held_is_due_at_once(ledger: Ledger, instance: Maker) -> None:
    report(ledger, instance(), "pacs")
    assert len(lease(ledger, "pacs", "host/deliver/7/")) == 2
    assert lease(ledger, "pacs") == []
    assert ledger.release("host/") == 2
    assert len(lease(ledger, "pacs")) == 2
