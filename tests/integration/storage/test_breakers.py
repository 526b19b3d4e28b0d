"""Breakers of infer workers in the ledger, and jobs that met a fault."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from support.routes import to
from support.system.clock import Clock

from service.domain.job import Instance, Job
from service.domain.reasons import Reason
from service.storage.faults import Fault
from service.storage.ledger import Ledger
from service.storage.ledger.breakers import open_breaker
from service.storage.ledger.database import Database

Maker = Callable[..., Instance]
NAME = "host/infer/"


def ten_times(failures: int) -> float:
    return 10.0 * failures


def lease(ledger: Ledger, limit: int = 8, *, probes: bool = False) -> list[Job]:
    return ledger.jobs.lease("w/", limit, lease_seconds=60, maximum_attempts=3, probes=probes)


def test_a_breaker_is_open_then_half_open_and_open_for_longer_each_time(
    ledger: Ledger, clock: Clock
) -> None:
    assert ledger.breakers.get(NAME) is None
    for failures in (1, 2, 3):
        opened = ledger.breakers.open(NAME, ten_times, Fault.DISK_FULL)
        assert opened is not None
        assert (opened.is_open, opened.failures, opened.fault) == (True, failures, "disk-full")
        assert opened.open_until == clock.now + 10 * failures
        assert ledger.breakers.get(NAME) == opened
        clock.now = opened.open_until
        found = ledger.breakers.get(NAME)
        assert found is not None
        assert not found.is_open
    ledger.breakers.close(NAME)
    assert ledger.breakers.get(NAME) is None


def test_a_breaker_that_is_open_already_is_not_opened_for_longer(ledger: Ledger) -> None:
    opened = ledger.breakers.open(NAME, ten_times, Fault.DISK_FULL)
    assert ledger.breakers.open(NAME, ten_times, Fault.OUT_OF_MEMORY) is None
    assert ledger.breakers.get(NAME) == opened


def test_a_breaker_that_two_workers_open_at_once_is_opened_once(
    ledger: Ledger, ledger_url: str, clock: Clock
) -> None:
    for failures in (1, 2):
        opened = ledger.breakers.open(NAME, ten_times, Fault.DISK_FULL)
        assert opened is not None
        assert opened.failures == failures
        clock.now = opened.open_until
    other = Database(ledger_url)
    with ThreadPoolExecutor(1) as threads:
        with other.write() as connection:
            open_breaker(connection, NAME, ten_times, clock.now, fault=Fault.DISK_FULL)
            second = threads.submit(ledger.breakers.open, NAME, ten_times, Fault.DISK_FULL)
            wait([second], 0.5)  # it waits for the transaction
        assert second.result() is None
    other.close()
    found = ledger.breakers.get(NAME)
    assert found is not None
    assert (found.is_open, found.failures) == (True, 3)


def test_a_breaker_that_was_opened_anew_is_not_closed_by_who_saw_it_before(
    ledger: Ledger, clock: Clock
) -> None:
    seen = ledger.breakers.open(NAME, ten_times, Fault.DISK_FULL)
    assert seen is not None
    clock.now = seen.open_until
    anew = ledger.breakers.open(NAME, ten_times, Fault.DISK_FULL)
    assert anew is not None
    assert not ledger.breakers.close_if_same(seen)
    assert ledger.breakers.get(NAME) == anew
    assert ledger.breakers.close_if_same(anew)
    assert ledger.breakers.get(NAME) is None


def test_breakers_of_workers_and_of_destinations_are_apart(ledger: Ledger, clock: Clock) -> None:
    ledger.deliveries.open_breaker("pacs", lambda _: 30)
    ledger.breakers.open(NAME, ten_times, Fault.DEVICE_FAILED)
    found = ledger.breakers.not_closed()
    assert [(each.name, each.fault) for each in found] == [(NAME, "device-failed"), ("pacs", None)]
    ledger.breakers.close(NAME)
    assert [each.name for each in ledger.breakers.not_closed()] == ["pacs"]
    clock.pass_seconds(30 + 19)
    assert [each.name for each in ledger.breakers.not_closed(20)] == ["pacs"]
    clock.pass_seconds(2)
    assert ledger.breakers.not_closed(20) == [], "nothing that it holds up was due since"
    assert len(ledger.breakers.not_closed()) == 1


def test_a_job_that_met_a_fault_runs_alone_and_as_a_probe_after_the_others(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    first, second, third = (ledger.jobs.receive(instance(n)).job_id for n in (1, 2, 3))
    (met,) = lease(ledger, 1)
    ledger.jobs.postpone(met, 0, "disk-full", counts=False, is_fault=True)
    clock.pass_seconds(1)
    (probe,) = lease(ledger, 1, probes=True)
    assert (met.id, probe.id) == (first, second)
    ledger.jobs.postpone(probe, 0, "stopping", counts=False)
    ledger.jobs.postpone(lease(ledger, 1, probes=True)[0], 0, "stopping", counts=False)
    clock.pass_seconds(1)
    together = lease(ledger)
    alone = lease(ledger)
    batches = [[job.id for job in batch] for batch in (together, alone)]
    assert sorted(batches, key=len) == [[first], [second, third]]
    (met,) = min((together, alone), key=len)
    assert (met.faults, met.tries) == (1, 1)


@pytest.mark.parametrize("counts", [True, False])
def test_faults_are_counted_until_the_job_is_requeued(
    ledger: Ledger, instance: Maker, *, counts: bool
) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    (job,) = lease(ledger)
    ledger.jobs.postpone(job, 0, "out-of-memory", counts=counts, is_fault=True)
    (job,) = lease(ledger)
    assert (job.faults, job.tries) == (1, 1 + counts)
    ledger.jobs.park(job, Reason.REPORT_FAILED)
    assert ledger.jobs.requeue(job_id, to([])).faults == 0
