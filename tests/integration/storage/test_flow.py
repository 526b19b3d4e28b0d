"""The queries of the status page, on SQLite and on PostgreSQL."""

from collections.abc import Callable

from support.routes import to
from support.system.clock import Clock

from service.domain.delivery import OutputRecord, Reference
from service.domain.job import ConclusionRecord, Instance, Job
from service.domain.reasons import Reason
from service.storage.ledger import Ledger
from service.storage.ledger.reading.flow import Latency, Minute

Maker = Callable[..., Instance]
CONCLUSION = ConclusionRecord(
    finding="present", probability=0.9, operating_point="balanced", model="a 1"
)
MODEL_B = ConclusionRecord(finding="absent", probability=0.1, operating_point="strict", model="b 2")


def output(n: int) -> OutputRecord:
    return OutputRecord(kind="sr", sop_class_uid="1.2.3", sop_instance_uid=f"2.25.{n}")


def lease(ledger: Ledger) -> Job:
    (job,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    return job


def test_an_empty_ledger_has_nothing_to_show(ledger: Ledger) -> None:
    flow = ledger.flow
    (destination,) = flow.destinations(["pacs"])
    assert (flow.analysis().total, flow.analysis().oldest_at) == (0, None)
    assert (destination.sending.total, destination.parked) == (0, 0)
    assert (destination.succeeded_at, destination.failure) == (None, None)
    nothing = Latency(jobs=0, median=None, p95=None)
    assert set(flow.latencies(3600).values()) == {nothing}
    assert flow.parked(10) == []
    assert flow.latest_model() is None
    assert flow.overdue_requests(60).requests == 0
    assert flow.jobs([]) == []
    assert all(each.received == each.finished == 0 for each in flow.per_minute(5))


def test_analysis_is_due_leased_or_postponed(ledger: Ledger, clock: Clock, instance: Maker) -> None:
    started = clock.now
    for n in range(4):
        ledger.jobs.receive(instance(n))
        clock.now += 1
    ledger.jobs.postpone(lease(ledger), 30, "restart", counts=False)
    lease(ledger)
    waiting = ledger.flow.analysis()
    assert (waiting.due, waiting.leased, waiting.postponed) == (2, 1, 1)
    assert waiting.oldest_at == started
    clock.now += 100  # the lease expired, the pause is over
    assert ledger.flow.analysis().due == 4


def test_a_destination_is_shown_with_its_last_success_and_failure(
    ledger: Ledger, clock: Clock, instance: Maker
) -> None:
    for n in range(3):
        ledger.jobs.receive(instance(n))
        ledger.jobs.report(lease(ledger), CONCLUSION, [output(n)], to(["pacs", "other"]))
        clock.now += 1
    first, second, third = ledger.deliveries.lease("pacs", "w/", 3, lease_seconds=60)
    ledger.deliveries.delivered(first, status=0xB000)
    succeeded_at = clock.now
    clock.now += 1
    ledger.deliveries.refused(second, status=0xA700, again_in=5)
    clock.now += 1
    ledger.deliveries.unreached(third, again_in=60, why="no-connection")
    pacs, other = ledger.flow.destinations(["pacs", "other"])
    assert (pacs.sending.postponed, pacs.sending.due, pacs.parked) == (2, 0, 0)
    assert (pacs.succeeded_at, pacs.succeeded_status) == (succeeded_at, 0xB000)
    assert pacs.failure is not None
    assert (pacs.failure.at, pacs.failure.detail["why"]) == (clock.now, "no-connection")
    assert (other.sending.due, other.succeeded_at, other.failure) == (3, None, None)


def test_a_parked_and_a_stored_delivery_are_counted_apart(ledger: Ledger, instance: Maker) -> None:
    for n in range(2):
        ledger.jobs.receive(instance(n))
        ledger.jobs.report(lease(ledger), CONCLUSION, [output(n)], to(["pacs"]))
    first, second = ledger.deliveries.lease("pacs", "w/", 2, lease_seconds=60)
    ledger.deliveries.stored(first, status=0, sent=Reference("1.2.3", "2.25.0"))
    ledger.deliveries.park(second, Reason.DESTINATION_REFUSED, status=0x0122)
    (pacs,) = ledger.flow.destinations(["pacs"])
    assert (pacs.sending.total, pacs.committing.due, pacs.parked) == (0, 1, 1)
    assert pacs.failure is not None
    assert pacs.failure.detail["reason"] == Reason.DESTINATION_REFUSED


def test_latencies_are_those_of_the_period(ledger: Ledger, clock: Clock, instance: Maker) -> None:
    for n in range(20):
        ledger.jobs.receive(instance(n))
        clock.now += n + 1
        ledger.jobs.report(lease(ledger), CONCLUSION, [output(n)], to(["pacs"]))
        clock.now += 2
        (delivery,) = ledger.deliveries.lease("pacs", "w/", 1, lease_seconds=60)
        ledger.deliveries.delivered(delivery, status=0)
    found = ledger.flow.latencies(3600)
    assert found["analysis"] == Latency(jobs=20, median=10, p95=19)
    assert found["delivery"] == Latency(jobs=20, median=2, p95=2)
    assert found["whole"] == Latency(jobs=20, median=12, p95=21)
    clock.now += 4000
    assert {each.jobs for each in ledger.flow.latencies(3600).values()} == {0}


def test_jobs_are_counted_by_minute_on_each_database_alike(
    ledger: Ledger, clock: Clock, instance: Maker
) -> None:
    clock.now = 60 * 1000 + 0.25
    ledger.jobs.receive(instance(1))
    clock.now += 30
    ledger.jobs.receive(instance(2))
    clock.now += 60
    ledger.jobs.not_analysed(lease(ledger), Reason.LATERAL)
    clock.now = 60 * 1003 + 1
    assert ledger.flow.per_minute(4) == [
        Minute(at=60.0 * 1000, received=2, finished=0),
        Minute(at=60.0 * 1001, received=0, finished=1),
        Minute(at=60.0 * 1002, received=0, finished=0),
        Minute(at=60.0 * 1003, received=0, finished=0),
    ]


def test_parked_jobs_are_grouped_the_most_frequent_first(
    ledger: Ledger, clock: Clock, instance: Maker
) -> None:
    started = clock.now
    reasons = [Reason.REPORT_FAILED, Reason.BYTES_MISSING, Reason.BYTES_MISSING]
    for n, reason in enumerate(reasons):
        ledger.jobs.receive(instance(n))
        ledger.jobs.park(lease(ledger), reason)
        clock.now += 1
    often, seldom = ledger.flow.parked(1)
    assert (often.reason, often.jobs, often.oldest_at) == (Reason.BYTES_MISSING, 2, started + 1)
    assert [job.received_at for job in often.first] == [started + 1]
    assert (seldom.reason, seldom.jobs) == (Reason.REPORT_FAILED, 1)
    assert len(ledger.flow.parked_for(Reason.BYTES_MISSING, 5)) == 2


def test_the_latest_model_is_that_of_the_newest_reported_job(
    ledger: Ledger, clock: Clock, instance: Maker
) -> None:
    for n, conclusion in enumerate((CONCLUSION, MODEL_B)):
        ledger.jobs.receive(instance(n))
        ledger.jobs.report(lease(ledger), conclusion, [output(n)], to(["pacs"]))
        clock.now += 1
    ledger.jobs.receive(instance(9))
    latest = ledger.flow.latest_model()
    assert latest is not None
    assert (latest.model, latest.operating_point) == ("b 2", "strict")


def test_requests_are_overdue_after_their_time(ledger: Ledger, clock: Clock) -> None:
    asked = [Reference("1.2.3", "2.25.1")]
    ledger.commitment_requests.receive("B", "2.25.2", asked)
    ledger.commitment_requests.receive("A", "2.25.3", asked)
    started = clock.now
    clock.now += 100
    ledger.commitment_requests.receive("C", "2.25.4", asked)
    found = ledger.flow.overdue_requests(60)
    assert (found.requests, found.oldest_at) == (2, started)
    assert found.calling_ae_titles == ["A", "B"]


def test_jobs_are_found_by_their_ids_however_many(ledger: Ledger, instance: Maker) -> None:
    known = [ledger.jobs.receive(instance(n)).job_id for n in range(3)]
    unknown = [f"{n:032x}" for n in range(10_000, 11_200)]
    found = ledger.flow.jobs([*unknown, *known])
    assert {job.id for job in found} == set(known)
