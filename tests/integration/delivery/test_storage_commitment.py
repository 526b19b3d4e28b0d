"""Storage commitment as SCU: no output is delivered before the destination commits itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from peers.committing_pacs import Asked, CommittingPacs, send_result, telling
from peers.scripted_pacs import EXPLICIT, SC, SR, SR_3D, ScriptedPacs
from support.delivery_worker import NAME, DeliverySetup
from support.routes import to
from support.system.ports import free_port

from service.dicom.storage_commitment import new_transaction_uid
from service.domain.delivery import DeliveryState, Reference
from service.domain.job import JobState
from service.domain.reasons import Reason
from service.receiving.listener import Listener
from service.settings import DicomSettings
from service.telemetry.metrics import COMMITMENTS, COMMITMENTS_ASKED

DAY = 86_400
HOUR = 3_600
Make = Callable[..., DeliverySetup]


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Make]:
    setups: list[DeliverySetup] = []

    def make(peer: ScriptedPacs, **options: Any) -> DeliverySetup:  # noqa: ANN401 -- of `DeliverySetup`
        setups.append(DeliverySetup(tmp_path, peer, **{"commitment_seconds": HOUR, **options}))
        return setups[-1]

    yield make
    for each in setups:
        each.ledger.close()


@contextmanager
def listening(here: DeliverySetup, peer: CommittingPacs) -> Iterator[None]:
    """Run our listener on the workspace's ledger, and let the PACS know where it is."""
    dicom = DicomSettings(port=free_port())
    peer.tells = (dicom.ae_title, dicom.port)
    settings = here.workspace.settings.model_copy(update={"dicom": dicom})
    with Listener(settings, here.workspace.spool, here.ledger, lambda: None):
        yield


def states(here: DeliverySetup, job_id: str) -> set[DeliveryState]:
    return {each.state for each in here.ledger.queries.deliveries(job_id)}


def store(here: DeliverySetup) -> None:
    """Let the ledger know what is due as stored, as if the destination had answered Success."""
    for each in here.ledger.deliveries.lease(NAME, "w/", 9, lease_seconds=60):
        sent = Reference(each.sop_class_uid, each.sop_instance_uid)
        here.ledger.deliveries.stored(each, status=0, sent=sent)


def names(here: DeliverySetup, job_id: str) -> list[str]:
    """The trace of one output."""
    trace = here.ledger.queries.trace(job_id)
    return [each.name for each in trace if each.detail.get("kind") == "sr"]


def counted(outcome: str) -> float:
    return float(COMMITMENTS.labels(destination=NAME, outcome=outcome)._value.get())


def asked(outcome: str) -> float:
    return float(COMMITMENTS_ASKED.labels(destination=NAME, outcome=outcome)._value.get())


def test_an_output_is_delivered_when_the_destination_has_committed_itself_to_it(
    setup: Make,
) -> None:
    peer = CommittingPacs()
    here = setup(peer)
    job_id = here.report()
    before = counted("committed")
    with peer.running():
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert states(here, job_id) == {DeliveryState.DELIVERED}
    (request,) = peer.asked
    outputs = here.ledger.queries.outputs(job_id)
    assert set(request.instances) == {
        (each.sop_class_uid, each.sop_instance_uid) for each in outputs
    }
    assert names(here, job_id)[-3:] == ["output-stored", "commitment-asked", "output-committed"]
    assert peer.answers == [0]
    assert counted("committed") == before + 2


def test_the_result_may_come_on_an_association_of_its_own(setup: Make) -> None:
    peer = CommittingPacs(where="elsewhere")
    here = setup(peer)
    job_id = here.report()
    with peer.running(), listening(here, peer):
        here.deliver()
        assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert peer.answers == [0]


def test_without_a_result_it_is_asked_again_and_the_job_stays_reported(setup: Make) -> None:
    peer = CommittingPacs(where="nowhere")
    here = setup(peer)
    job_id = here.report()
    with peer.running():
        here.deliver()
        assert here.workspace.stands(job_id) == (JobState.REPORTED, None)
        assert here.ledger.queries.delivery_counts() == {(NAME, DeliveryState.STORED): 2}
        assert here.of(job_id).due_at == here.clock.now + HOUR
        assert here.ledger.queries.due().commit == {}
        here.deliver()
        assert len(peer.asked) == 1, "it has an hour"
        here.clock.pass_seconds(HOUR + 1)
        assert here.ledger.queries.due().commit == {NAME: 2}
        peer.where = "here"
        here.deliver()
    first, second = peer.asked
    assert first.transaction_uid != second.transaction_uid
    assert first.instances == second.instances
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert len(peer.received) == 2, "nothing was sent twice"


def test_a_late_commitment_to_an_earlier_request_counts_and_a_late_failure_does_not(
    setup: Make,
) -> None:
    peer = CommittingPacs(where="nowhere")
    here = setup(peer)
    job_id = here.report()
    with peer.running(), listening(here, peer):
        here.deliver()
        here.clock.pass_seconds(HOUR + 1)
        here.deliver()
        first, _ = peer.asked
        peer.where = "elsewhere"
        peer.commits = lambda _: 0x0112
        peer.tell(first)
        assert states(here, job_id) == {DeliveryState.STORED}
        peer.commits = lambda _: 0
        peer.tell(first)
        assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
        peer.tell(first)
    assert peer.answers == [0, 0, 0]


