"""Delivery of pending outputs, whatever the destination does; none blocks those behind it."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from peers.dcmtk import StoreSCP
from peers.redis_server import RedisServer
from peers.scripted_pacs import ABORT, EXPLICIT, SC, SR, SR_3D, ScriptedPacs
from pydicom.dataset import Dataset
from support.delivery_worker import NAME, DeliverySetup
from support.lobar_process import wait_for
from support.routes import to
from support.system.ports import free_port

from service.dispatch.notifier import Notifier
from service.domain.delivery import Delivery, DeliveryState
from service.domain.job import JobState
from service.domain.queues import DELIVER
from service.domain.reasons import Reason
from service.settings import Destination, child_environment
from service.storage.ledger import Ledger
from service.supervision.supervisor import lobar_command
from service.telemetry.metrics import DELIVERIES, STALE_LEASES
from workers.delivery.storage_commitment.request import CommitmentRequester
from workers.tasks.deliver import DestinationQueues

DAY = 86_400


WAYS = {
    "fast": {"associations": 4, "direct_sending": True},
    "plain": {"associations": 1, "direct_sending": False},
}


@pytest.fixture(params=WAYS)
def setup(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., DeliverySetup]]:
    """`setup(peer)` makes a worker that sends as fast as it can, and one with that switched off."""
    setups: list[DeliverySetup] = []

    def make(
        peer: ScriptedPacs | StoreSCP,
        *,
        commitment_seconds: float | None = None,
        **deliver: Any,  # noqa: ANN401 -- any of the section
    ) -> DeliverySetup:
        options = WAYS[request.param] | deliver
        made = DeliverySetup(tmp_path, peer, commitment_seconds=commitment_seconds, **options)
        setups.append(made)
        return setups[-1]

    yield make
    for each in setups:
        each.ledger.close()


Make = Callable[..., DeliverySetup]


def answering(status: int, to: str | None = None) -> Callable[[Dataset], int]:
    """Answer every object, or those of one SOP class, with a status; the others with Success."""
    return lambda dataset: status if to in {None, dataset.SOPClassUID} else 0x0000


def outcomes(name: str) -> float:
    return float(DELIVERIES.labels(destination=NAME, outcome=name)._value.get())


@pytest.mark.dcmtk
def test_dcmtk_gets_every_output_and_the_job_ends(
    setup: Make, storescp: Callable[..., StoreSCP]
) -> None:
    receiver = storescp()
    here = setup(receiver)
    job_id = here.report()
    here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert len(receiver.received()) == 2
    for each in here.ledger.queries.deliveries(job_id):
        assert (each.state, each.status, each.holder) == (DeliveryState.DELIVERED, 0, None)


def test_everything_that_is_due_goes_over_one_association_while_little_waits(setup: Make) -> None:
    peer = ScriptedPacs()
    here = setup(peer, batch_size=4)
    jobs = [here.report() for _ in range(3)]
    with peer.running():
        here.deliver()
    assert [here.workspace.stands(job_id)[0] for job_id in jobs] == [JobState.DELIVERED] * 3
    assert (len(peer.received), peer.associations) == (6, 1)


def test_a_warning_counts_as_delivered_and_is_kept(setup: Make) -> None:
    peer = ScriptedPacs(answer=answering(0xB000))
    here = setup(peer)
    job_id = here.report()
    before = outcomes("warning")
    with peer.running():
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert here.of(job_id).status == 0xB000
    assert outcomes("warning") == before + 2


def test_a_full_destination_is_tried_again_and_uses_up_no_refusal(setup: Make) -> None:
    peer = ScriptedPacs(answer=answering(0xA700))
    here = setup(peer, maximum_refusals=2)
    job_id = here.report()
    pauses = []
    with peer.running():
        for _ in range(5):
            here.deliver()
            delivery = here.of(job_id)
            assert (delivery.state, delivery.status) == (DeliveryState.PENDING, 0xA700)
            assert delivery.refusals == 0
            assert delivery.due_at is not None
            pauses.append(delivery.due_at - here.clock.now)
            here.clock.pass_seconds(1000)
        assert pauses[-1] > pauses[0], "it is asked less and less often"
        peer.answer = answering(0x0000)
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)


def test_a_refusal_is_tried_a_few_times_and_then_parked_while_the_rest_arrives(setup: Make) -> None:
    peer = ScriptedPacs(answer=answering(0xC000, to=SR_3D))
    here = setup(peer, maximum_refusals=3)
    job_id = here.report()
    with peer.running():
        for refusals in (1, 2):
            here.deliver()
            assert (here.of(job_id).state, here.of(job_id).refusals) == (
                DeliveryState.PENDING,
                refusals,
            )
            here.clock.pass_seconds(1000)
        assert here.workspace.stands(job_id) == (JobState.REPORTED, None)
        here.deliver()
        here.clock.pass_seconds(1000)
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.PARKED, Reason.DESTINATION_REFUSED)
    assert (here.of(job_id).reason, here.of(job_id).status) == (Reason.DESTINATION_REFUSED, 0xC000)
    assert here.of(job_id, "overlay").state is DeliveryState.DELIVERED
    assert peer.classes().count(SR_3D) == 3


def test_a_requeue_sends_what_was_refused_and_nothing_twice(setup: Make) -> None:
    peer = ScriptedPacs(answer=answering(0xC000, to=SR_3D))
    here = setup(peer, maximum_refusals=1)
    job_id = here.report()
    with peer.running():
        here.deliver()
        assert here.workspace.stands(job_id)[0] is JobState.PARKED
        peer.answer = answering(0)
        here.ledger.jobs.requeue(job_id, to([NAME]))
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert sorted(peer.classes()) == sorted([SC, SR_3D, SR_3D])


def test_an_object_that_the_destination_has_no_context_for_is_refused(setup: Make) -> None:
    peer = ScriptedPacs(takes=[(SC, EXPLICIT)])
    here = setup(peer, maximum_refusals=1)
    job_id = here.report()
    with peer.running():
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.PARKED, Reason.DESTINATION_REFUSED)
    assert here.of(job_id).status == 0x0122
    assert peer.classes() == [SC]


def test_a_destination_of_comprehensive_sr_only_gets_the_fallback(setup: Make) -> None:
    peer = ScriptedPacs(takes=[(SR, EXPLICIT), (SC, EXPLICIT)])
    here = setup(peer)
    job_id = here.report()
    with peer.running():
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert sorted(peer.classes()) == sorted([SC, SR])


def test_outputs_are_sent_byte_for_byte(setup: Make) -> None:
    peer = ScriptedPacs()
    here = setup(peer)
    here.report()
    with peer.running():
        here.deliver()
    for kept in here.workspace.outbox().values():
        assert any(kept.endswith(sent) and len(sent) > 500 for _, _, sent in peer.received)


@pytest.mark.parametrize("fault", ["no listener", "rejected", "nothing taken", "unknown host"])
def test_an_unreachable_destination_opens_its_breaker_and_its_outputs_stay_pending(
    setup: Make, fault: str
) -> None:
    peer = ScriptedPacs(port=free_port())
    here = setup(peer)
    job_id = here.report()
    before = outcomes("unreachable")
    with failing(here, peer, fault):
        here.deliver()
    delivery = here.of(job_id)
    assert (delivery.state, delivery.refusals, delivery.status, delivery.holder) == (
        DeliveryState.PENDING,
        0,
        None,
        None,
    )
    assert delivery.due_at == here.clock.now, "only the breaker delays it"
    assert here.ledger.queries.due().deliver == {}
    assert outcomes("unreachable") == before + 1
    here.clock.pass_seconds(1000)
    assert here.ledger.queries.due().deliver == {NAME: 2}
    with ScriptedPacs(port=peer.port).running():
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)


@contextmanager
def failing(here: DeliverySetup, peer: ScriptedPacs, fault: str) -> Iterator[None]:
    if fault == "rejected":
        peer.calling = "ANOTHER"
    elif fault == "nothing taken":
        peer.takes, peer.echoes = [("1.2.840.10008.5.1.4.1.1.2", EXPLICIT)], False
    elif fault == "unknown host":
        known = here.destination
        here.destination = known.model_copy(update={"host": "no-such-host.invalid"})
        yield
        here.destination = known
        return
    else:
        yield
        return
    with peer.running():
        yield


def test_the_longer_a_destination_is_unreachable_the_less_often_it_is_tried(setup: Make) -> None:
    here = setup(ScriptedPacs(port=free_port()), backoff_seconds=10, maximum_backoff_seconds=80)
    here.report()
    pauses = []
    for _ in range(6):
        here.deliver()
        pauses.append(here.breaker_pause())
        here.clock.pass_seconds(1000)
    for pause, expected in zip(pauses, (10, 20, 40, 80, 80, 80), strict=True):
        assert 0.75 * expected <= pause <= 1.25 * expected + 0.5


def test_an_object_that_makes_the_destination_abort_holds_up_no_other(setup: Make) -> None:
    peer = ScriptedPacs()
    here = setup(peer)
    jobs = [here.report() for _ in range(3)]
    (poison,) = (each.sop_instance_uid for each in here.ledger.queries.outputs(jobs[0])[1:])
    peer.answer = lambda dataset: ABORT if dataset.SOPInstanceUID == poison else 0
    with peer.running():
        here.deliver()
        here.deliver()  # as at the next wake-up
    assert here.workspace.stands(jobs[0]) == (JobState.REPORTED, None)
    assert [here.workspace.stands(job_id)[0] for job_id in jobs[1:]] == [JobState.DELIVERED] * 2
    waiting = here.of(jobs[0])
    assert (waiting.sop_instance_uid, waiting.refusals, waiting.holder) == (poison, 0, None)
    assert waiting.due_at is not None
    assert waiting.due_at > here.clock.now
    assert here.of(jobs[0], "overlay").state is DeliveryState.DELIVERED
    peer.answer = answering(0)
    here.clock.pass_seconds(10)
    with peer.running():
        here.deliver()
    assert here.workspace.stands(jobs[0]) == (JobState.DELIVERED, None)


@pytest.mark.parametrize("damage", ["gone", "empty", "text"])
def test_an_output_that_is_damaged_is_parked_and_holds_up_no_other(
    setup: Make, damage: str
) -> None:
    peer = ScriptedPacs()
    here = setup(peer)
    jobs = [here.report() for _ in range(2)]
    file = here.workspace.output(jobs[0], "sr")
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(b"" if damage == "empty" else b"not what was put there")
    with peer.running():
        here.deliver()
    assert here.workspace.stands(jobs[0]) == (JobState.PARKED, Reason.BYTES_MISSING)
    assert here.workspace.stands(jobs[1]) == (JobState.DELIVERED, None)
    assert len(peer.received) == 3


def test_an_output_that_cannot_be_read_now_waits_and_holds_up_no_other(setup: Make) -> None:
    peer = ScriptedPacs()
    here = setup(peer)
    jobs = [here.report() for _ in range(2)]
    file = here.workspace.output(jobs[0], "sr")
    aside = file.rename(file.with_suffix(".aside"))
    file.mkdir()
    with peer.running():
        here.deliver()
        assert here.workspace.stands(jobs[0]) == (JobState.REPORTED, None)
        assert here.workspace.stands(jobs[1]) == (JobState.DELIVERED, None)
        file.rmdir()
        aside.rename(file)
        here.clock.pass_seconds(10)
        here.deliver()
    assert here.workspace.stands(jobs[0]) == (JobState.DELIVERED, None)


def test_after_days_without_contact_outputs_are_parked_until_they_are_requeued(
    setup: Make,
) -> None:
    here = setup(ScriptedPacs(port=free_port()), give_up_days=7)
    here.clock.pass_seconds(-8 * DAY)
    old = here.report()
    here.clock.pass_seconds(8 * DAY)
    young = here.report()
    here.deliver()
    assert here.workspace.stands(old) == (JobState.PARKED, Reason.DESTINATION_UNREACHABLE)
    assert here.workspace.stands(young) == (JobState.REPORTED, None)
    here.ledger.jobs.requeue(old, to([NAME]))
    here.ledger.deliveries.close_breaker(NAME)
    here.deliver()
    assert here.workspace.stands(old) == (JobState.REPORTED, None), "its time begins anew"


def test_a_destination_that_stays_full_for_too_long_is_given_up(setup: Make) -> None:
    peer = ScriptedPacs(answer=answering(0xA700))
    here = setup(peer, give_up_days=7)
    here.clock.pass_seconds(-8 * DAY)
    job_id = here.report()
    here.clock.pass_seconds(8 * DAY)
    with peer.running():
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.PARKED, Reason.DESTINATION_REFUSED)
    assert here.of(job_id).status == 0xA700


def test_a_worker_whose_lease_ran_out_records_no_response(setup: Make) -> None:
    peer = ScriptedPacs()
    here = setup(peer)
    job_id = here.report()
    taken: list[Delivery] = []

    def take_over(_: object) -> int:
        if not taken:
            here.clock.pass_seconds(here.workspace.settings.deliver.lease_seconds + 1)
            taken.extend(here.ledger.deliveries.lease(NAME, "other/", 32, lease_seconds=60))
        return 0xC000

    peer.answer = take_over
    before = STALE_LEASES._value.get()
    with peer.running():
        here.deliver()
    assert len(taken) == 2
    for kind in ("sr", "overlay"):
        delivery = here.of(job_id, kind)
        assert (delivery.holder, delivery.refusals, delivery.status) == ("other/", 0, None)
    assert STALE_LEASES._value.get() == before + 2


def test_a_worker_that_is_to_stop_releases_what_it_has_not_sent(setup: Make) -> None:
    peer = ScriptedPacs()
    here = setup(peer)
    jobs = [here.report() for _ in range(2)]

    def stop(_: object) -> int:
        here.stopping.set()
        return 0

    peer.answer = stop
    with peer.running():
        here.deliver()
    assert len(peer.received) == 1
    states = [each for job_id in jobs for each in here.ledger.queries.deliveries(job_id)]
    assert [each.holder for each in states] == [None] * 4
    waiting = [each for each in states if each.state is DeliveryState.PENDING]
    assert [each.due_at for each in waiting] == [here.clock.now] * 3


def test_what_becomes_due_as_a_thread_ends_is_not_left_to_the_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = ScriptedPacs()
    here = DeliverySetup(tmp_path, peer, keep_open_seconds=0)
    queues = DestinationQueues(here.context)
    jobs, looks = [here.report()], 0

    def look(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- as the ledger's own
        nonlocal looks
        looks += 1
        return lease(*arguments, **options)

    def request_due(_: CommitmentRequester, __: Destination) -> None:
        """Have another output due, and notified of, after the thread has looked for the last."""
        if len(jobs) == 1:
            jobs.append(here.report())
            with ThreadPoolExecutor(1) as other:
                other.submit(queues.serve, NAME).result()

    lease = here.ledger.deliveries.lease
    monkeypatch.setattr(here.ledger.deliveries, "lease", look)
    monkeypatch.setattr(CommitmentRequester, "request_due", request_due)
    with peer.running():
        queues.serve(NAME)
    assert [here.workspace.stands(job_id)[0] for job_id in jobs] == [JobState.DELIVERED] * 2
    assert looks == 4, "twice for each thread's turn: what was notified of is looked for once"
    here.ledger.close()


def test_a_real_worker_never_opens_more_associations_than_it_may(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    def take_a_while(_: object) -> int:
        time.sleep(0.05)
        return 0

    peer, south = ScriptedPacs(answer=take_a_while), ScriptedPacs(ae_title="SOUTH")
    with peer.running(), south.running():
        here = DeliverySetup(tmp_path, peer)
        jobs = [here.report() for _ in range(4)]
        worker = subprocess.Popen(
            lobar_command("worker", "deliver"), env=environment(here, south, redis_server)
        )
        notifier = Notifier(redis_server.url)
        try:
            for _ in range(6):
                notifier.notify(DELIVER, NAME)
                notifier.notify(DELIVER, "south")
                notifier.notify(DELIVER, "removed")
                time.sleep(0.02)
            wait_for(lambda: len(peer.received) == 2 * len(jobs))
            wait_for(lambda: here.workspace.stands(jobs[-1])[0] is JobState.DELIVERED)
        finally:
            notifier.close()
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(60) == 0
        assert peer.open_at_once == 1
        assert len(peer.received) == 2 * len(jobs), "nothing was sent twice"
        assert beats(here.ledger) == [], "it withdrew its heartbeat"
        here.ledger.close()


def environment(here: DeliverySetup, south: ScriptedPacs, redis: RedisServer) -> dict[str, str]:
    destinations = ",".join(
        f'{{"name":"{name}","ae_title":"{peer.ae_title}","host":"127.0.0.1","port":{peer.port},'
        '"associations":1}'
        for name, peer in ((NAME, here.destination), ("south", south))
    )
    configuration = here.workspace.settings.state_dir / "lobar.toml"
    configuration.touch()
    return child_environment(
        LOBAR_CONFIG=str(configuration),
        LOBAR_STATE_DIR=str(here.workspace.settings.state_dir),
        LOBAR_REDIS__URL=redis.url,
        LOBAR_DESTINATIONS=f"[{destinations}]",
        LOBAR_DELIVER__BATCH_SIZE="1",  # so that there is something left for another to take
        LOBAR_LOG__LEVEL="error",
    )


def beats(ledger: Ledger) -> list[str]:
    return [beat.holder for beat in ledger.heartbeats.alive(10**9)]
