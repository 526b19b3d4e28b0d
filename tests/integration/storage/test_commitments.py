"""Storage commitment in the ledger, of destinations and to senders, on each database."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage
from support.routes import to
from support.system.clock import Clock

from service.domain.delivery import Delivery, DeliveryState, OutputRecord, Reference
from service.domain.job import ConclusionRecord, Instance, JobState
from service.domain.reasons import Reason
from service.storage.ledger import Ledger, StaleLeaseError
from service.storage.ledger.work.commitment_requests import MOST_OPEN, InUseError, TooManyError

Maker = Callable[..., Instance]
CONCLUSION = ConclusionRecord(
    finding="absent", probability=0.1, operating_point="screening", model="m 1"
)
FALLBACK = Reference("1.2.840.10008.5.1.4.1.1.88.33", "2.25.9")
A, B = Reference("1.2", "1.2.3.1"), Reference("1.2", "1.2.3.2")


def outputs(n: int) -> list[OutputRecord]:
    return [
        OutputRecord(
            kind="sr", sop_class_uid=Comprehensive3DSRStorage, sop_instance_uid=f"2.25.{n}.1"
        ),
        OutputRecord(
            kind="overlay",
            sop_class_uid=SecondaryCaptureImageStorage,
            sop_instance_uid=f"2.25.{n}.2",
        ),
    ]


def report(ledger: Ledger, instance: Instance, n: int = 1) -> str:
    job_id = ledger.jobs.receive(instance).job_id
    (job,) = ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    ledger.jobs.report(job, CONCLUSION, outputs(n), to(["pacs"]))
    return job_id


def store(ledger: Ledger) -> None:
    for each in ledger.deliveries.lease("pacs", "d/", 99, lease_seconds=60):
        sent = Reference(each.sop_class_uid, each.sop_instance_uid)
        ledger.deliveries.stored(each, status=0xB000, sent=sent)


def ask(ledger: Ledger, transaction_uid: str = "1.2.9", holder: str = "d/") -> list[Delivery]:
    leased = ledger.commitments.lease(
        "pacs", holder, 99, transaction_uid=transaction_uid, lease_seconds=60
    )
    ledger.commitments.asked(leased, again_in=3600)
    return leased


def answer(
    ledger: Ledger,
    committed: list[Reference],
    failed: dict[Reference, int] | None = None,
    transaction_uid: str = "1.2.9",
) -> list[Delivery]:
    return ledger.commitments.answered(
        transaction_uid, committed, failed or {}, again_in=lambda n: 10.0 * n, maximum_refusals=3
    )


def sent(deliveries: list[Delivery]) -> list[Reference]:
    return [each.sent for each in deliveries if each.sent is not None]


def state(ledger: Ledger, job_id: str) -> tuple[JobState, Reason | None]:
    job = ledger.queries.job(job_id)
    assert job is not None
    return job.state, job.reason


def test_a_stored_output_keeps_its_job_in_flight_until_it_is_committed(
    ledger: Ledger, instance: Maker
) -> None:
    job_id = report(ledger, instance())
    store(ledger)
    assert state(ledger, job_id) == (JobState.REPORTED, None)
    assert ledger.queries.job_counts().in_flight == 1
    assert ledger.queries.delivery_counts() == {("pacs", DeliveryState.STORED): 2}
    due = ledger.queries.due()
    assert (due.deliver, due.commit) == ({}, {"pacs": 2})
    assert ledger.deliveries.lease("pacs", "d/", 9, lease_seconds=60) == [], "not sent again"
    first, second = ask(ledger)
    assert (ledger.queries.due().commit, list(ledger.queries.due().oldest_commit_at)) == (
        {},
        ["pacs"],
    )
    assert ledger.commitments.is_awaited("1.2.9")
    answer(ledger, sent([first]))
    assert state(ledger, job_id) == (JobState.REPORTED, None)
    assert ledger.commitments.is_awaited("1.2.9")
    answer(ledger, sent([first, second]))
    assert state(ledger, job_id) == (JobState.DELIVERED, None)
    assert not ledger.commitments.is_awaited("1.2.9")
    kept = ledger.queries.deliveries(job_id)
    assert [(each.status, each.holder, each.due_at) for each in kept] == [(0xB000, None, None)] * 2
    assert ledger.queries.job_counts().balance == 0


def test_what_was_really_sent_is_what_is_committed(ledger: Ledger, instance: Maker) -> None:
    job_id = report(ledger, instance())
    report_, overlay = ledger.deliveries.lease("pacs", "d/", 9, lease_seconds=60)
    ledger.deliveries.stored(report_, status=0, sent=FALLBACK)
    ledger.deliveries.delivered(overlay, status=0)
    (asked,) = ask(ledger)
    assert asked.sent == FALLBACK
    plain = Reference(asked.sop_class_uid, asked.sop_instance_uid)
    assert answer(ledger, [plain], {Reference(FALLBACK.sop_class_uid, "2.25.8"): 0x0112}) == []
    assert state(ledger, job_id) == (JobState.REPORTED, None)
    answer(ledger, [FALLBACK])
    assert state(ledger, job_id) == (JobState.DELIVERED, None)
    assert [job.id for job in ledger.queries.find("2.25.9")] == [job_id]


def test_an_answer_that_comes_before_the_request_is_known_to_have_got_through_wins(
    ledger: Ledger, instance: Maker
) -> None:
    job_id = report(ledger, instance())
    store(ledger)
    leased = ledger.commitments.lease("pacs", "d/", 9, transaction_uid="1.2.9", lease_seconds=60)
    answer(ledger, sent(leased))
    before = ledger.queries.deliveries(job_id)
    ledger.commitments.asked(leased, again_in=3600)
    ledger.commitments.postpone(leased, again_in=5, why="no-answer")
    with pytest.raises(StaleLeaseError):
        ledger.deliveries.park(leased[0], Reason.NOT_COMMITTED)
    assert ledger.queries.deliveries(job_id) == before
    assert state(ledger, job_id) == (JobState.DELIVERED, None)


def test_a_failed_output_is_sent_again_and_only_so_often(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    job_id = report(ledger, instance())
    for refusals in (1, 2, 3):
        store(ledger)
        asked = ask(ledger, f"1.2.{refusals}")
        committed = sent([each for each in asked if each.kind == "overlay"])
        failed = dict.fromkeys(sent([each for each in asked if each.kind == "sr"]), 0x0112)
        changed = answer(ledger, committed, failed, f"1.2.{refusals}")
        (pending,) = (each for each in changed if each.kind == "sr")
        assert pending.refusals == refusals
        if refusals < 3:
            assert pending.state is DeliveryState.PENDING
            assert pending.due_at == clock.now + 10 * refusals
        clock.pass_seconds(100)
    assert state(ledger, job_id) == (JobState.PARKED, Reason.NOT_COMMITTED)
    failures = [e.detail["failure"] for e in ledger.queries.trace(job_id) if "failure" in e.detail]
    assert failures == ["0x0112"] * 3
    ledger.jobs.requeue(job_id, to(["pacs"]))
    (pending,) = ledger.deliveries.lease("pacs", "d/", 9, lease_seconds=60)
    assert (pending.kind, pending.refusals, pending.transaction_uid) == ("sr", 0, None)


def test_only_a_failure_of_the_last_request_counts_but_a_commitment_of_any(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    job_id = report(ledger, instance())
    store(ledger)
    references = sent(ask(ledger, "1.2.1"))
    clock.pass_seconds(3601)
    ask(ledger, "1.2.2")
    assert answer(ledger, [], dict.fromkeys(references, 0x0112), "1.2.1") == []
    assert len(answer(ledger, references[:1], {}, "1.2.1")) == 1
    assert answer(ledger, references, {}, "1.2.3") == [], "no such transaction"
    assert len(answer(ledger, [], {references[1]: 0x0112}, "1.2.2")) == 1
    assert answer(ledger, references, {}, "1.2.1") == [], "that copy failed meanwhile"
    states = {each.kind: each.state for each in ledger.queries.deliveries(job_id)}
    assert sorted(states.values()) == [DeliveryState.DELIVERED, DeliveryState.PENDING]


def test_a_dead_workers_request_is_repeated_at_once(ledger: Ledger, instance: Maker) -> None:
    report(ledger, instance())
    store(ledger)
    first = ledger.commitments.lease("pacs", "dead/", 9, transaction_uid="1.2.1", lease_seconds=60)
    assert ask(ledger, "1.2.2") == []
    assert ledger.release("dead/") == 2
    again = ask(ledger, "1.2.2")
    assert [each.id for each in again] == [each.id for each in first]
    answer(ledger, sent(first), {}, "1.2.1")
    assert ledger.queries.delivery_counts() == {("pacs", DeliveryState.DELIVERED): 2}


def test_results_that_come_at_once_end_every_job(ledger: Ledger, instance: Maker) -> None:
    jobs = [report(ledger, instance(n), n) for n in range(8)]
    store(ledger)
    references = sent(ask(ledger))

    def some(n: int) -> None:
        answer(ledger, references[n::3] + references[: n + 4])

    with ThreadPoolExecutor(4) as listeners:
        list(listeners.map(some, [0, 1, 2, 0]))
    assert {state(ledger, job_id)[0] for job_id in jobs} == {JobState.DELIVERED}


def test_nothing_is_requested_while_the_breaker_is_open(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    report(ledger, instance())
    store(ledger)
    ledger.deliveries.open_breaker("pacs", lambda _: 30)
    assert (ask(ledger), ledger.queries.due().commit) == ([], {})
    clock.pass_seconds(31)
    assert len(ask(ledger)) == 2


def test_what_is_stored_at_a_removed_destination_is_parked(ledger: Ledger, instance: Maker) -> None:
    job_id = report(ledger, instance())
    store(ledger)
    references = sent(ask(ledger))
    assert ledger.deliveries.park_unknown(["another"]) == 2
    assert state(ledger, job_id) == (JobState.PARKED, Reason.DESTINATION_REMOVED)
    assert answer(ledger, references) == []


def test_a_request_is_kept_until_its_result_is_reported(
    ledger: Ledger, instance: Maker, clock: Clock
) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    ledger.commitment_requests.receive("MODALITY", "1.2.1", [A, B])
    ledger.commitment_requests.receive("MODALITY", "1.2.1", [A, B])
    ledger.commitment_requests.receive("ANOTHER", "1.2.1", [A])
    with pytest.raises(InUseError):
        ledger.commitment_requests.receive("MODALITY", "1.2.1", [A])
    due = ledger.queries.due()
    assert (due.answer, due.oldest_answer_at) == (2, clock.now)
    first, second = ledger.commitment_requests.lease("d/", 9, lease_seconds=60)
    assert first.instances == (A, B)
    assert ledger.queries.due().answer == 0
    assert ledger.commitment_requests.lease("d/", 9, lease_seconds=60) == []
    ledger.commitment_requests.postpone(second, again_in=30, refused=True)
    ledger.commitment_requests.close(first, [job_id])
    (event,) = (e for e in ledger.queries.trace(job_id) if e.name == "instance-committed")
    assert event.detail == {"to": "MODALITY", "transaction_uid": "1.2.1"}
    clock.pass_seconds(31)
    (again,) = ledger.commitment_requests.lease("d/", 9, lease_seconds=60)
    assert (again.id, again.attempt, again.refusals) == (second.id, 2, 1)
    for write in (
        ledger.commitment_requests.give_up,
        lambda each: ledger.commitment_requests.close(each, []),
    ):
        with pytest.raises(StaleLeaseError):
            write(second)
    ledger.commitment_requests.give_up(again)
    assert ledger.queries.due().oldest_answer_at is None


def test_the_requests_of_a_dead_worker_are_due_at_once(ledger: Ledger) -> None:
    ledger.commitment_requests.receive("MODALITY", "1.2.1", [A])
    (leased,) = ledger.commitment_requests.lease("dead/", 9, lease_seconds=60)
    assert ledger.release("dead/") == 1
    assert ledger.queries.due().answer == 1
    (again,) = ledger.commitment_requests.lease("d/", 9, lease_seconds=60)
    assert (again.id, again.attempt) == (leased.id, 2)


def test_a_stale_worker_does_not_close_another_request_with_the_same_row_id(
    ledger: Ledger,
) -> None:
    ledger.commitment_requests.receive("MODALITY", "1.2.1", [A])
    (stale,) = ledger.commitment_requests.lease("slow/", 9, lease_seconds=60)
    ledger.commitment_requests.give_up(stale)
    ledger.commitment_requests.receive("MODALITY", "1.2.2", [A])
    (fresh,) = ledger.commitment_requests.lease("fast/", 9, lease_seconds=60)
    assert fresh.attempt == stale.attempt
    with pytest.raises(StaleLeaseError):
        ledger.commitment_requests.give_up(stale)
    assert ledger.queries.due().oldest_answer_at is not None
    ledger.commitment_requests.give_up(fresh)
    assert ledger.queries.due().oldest_answer_at is None


def test_the_same_request_by_many_associations_at_once_is_one(ledger: Ledger) -> None:
    with ThreadPoolExecutor(6) as associations:
        list(
            associations.map(
                lambda _: ledger.commitment_requests.receive("AE", "1.2.1", [A]), range(12)
            )
        )
    assert len(ledger.commitment_requests.lease("d/", 99, lease_seconds=60)) == 1


def test_one_sender_may_not_fill_the_ledger(ledger: Ledger) -> None:
    for number in range(MOST_OPEN):
        ledger.commitment_requests.receive("EAGER", f"1.2.{number}", [A])
    with pytest.raises(TooManyError):
        ledger.commitment_requests.receive("EAGER", "1.3", [A])
    ledger.commitment_requests.receive("MODEST", "1.3", [A])


def test_every_job_of_an_instance_is_found(ledger: Ledger, instance: Maker) -> None:
    first, second = instance(), instance(copy=1, bytes_="b")
    for each in (first, second, instance(2)):
        ledger.jobs.receive(each)
    unknown = [Reference("1.2", f"9.{number}") for number in range(999)]
    found = ledger.commitment_requests.jobs_of([Reference("any", first.sop_instance_uid), *unknown])
    assert {uid: sorted(jobs) for uid, jobs in found.items()} == {
        first.sop_instance_uid: [
            (first.job_id, first.sop_class_uid),
            (second.job_id, second.sop_class_uid),
        ]
    }