def test_what_is_not_committed_is_sent_again(setup: Make) -> None:
    peer = CommittingPacs()
    here = setup(peer)
    job_id = here.report()
    uid = here.of(job_id).sop_instance_uid
    peer.commits = lambda each: 0x0112 if each == uid else 0
    before = counted("failed")
    with peer.running():
        here.deliver()
        waiting = here.of(job_id)
        assert (waiting.state, waiting.refusals, waiting.transaction_uid) == (
            DeliveryState.PENDING,
            1,
            None,
        )
        assert here.of(job_id, "overlay").state is DeliveryState.DELIVERED
        peer.commits = lambda _: 0
        here.clock.pass_seconds(10)
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert sorted(peer.classes()) == sorted([SC, SR_3D, SR_3D])
    assert "output-not-committed" in names(here, job_id)
    assert counted("failed") == before + 1


def test_what_is_never_committed_is_parked_after_some_refusals_and_a_requeue_sends_it(
    setup: Make,
) -> None:
    peer = CommittingPacs(commits=lambda _: 0x0110)
    here = setup(peer, maximum_refusals=2)
    job_id = here.report()
    with peer.running():
        for _ in range(2):
            here.deliver()
            here.clock.pass_seconds(1000)
        assert here.workspace.stands(job_id) == (JobState.PARKED, Reason.NOT_COMMITTED)
        peer.commits = lambda _: 0
        here.ledger.jobs.requeue(job_id, to([NAME]))
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert len(peer.received) == 6


def test_a_stored_output_without_a_result_for_days_is_parked(setup: Make) -> None:
    peer = CommittingPacs(where="nowhere")
    here = setup(peer, give_up_days=7)
    here.clock.pass_seconds(-8 * DAY)
    old = here.report()
    store(here)
    here.clock.pass_seconds(8 * DAY)
    young = here.report()
    with peer.running():
        here.deliver()
    assert here.workspace.stands(old) == (JobState.PARKED, Reason.NOT_COMMITTED)
    assert here.workspace.stands(young) == (JobState.REPORTED, None)
    (request,) = peer.asked
    assert len(request.instances) == 2


@pytest.mark.parametrize("fault", ["refused", "not taken"])
def test_a_destination_that_does_not_take_the_request_is_asked_again_and_still_sent_to(
    setup: Make, fault: str
) -> None:
    peer = CommittingPacs(action_status=0x0110) if fault == "refused" else ScriptedPacs()
    here = setup(peer)
    job_id = here.report()
    before = asked("refused")
    with peer.running():
        here.deliver()
        assert states(here, job_id) == {DeliveryState.STORED}
        assert asked("refused") == before + 1
        other = here.report()
        here.deliver()
    assert states(here, other) == {DeliveryState.STORED}, "its breaker stays closed"
    assert names(here, job_id)[-1] == "commitment-postponed"
    with CommittingPacs(port=peer.port).running():
        here.clock.pass_seconds(1000)
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)


def test_an_unreachable_destination_opens_its_breaker_and_is_asked_when_it_is_back(
    setup: Make,
) -> None:
    peer = CommittingPacs(port=free_port())
    here = setup(peer)
    job_id = here.report()
    store(here)
    before = here.ledger.queries.due().commit
    here.deliver()
    assert states(here, job_id) == {DeliveryState.STORED}
    assert (before, here.ledger.queries.due().commit) == ({NAME: 2}, {})
    assert here.ledger.deliveries.open_breaker(NAME, float) == 2, "it was the second failure"
    here.clock.pass_seconds(1000)
    with peer.running():
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert peer.received == []


def test_commitment_is_requested_for_the_fallback_where_the_fallback_was_sent(setup: Make) -> None:
    peer = CommittingPacs(takes=[(SR, EXPLICIT), (SC, EXPLICIT)])
    here = setup(peer)
    job_id = here.report()
    with peer.running():
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    (request,) = peer.asked
    assert sorted(sop_class for sop_class, _ in request.instances) == sorted([SR, SC])
    (fallback,) = (uid for sop_class, uid in request.instances if sop_class == SR)
    assert fallback != here.of(job_id).sop_instance_uid
    assert [job.id for job in here.ledger.queries.find(fallback)] == [job_id]


def test_a_result_that_is_not_awaited_is_answered_success_and_changes_nothing(setup: Make) -> None:
    peer = CommittingPacs(where="nowhere")
    here = setup(peer)
    job_id = here.report()
    with peer.running(), listening(here, peer):
        here.deliver()
        assert peer.tells is not None
        with telling(*peer.tells, calling="ANYBODY") as association:
            instances = peer.asked[0].instances
            assert send_result(association, Asked(new_transaction_uid(), instances)) == 0
    assert states(here, job_id) == {DeliveryState.STORED}


def test_a_worker_that_dies_between_store_and_request_loses_nothing(setup: Make) -> None:
    peer = CommittingPacs()
    here = setup(peer)
    job_id = here.report()
    store(here)
    leased = here.ledger.commitments.lease(
        NAME, "w/", 9, transaction_uid=new_transaction_uid(), lease_seconds=60
    )
    assert len(leased) == 2
    with peer.running():
        here.deliver()
        assert peer.asked == [], "another worker has the lease"
        here.ledger.release("w/")
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)


def test_where_commitment_is_not_asked_for_any_more_what_is_stored_is_delivered(
    setup: Make,
) -> None:
    peer = CommittingPacs(where="nowhere")
    here = setup(peer)
    job_id = here.report()
    with peer.running():
        here.deliver()
        here.destination = here.destination.model_copy(update={"storage_commitment": False})
        here.clock.pass_seconds(HOUR + 1)
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert len(peer.asked) == 1


def test_what_is_stored_at_a_destination_that_was_removed_is_parked(setup: Make) -> None:
    peer = CommittingPacs(where="nowhere")
    here = setup(peer)
    job_id = here.report()
    with peer.running():
        here.deliver()
    assert here.ledger.deliveries.park_unknown(["another"]) == 2
    assert here.workspace.stands(job_id) == (JobState.PARKED, Reason.DESTINATION_REMOVED)
