"""The ledger's invariants hold for every sequence of operations.

Hypothesis generates the sequences: instances that come twice, workers that crash, stall or write
late, destinations that refuse, vanish or are removed, people who requeue, time that passes.
"""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.routes import to
from support.system.clock import Clock

from service.domain.delivery import IN_FLIGHT, Delivery, DeliveryState, OutputRecord, Reference
from service.domain.job import (
    FINISHED,
    FOLLOWERS,
    ConclusionRecord,
    Instance,
    Job,
    JobState,
    Receipt,
    TransitionError,
)
from service.domain.reasons import Reason
from service.storage.ledger import Ledger, StaleLeaseError

DESTINATIONS = ("north", "south")
CONCLUSION = ConclusionRecord(
    finding="absent", probability=0.1, operating_point="balanced", model="m 1"
)
SOME = st.sampled_from([set(), {"north"}, {"south"}, {"north", "south"}])
HOLDERS = st.sampled_from(["host/infer/1/", "host/infer/12/", "host/deliver/1/"])
PARKING = st.sampled_from([Reason.REPORT_FAILED, Reason.BYTES_MISSING])
LEASE_SECONDS = 60
NAMED = {"reanalysis-asked": JobState.RECEIVED}  # events of another name than the state


def outputs(job: Job) -> list[OutputRecord]:
    return [
        OutputRecord(kind=kind, sop_class_uid="1.2.3", sop_instance_uid=f"{job.id[:8]}.{number}")
        for number, kind in enumerate(("sr", "overlay"))
    ]


def receive(ledger: Ledger, job_id: str = "0" * 32, n: int = 0, content: str = "a") -> Receipt:
    return ledger.jobs.receive(
        Instance(
            job_id=job_id,
            sop_instance_uid=f"1.2.{n}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
            series_instance_uid="1.3",
            study_instance_uid="1.4",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            digest=content * 64,
            size_bytes=10,
            calling_ae_title="MODALITY",
            is_urgent=n == 0,
        )
    )


