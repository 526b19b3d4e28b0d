"""Several associations to one destination: what they share, and what the destination allows."""

import sqlite3
import threading
import time
from collections.abc import Callable
from io import BytesIO

import pytest
from peers.dcmtk import StoreSCP
from peers.orthanc import OrthancServer
from peers.scripted_pacs import ABORT, SC, ScriptedPacs
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.delivery_worker import NAME, DeliverySetup
from support.lobar_process import wait_for

from service.domain.delivery import DeliveryState
from service.domain.job import JobState
from service.telemetry.metrics import DELIVERIES
from service.telemetry.progress import Progress
from workers.delivery.pool.outstanding import MOST_UNRECORDED

JOBS = 12


Make = Callable[..., DeliverySetup]


def slowly(_: Dataset) -> int:
    time.sleep(0.05)
    return 0


def all_delivered(here: DeliverySetup, jobs: list[str]) -> bool:
    return {here.workspace.stands(job_id)[0] for job_id in jobs} == {JobState.DELIVERED}


def unreachable() -> float:
    return float(DELIVERIES.labels(destination=NAME, outcome="unreachable")._value.get())


def test_where_much_waits_several_associations_send_and_each_study_keeps_its_order(
    setup: Make,
) -> None:
    peer = ScriptedPacs(answer=slowly)
    here = setup(peer, associations=3)
    jobs = [here.report() for _ in range(JOBS)]
    with peer.running():
        here.deliver()
    assert all_delivered(here, jobs)
    assert peer.open_at_once == 3
    assert len(peer.received) == 2 * JOBS, "nothing was sent twice"
    made = [each for job in jobs for each in here.ledger.queries.outputs(job)]
    kinds = {each.sop_instance_uid: each.kind for each in made}
    studies: dict[str, list[str]] = {}
    for _, _, content in peer.received:
        dataset = dcmread(BytesIO(content), force=True)
        studies.setdefault(dataset.StudyInstanceUID, []).append(kinds[dataset.SOPInstanceUID])
    assert list(studies.values()) == [["sr", "overlay"]] * JOBS


def test_a_destination_gets_one_association_while_little_waits(setup: Make) -> None:
    peer = ScriptedPacs(answer=slowly)
    here = setup(peer, associations=3)
    jobs = [here.report() for _ in range(2)]
    with peer.running():
        here.deliver()
    assert all_delivered(here, jobs)
    assert peer.associations == 1


def test_a_destination_that_rejects_a_second_association_gets_all_over_the_first(
    setup: Make,
) -> None:
    peer = ScriptedPacs(answer=slowly, most_associations=1)
    here = setup(peer, associations=3)
    before = unreachable()
    with peer.running():
        for _ in range(2):
            jobs = [here.report() for _ in range(JOBS)]
            here.deliver()
            assert all_delivered(here, jobs)
    assert peer.open_at_once == 1
    assert unreachable() == before, "the destination is not out of reach"


@pytest.mark.dcmtk
def test_a_destination_that_serves_one_association_after_the_other_gets_all(
    setup: Make, storescp: Callable[..., StoreSCP]
) -> None:
    receiver = storescp()
    here = setup(receiver, associations=4)
    for _ in range(3):
        jobs = [here.report() for _ in range(JOBS)]
        here.deliver()
        assert all_delivered(here, jobs)
    assert len(receiver.received()) == 3 * 2 * JOBS


@pytest.mark.orthanc
def test_orthanc_gets_all_over_several(setup: Make, orthanc: OrthancServer) -> None:
    peer = ScriptedPacs(ae_title=orthanc.ae_title, port=orthanc.dicom_port)  # not running: where
    here = setup(peer, associations=4)
    jobs = [here.report() for _ in range(JOBS)]
    here.deliver()
    assert all_delivered(here, jobs)
    kept = {each["SOPInstanceUID"] for each in orthanc.instances()}
    sent = {each.sop_instance_uid for job in jobs for each in here.ledger.queries.outputs(job)}
    assert kept == sent


def test_the_next_output_is_on_its_way_while_an_answer_becomes_durable(setup: Make) -> None:
    peer = ScriptedPacs()
    here = setup(peer, associations=1)
    jobs = [here.report() for _ in range(JOBS)]
    file = here.workspace.settings.ledger_url.removeprefix("sqlite:///")
    busy = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    locked: list[bool] = []

    def lock_once(_: Dataset) -> int:
        if not locked:
            locked.append(True)
            busy.execute("BEGIN IMMEDIATE")
        return 0

    peer.answer = lock_once
    with peer.running():
        sending = threading.Thread(target=here.deliver)
        sending.start()
        wait_for(lambda: len(peer.received) == MOST_UNRECORDED)
        states = {each.state for job in jobs for each in here.ledger.queries.deliveries(job)}
        assert states == {DeliveryState.PENDING}, "no answer is recorded yet"
        assert len(peer.received) == MOST_UNRECORDED, "nor are there more of them"
        busy.execute("ROLLBACK")
        sending.join(60)
    busy.close()
    assert all_delivered(here, jobs)
    assert len(peer.received) == 2 * JOBS


def test_an_association_that_is_lost_leaves_its_work_to_the_others(setup: Make) -> None:
    peer = ScriptedPacs(answer=slowly)
    here = setup(peer, associations=3)
    jobs = [here.report() for _ in range(JOBS)]
    poison = here.of(jobs[JOBS // 2], "overlay").sop_instance_uid

    def abort_on_one(dataset: Dataset) -> int:
        return ABORT if dataset.SOPInstanceUID == poison else slowly(dataset)

    peer.answer = abort_on_one
    with peer.running():
        here.deliver()
    waiting = [
        each
        for job in jobs
        for each in here.ledger.queries.deliveries(job)
        if each.state is not DeliveryState.DELIVERED
    ]
    assert [(each.sop_instance_uid, each.holder, each.refusals) for each in waiting] == [
        (poison, None, 0)
    ]


def test_one_association_that_is_stuck_is_noticed_beside_another_that_is_not(
    setup: Make,
) -> None:
    seconds = [0.0]
    progress = Progress(lambda: seconds[0])
    peer = ScriptedPacs()
    here = setup(peer, associations=2, progress=progress)
    for _ in range(JOBS):
        here.report()
    held, ends = threading.Event(), threading.Event()

    def hang_on_one(dataset: Dataset) -> int:
        if dataset.SOPClassUID == SC and peer.open_now == 2 and not held.is_set():
            held.set()
            ends.wait(15)
        return slowly(dataset)

    peer.answer = hang_on_one
    with peer.running(), progress.working(NAME, 1000):
        sending = threading.Thread(target=here.deliver)
        sending.start()
        assert held.wait(20)
        wait_for(lambda: pass_a_second(seconds, progress))
        stuck = progress.stuck_work()
        ends.set()
        sending.join(60)
    assert stuck is not None
    assert stuck.name in {f"{NAME}/1", f"{NAME}/2"}


def pass_a_second(seconds: list[float], progress: Progress) -> bool:
    seconds[0] += 5
    return progress.stuck_work() is not None
