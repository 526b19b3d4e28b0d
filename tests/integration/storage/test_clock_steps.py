"""What the ledger decides while the wall clock is set by hours and days, on each database."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import pytest
from sqlalchemy import update
from support.routes import to

from service.domain.delivery import DeliveryState, OutputRecord, Reference
from service.domain.job import ConclusionRecord, Instance, JobState
from service.domain.reasons import Reason
from service.domain.user import Role
from service.storage.ledger import Ledger, StaleLeaseError
from service.storage.ledger.clock import MachineClocks
from service.storage.ledger.tables import CLOCKS

Maker = Callable[..., Instance]
HOUR: Final = 3_600.0
DAY: Final = 86_400.0
STEPS: Final = (-400 * DAY, -HOUR, HOUR, 40 * DAY)
CONCLUSION: Final = ConclusionRecord(
    finding="absent", probability=0.1, operating_point="screening", model="m 1"
)
SR: Final = OutputRecord(kind="sr", sop_class_uid="1.2", sop_instance_uid="2.25.1")


@dataclass
class Clocks:
    """The two clocks of a machine; a step is of the wall clock alone."""

    wall: float = 1.8e9
    awake: float = 1_000.0

    def pass_seconds(self, seconds: float) -> None:
        self.wall += seconds
        self.awake += seconds

    def machine(self) -> MachineClocks:
        return MachineClocks(wall=lambda: self.wall, awake=lambda: self.awake, boot="this boot")


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def ledger(ledger_url: str, clocks: Clocks) -> Iterator[Ledger]:
    with closing(Ledger(ledger_url, machine=clocks.machine())) as opened:
        opened.upgrade()
        yield opened


def report(ledger: Ledger, instance: Instance) -> str:
    job_id = ledger.jobs.receive(instance).job_id
    (job,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    ledger.jobs.report(job, CONCLUSION, [SR], to(["pacs"]))
    return job_id


@pytest.mark.parametrize("step", STEPS)
def test_a_lease_lasts_as_long_as_it_was_given(
    ledger: Ledger, instance: Maker, clocks: Clocks, step: float
) -> None:
    ledger.jobs.receive(instance(1))
    (held,) = ledger.jobs.lease("w/1/", 1, lease_seconds=60, maximum_attempts=3)
    clocks.wall += step
    assert ledger.jobs.lease("w/2/", 1, lease_seconds=60, maximum_attempts=3) == []
    ledger.jobs.receive(instance(2))
    (fresh,) = ledger.jobs.lease("w/2/", 1, lease_seconds=60, maximum_attempts=3)
    assert fresh.id != held.id, "what is received after the step is due at once"
    clocks.pass_seconds(61)
    (again,) = ledger.jobs.lease("w/2/", 1, lease_seconds=60, maximum_attempts=3)
    assert again.id == held.id
    with pytest.raises(StaleLeaseError):
        ledger.jobs.park(held, Reason.REPORT_FAILED)


@pytest.mark.parametrize("step", STEPS)
def test_a_pause_and_a_breaker_last_as_long_as_they_were_given(
    ledger: Ledger, instance: Maker, clocks: Clocks, step: float
) -> None:
    report(ledger, instance(1))
    ledger.deliveries.open_breaker("pacs", lambda _: 30)
    clocks.wall += step
    assert ledger.queries.due().deliver == {}
    assert ledger.deliveries.lease("pacs", "d/", 9, lease_seconds=60) == []
    clocks.pass_seconds(31)
    (delivery,) = ledger.deliveries.lease("pacs", "d/", 9, lease_seconds=60)
    ledger.deliveries.unreached(delivery, again_in=20, why="no-answer")
    clocks.wall -= 2 * step
    assert ledger.queries.due().deliver == {}
    clocks.pass_seconds(21)
    assert ledger.queries.due().deliver == {"pacs": 1}


@pytest.mark.parametrize("step", STEPS)
def test_giving_up_counts_the_time_that_passed(
    ledger: Ledger, instance: Maker, clocks: Clocks, step: float
) -> None:
    job_id = report(ledger, instance(1))
    ledger.commitment_requests.receive("MODALITY", "1.2.9", [Reference("1.2", "1.2.3")])
    clocks.wall += step
    clocks.pass_seconds(100)
    (delivery,) = ledger.queries.deliveries(job_id)
    (request,) = ledger.commitment_requests.lease("d/", 9, lease_seconds=60)
    ages = [ledger.now() - since for since in (delivery.since, request.since)]
    assert ages == [pytest.approx(100, abs=0.01)] * 2
    assert ledger.flow.destinations(["pacs"])[0].sending.oldest_at == pytest.approx(
        clocks.wall - 100, abs=0.01
    ), "a person reads the wall clock"


@pytest.mark.parametrize("step", STEPS)
def test_an_awaited_commitment_is_asked_for_again_when_it_was_to_be(
    ledger: Ledger, instance: Maker, clocks: Clocks, step: float
) -> None:
    job_id = report(ledger, instance(1))
    (delivery,) = ledger.deliveries.lease("pacs", "d/", 9, lease_seconds=60)
    sent = Reference(SR.sop_class_uid, SR.sop_instance_uid)
    ledger.deliveries.stored(delivery, status=0, sent=sent)
    asked = ledger.commitments.lease("pacs", "d/", 9, transaction_uid="1.2.1", lease_seconds=60)
    ledger.commitments.asked(asked, again_in=3600)
    clocks.wall += step
    assert ledger.queries.due().commit == {}
    clocks.pass_seconds(3601)
    assert ledger.queries.due().commit == {"pacs": 1}
    ledger.commitments.answered("1.2.1", {sent}, {}, again_in=float, maximum_refusals=3)
    assert [each.state for each in ledger.queries.deliveries(job_id)] == [DeliveryState.DELIVERED]


@pytest.mark.parametrize("step", STEPS)
def test_retention_counts_the_time_that_passed(
    ledger: Ledger, instance: Maker, clocks: Clocks, step: float
) -> None:
    job_id = ledger.jobs.receive(instance(1)).job_id
    (job,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    ledger.jobs.not_analysed(job, Reason.VIEW)
    clocks.wall += step
    assert ledger.retention.mark_older(50, 9) == []
    clocks.pass_seconds(100)
    assert ledger.retention.mark_older(50, 9) == [job_id]


@pytest.mark.parametrize("step", STEPS)
def test_what_finished_first_makes_room_and_a_promise_lasts_as_long_as_it_was_given(
    ledger: Ledger, instance: Maker, clocks: Clocks, step: float
) -> None:
    jobs = []
    for n in range(3):
        jobs.append(ledger.jobs.receive(instance(n)).job_id)
        (job,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
        ledger.jobs.not_analysed(job, Reason.VIEW)
        clocks.wall += step
        clocks.pass_seconds(1)
    assert ledger.retention.keep(jobs[:1]) == frozenset(jobs[:1])
    clocks.wall -= 2 * step
    assert ledger.retention.mark_oldest(keep_seconds=50, limit=1) == [jobs[1]]
    clocks.pass_seconds(51)
    assert ledger.retention.mark_oldest(keep_seconds=50, limit=1) == [jobs[0]]
    assert ledger.retention.mark_oldest(keep_seconds=50, limit=1) == [jobs[2]]


@pytest.mark.parametrize("step", STEPS)
def test_a_process_is_alive_as_long_as_it_reports(
    ledger: Ledger, clocks: Clocks, step: float
) -> None:
    assert ledger.heartbeats.beat("relay", "host/relay/1/", ready=True) is None
    clocks.wall += step
    assert len(ledger.heartbeats.alive(20)) == 1
    assert ledger.heartbeats.beat("web", "host/web/2/", ready=True) == pytest.approx(step, abs=1)
    assert ledger.heartbeats.beat("relay", "host/relay/1/", ready=True) is None, "it is told once"
    clocks.pass_seconds(21)
    assert ledger.heartbeats.alive(20) == []


@pytest.mark.parametrize("step", STEPS)
def test_sessions_tokens_and_lock_outs_last_as_long_as_they_were_given(
    ledger: Ledger, clocks: Clocks, step: float
) -> None:
    ledger.users.add("ann", Role.ADMIN, "hash")
    session = ledger.sessions.begin("ann", seconds=100)
    _, token = ledger.api_tokens.add("ann", label="x", scopes=[], seconds=100)
    for _ in range(3):
        ledger.users.failed("ann", limit=3, seconds=100, maximum_seconds=1000)
    clocks.wall += step
    assert ledger.sessions.find(session, idle_seconds=60) is not None
    assert ledger.api_tokens.find(token) is not None
    assert not ledger.users.succeeded("ann")
    clocks.pass_seconds(101)
    assert ledger.sessions.find(session, idle_seconds=600) is None
    assert ledger.api_tokens.find(token) is None
    assert ledger.users.succeeded("ann")


@pytest.mark.parametrize("step", STEPS)
def test_a_reanalysis_and_a_correction_are_later_than_what_they_follow(
    ledger: Ledger, instance: Maker, clocks: Clocks, step: float
) -> None:
    first = report(ledger, instance(1))
    (delivery,) = ledger.deliveries.lease("pacs", "d/", 9, lease_seconds=60)
    ledger.deliveries.delivered(delivery, status=0)
    clocks.wall += step
    clocks.pass_seconds(1)
    ledger.jobs.reanalyse(first)
    (job,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    ledger.jobs.park(job, Reason.REPORT_FAILED)
    again = ledger.jobs.requeue(first, to(["pacs"]))
    assert again.state is JobState.RECEIVED, "the analysis that was asked for is still to be made"
    receipt = ledger.jobs.receive(instance(1, copy=1, bytes_="b"))
    assert receipt.corrects == first
    assert ledger.jobs.receive(instance(1, copy=2, bytes_="c")).corrects == first


def test_what_is_recorded_for_people_is_of_the_wall_clock(
    ledger: Ledger, instance: Maker, clocks: Clocks
) -> None:
    clocks.wall += 40 * DAY
    job_id = ledger.jobs.receive(instance(1)).job_id
    (job,) = ledger.queries.recent()
    (event,) = ledger.queries.trace(job_id)
    assert (job.received_at, job.asked_at, event.at) == (clocks.wall,) * 3
    assert ledger.wall_offset() == pytest.approx(40 * DAY, abs=1)


@dataclass
class Other:
    """Another machine, whose wall clock is wrong by so much."""

    boot: str
    wrong_by: float = 0.0

    def machine(self) -> MachineClocks:
        return MachineClocks(
            wall=lambda: time.time() + self.wrong_by, awake=time.monotonic, boot=self.boot
        )


@pytest.mark.parametrize("wrong_by", [-365 * DAY, -HOUR, HOUR, 365 * DAY])
def test_machines_that_share_a_ledger_agree_whatever_their_clocks_say(
    ledger_url: str, wrong_by: float
) -> None:
    """Machines share PostgreSQL only; on SQLite the second is the next boot of the same one."""
    second = Other("b", wrong_by)
    with (
        closing(Ledger(ledger_url, machine=Other("a").machine())) as one,
        closing(Ledger(ledger_url, machine=second.machine())) as two,
    ):
        one.upgrade()
        one.heartbeats.beat("relay", "a/relay/1/", ready=True)
        apart = two.now() - one.now()
        assert two.wall_offset() == pytest.approx(wrong_by - apart, abs=1)
        if ledger_url.startswith("sqlite"):
            assert 0 <= apart <= DAY + 20
        else:
            assert apart == pytest.approx(0, abs=1)
            assert len(two.heartbeats.alive(20)) == 1


def test_a_machine_that_fell_behind_the_others_follows_them(ledger_url: str) -> None:
    """As one that was suspended where its CLOCK_BOOTTIME does not count that."""
    clocks = Clocks()
    with (
        closing(Ledger(ledger_url, machine=clocks.machine())) as slow,
        closing(Ledger(ledger_url, machine=Other("a").machine())) as one,
    ):
        slow.upgrade()
        slow.heartbeats.beat("relay", "b/relay/1/", ready=True)
        ahead = one.now() + 300
        with one._database.write() as connection:
            connection.execute(update(CLOCKS).where(CLOCKS.c.boot == "a").values(seen_at=ahead))
        clocks.pass_seconds(11)
        slow.heartbeats.beat("relay", "b/relay/1/", ready=True)
        assert slow.now() >= ahead