class Life(RuleBasedStateMachine):
    """The ledger, and the state that its users know: how often each row was leased."""

    template: Path  # an empty ledger, to be copied

    leases = Bundle("leases")
    deliveries = Bundle("deliveries")
    requests = Bundle("requests")  # for commitment

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=self.template.parent))
        shutil.copy(self.template, self.folder / "ledger.sqlite3")
        self.clock = Clock()
        self.ledger = Ledger(f"sqlite:///{self.folder}/ledger.sqlite3", self.clock)
        self.received: set[tuple[int, str]] = set()
        self.forgotten = 0
        self.attempts: dict[str, int] = {}
        self.count = 0
        self.known: list[Job] = []  # as the last invariant found them

    def teardown(self) -> None:
        try:
            self.bring_everything_to_an_end()
        finally:
            self.ledger.close()
            shutil.rmtree(self.folder)

    # operations

    @rule(n=st.integers(0, 2), content=st.sampled_from("ab"))
    def receive(self, n: int, content: str) -> None:
        self.count += 1
        receipt = receive(self.ledger, f"{self.count:032x}", n, content)
        assert receipt.repeated == ((n, content) in self.received)
        self.received.add((n, content))

    @rule(seconds=st.sampled_from([LEASE_SECONDS + 1, 1000]))
    def pass_time(self, seconds: int) -> None:
        self.clock.pass_seconds(seconds)

    @rule(target=leases, holder=HOLDERS, limit=st.integers(1, 3), stalls=st.booleans())
    def lease(self, holder: str, limit: int, *, stalls: bool) -> MultipleResults[Job]:
        taken = self.take(holder, limit)
        if stalls:  # until another worker has leased the same
            self.clock.pass_seconds(LEASE_SECONDS + 1)
            taken += self.take("other/infer/2/", limit)
        return multiple(*taken)

    def take(self, holder: str, limit: int) -> list[Job]:
        taken = self.ledger.jobs.lease(
            holder, limit, lease_seconds=LEASE_SECONDS, maximum_attempts=3
        )
        assert len({job.id for job in taken}) == len(taken) <= limit
        assert len(taken) == 1 or all(job.tries == 1 for job in taken)
        for job in taken:
            assert job.attempt == self.attempts.get(job.id, 0) + 1
            self.attempts[job.id] = job.attempt
        return taken

    @rule(job=consumes(leases), names=SOME)
    def report(self, job: Job, names: set[str]) -> None:
        with self.fenced(job):
            self.ledger.jobs.report(job, CONCLUSION, outputs(job), to(sorted(names)))

    @rule(n=st.integers(0, 2), content=st.sampled_from("ab"))
    def receive_and_report_at_once(self, n: int, content: str) -> None:
        self.receive(n, content)
        for job in self.take("host/infer/1/", 3):
            self.ledger.jobs.report(job, CONCLUSION, outputs(job), to(DESTINATIONS))

    @rule(job=consumes(leases))
    def close(self, job: Job) -> None:
        with self.fenced(job):
            self.ledger.jobs.not_analysed(job, Reason.VIEW)

    @rule(job=consumes(leases), reason=PARKING)
    def park(self, job: Job, reason: Reason) -> None:
        with self.fenced(job):
            self.ledger.jobs.park(job, reason)

    @rule(job=leases)
    def postpone(self, job: Job) -> None:
        with self.fenced(job):
            self.ledger.jobs.postpone(job, 30, "error")

    @precondition(lambda self: self.any_is(JobState.RECEIVED, JobState.REPORTED))
    @rule(holder=HOLDERS)
    def release(self, holder: str) -> None:
        self.ledger.release(holder)

    @rule(
        target=deliveries,
        name=st.sampled_from(DESTINATIONS),
        limit=st.integers(1, 4),
        stalls=st.booleans(),
    )
    def lease_deliveries(self, name: str, limit: int, *, stalls: bool) -> MultipleResults[Delivery]:
        taken = self.take_deliveries(name, limit)
        if stalls:
            self.clock.pass_seconds(LEASE_SECONDS + 1)
            taken += self.take_deliveries(name, limit)
        return multiple(*taken)

    def take_deliveries(self, name: str, limit: int) -> list[Delivery]:
        taken = self.ledger.deliveries.lease(
            name, "host/deliver/1/", limit, lease_seconds=LEASE_SECONDS
        )
        assert all(each.destination == name for each in taken)
        assert len({each.id for each in taken}) == len(taken) <= limit
        return taken

    @rule(delivery=consumes(deliveries), status=st.sampled_from([0, 0xB000]))
    def deliver(self, delivery: Delivery, status: int) -> None:
        with self.fenced_delivery(delivery):
            self.ledger.deliveries.delivered(delivery, status=status)

    @rule(delivery=consumes(deliveries), counts=st.booleans())
    def refuse(self, delivery: Delivery, *, counts: bool) -> None:
        with self.fenced_delivery(delivery):
            self.ledger.deliveries.refused(delivery, status=0xC000, again_in=30, counts=counts)

    @rule(delivery=consumes(deliveries))
    def fail_to_reach(self, delivery: Delivery) -> None:
        with self.fenced_delivery(delivery):
            self.ledger.deliveries.unreached(delivery, again_in=30, why="no-answer")

    @rule(delivery=consumes(deliveries))
    def park_delivery(self, delivery: Delivery) -> None:
        with self.fenced_delivery(delivery):
            self.ledger.deliveries.park(delivery, Reason.DESTINATION_REFUSED)

    @rule(delivery=consumes(deliveries))
    def store(self, delivery: Delivery) -> None:
        with self.fenced_delivery(delivery):
            sent = Reference(delivery.sop_class_uid, delivery.sop_instance_uid)
            self.ledger.deliveries.stored(delivery, status=0, sent=sent)

    @rule(target=requests, name=st.sampled_from(DESTINATIONS), limit=st.integers(1, 4))
    def ask(self, name: str, limit: int) -> list[Delivery]:
        self.count += 1
        return self.ledger.commitments.lease(
            name,
            "host/deliver/1/",
            limit,
            transaction_uid=f"1.2.{self.count}",
            lease_seconds=LEASE_SECONDS,
        )

    @rule(request=requests, is_taken=st.booleans())
    def record_the_request(self, request: list[Delivery], *, is_taken: bool) -> None:
        if is_taken:
            self.ledger.commitments.asked(request, again_in=100)
        else:
            self.ledger.commitments.postpone(request, again_in=30, why="no-answer")

    @rule(request=requests, which=st.integers(0, 15))
    def answer_the_request(self, request: list[Delivery], which: int) -> None:
        """Commit what `which` has a bit for; each result may come late, twice, or after others."""
        if not request:
            return
        named = [each.sent for each in request if each.sent is not None]
        committed = [each for place, each in enumerate(named) if which >> place & 1]
        changed = self.ledger.commitments.answered(
            request[0].transaction_uid or "",
            committed,
            {each: 0x0112 for each in named if each not in committed},
            again_in=lambda refusals: 10.0 * refusals,
            maximum_refusals=2,
        )
        assert {each.id for each in changed} <= {each.id for each in request}
        for each in changed:
            assert (each.state is DeliveryState.DELIVERED) == (each.sent in committed)

    @precondition(lambda self: self.any_is(JobState.REPORTED))
    @rule(name=st.sampled_from(DESTINATIONS))
    def open_breaker(self, name: str) -> None:
        self.ledger.deliveries.open_breaker(name, lambda failures: 10.0 * failures)
        assert self.ledger.deliveries.lease(name, "w/", 9, lease_seconds=1) == []

    @precondition(lambda self: self.any_is(JobState.REPORTED))
    @rule(names=SOME)
    def remove_destinations(self, names: set[str]) -> None:
        self.ledger.deliveries.park_unknown(sorted(names))

    @precondition(lambda self: self.any_is(JobState.PARKED))
    @rule(names=SOME)
    def requeue(self, names: set[str]) -> None:
        for job in self.known:
            if job.state is JobState.PARKED:
                moved = self.ledger.jobs.requeue(job.id, to(sorted(names)))
                assert moved.attempt >= job.attempt
                assert moved.tries == 0
            else:
                with pytest.raises(TransitionError):
                    self.ledger.jobs.requeue(job.id, to(sorted(names)))

    @precondition(lambda self: self.any_is(JobState.PARKED))
    @rule()
    def dismiss(self) -> None:
        parked = next(job for job in self.known if job.state is JobState.PARKED)
        self.ledger.jobs.dismiss(parked.id, "It is not needed.")

    @precondition(lambda self: self.any_is(JobState.DISMISSED))
    @rule()
    def reanalyse_what_was_dismissed(self) -> None:
        for job in self.known:
            if job.state is JobState.DISMISSED and job.purged_at is None:
                self.ledger.jobs.reanalyse(job.id)

    @precondition(lambda self: self.any_is(*FINISHED))
    @rule()
    def let_retention_take_what_it_may(self) -> None:
        self.clock.pass_seconds(1000)
        self.ledger.retention.mark_older(500, 10)
        for job_id in self.ledger.retention.marked(10):
            self.ledger.retention.discard(job_id, lambda: 0)
        jobs = {job.id: job for job in self.ledger.queries.recent(1000)}
        for job_id in self.ledger.retention.forget_older(900, 10):
            job = jobs[job_id]
            self.forgotten += 1
            self.received.remove((int(job.sop_instance_uid[-1]), job.digest[0]))

    @precondition(lambda self: bool(self.known))
    @rule()
    def fold_the_tallies(self) -> None:
        self.ledger.tallies.fold(few=0)
        rows = self.ledger.tallies.fold(few=0)
        assert self.ledger.tallies.fold(few=0) == rows, "one row for each number"

    # what always holds

    @invariant()
    def everything_is_as_promised(self) -> None:
        self.known = sorted(self.ledger.queries.recent(1000), key=lambda job: job.id)
        self.require_balance()
        for job in self.known:
            self.require_consistent_state(job)
            self.require_allowed_transitions(job)

    def require_balance(self) -> None:
        job_counts = self.ledger.queries.job_counts()
        assert job_counts.balance == 0
        assert job_counts.forgotten == self.forgotten
        assert job_counts.received - job_counts.forgotten == len(self.received) == len(self.known)
        assert self.ledger.tallies.verify() == []

    def require_consistent_state(self, job: Job) -> None:
        states = {each.state for each in self.ledger.queries.deliveries(job.id)}
        assert bool(states & IN_FLIGHT) == (job.state is JobState.REPORTED)
        assert (job.due_at is not None) == (job.state is JobState.RECEIVED)
        assert (job.finished_at is not None) == (job.state in FINISHED)
        explained = {JobState.PARKED, JobState.NOT_ANALYSED, JobState.DISMISSED}
        assert (job.reason is not None) == (job.state in explained)
        if job.state is JobState.DISMISSED:
            assert states <= {DeliveryState.DELIVERED}
        if job.state is JobState.DELIVERED:
            assert states == {DeliveryState.DELIVERED}

    def require_allowed_transitions(self, job: Job) -> None:
        path = [
            JobState(str(event.detail.get("to") or NAMED.get(event.name, event.name)))
            for event in self.ledger.queries.trace(job.id)
            if event.name in {*JobState, *NAMED, "requeued"}
        ]
        assert path[0] is JobState.RECEIVED
        assert path[-1] is job.state
        for present, following in itertools.pairwise(path):
            assert following in FOLLOWERS[present], path

    def bring_everything_to_an_end(self) -> None:
        """No job is stuck: with workers that work and people who requeue, all end."""
        for _ in range(12):
            self.everything_is_as_promised()
            if self.any_is(*JobState) and not self.any_is(*set(JobState) - FINISHED):
                return
            self.clock.pass_seconds(10_000)
            for job in self.known:
                if job.state is JobState.PARKED:
                    self.ledger.jobs.requeue(job.id, to(DESTINATIONS))
            while taken := self.take("host/infer/1/", 3):
                for job in taken:
                    self.ledger.jobs.report(job, CONCLUSION, outputs(job), to(DESTINATIONS))
            for name in DESTINATIONS:
                for each in self.take_deliveries(name, 99):
                    self.ledger.deliveries.delivered(each, status=0)
                self.answer_the_request(self.ask(name, 99), 15)
        assert self.known == [], "something is stuck"

    # helpers

    def any_is(self, *states: JobState) -> bool:
        return any(job.state in states for job in self.known)

    def job(self, job_id: str) -> Job:
        job = self.ledger.queries.job(job_id)
        assert job is not None
        return job

    @contextmanager
    def fenced(self, lease: Job) -> Iterator[None]:
        """Expect the write to pass for the newest lease of a job that is still to be done."""
        before = self.ledger.queries.job(lease.id)
        is_valid = (
            before is not None
            and before.state is JobState.RECEIVED
            and before.attempt == lease.attempt == self.attempts[lease.id]
        )
        if is_valid:
            yield
            return
        with pytest.raises(StaleLeaseError):
            yield
        assert self.ledger.queries.job(lease.id) == before

    @contextmanager
    def fenced_delivery(self, lease: Delivery) -> Iterator[None]:
        """Expect the write to pass if the same delivery is unfinished and was not leased since."""
        before = self.ledger.queries.deliveries(lease.job_id)
        same = [
            each
            for each in before
            if (each.kind, each.destination) == (lease.kind, lease.destination)
        ]
        is_valid = any(each.state is lease.state and each.attempt == lease.attempt for each in same)
        if is_valid:
            yield
            return
        with pytest.raises(StaleLeaseError):
            yield
        assert self.ledger.queries.deliveries(lease.job_id) == before


def test_a_stale_worker_does_not_finish_another_delivery_with_the_same_row_id(
    tmp_path: Path,
) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite3", Clock())
    ledger.upgrade()
    receive(ledger)
    (job,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    ledger.jobs.report(job, CONCLUSION, outputs(job)[:1], to(["north"]))
    (stale,) = ledger.deliveries.lease("north", "slow/", 1, lease_seconds=60)
    ledger.deliveries.park_unknown(["south"])
    ledger.jobs.requeue(job.id, to(["south"]))
    (fresh,) = ledger.deliveries.lease("south", "fast/", 1, lease_seconds=60)
    assert (stale.id, stale.attempt) == (fresh.id, fresh.attempt), (
        "otherwise this test checks nothing"
    )
    with pytest.raises(StaleLeaseError):
        ledger.deliveries.delivered(stale, status=0)
    ledger.deliveries.delivered(fresh, status=0)
    ledger.close()


@pytest.mark.slow
@pytest.mark.timeout(900)  # seconds when it passes, minutes to minimise a failure
def test_whatever_happens_the_ledger_keeps_its_promises(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("lives")
    Life.template = folder / "empty.sqlite3"
    ledger = Ledger(f"sqlite:///{Life.template}")
    ledger.upgrade()
    ledger.close()
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=settings().max_examples * 3 // 10, stateful_step_count=40, deadline=None
        ),
    )
