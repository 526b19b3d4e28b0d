"""Decoding, prediction and reporting of different instances overlap; each waits for no other.

Ledger, spool and reports are the real ones; the predictor is a stand-in, whose number is a mean.
Every wait ends with an error where the other step does not happen meanwhile.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from structlog.testing import capture_logs
from support.inference_worker import PACS, StandInPredictor, Workspace
from synthetic.objects import make_cr

from service.domain.job import JobState
from service.storage.spool import Spool
from workers.tasks.infer import _serving

OTHER_ROWS = 300
PATIENCE = 20


class WaitingSpool(Spool):
    """A spool whose first output is written when a condition is met."""

    def __init__(self, root: Path, is_met: Callable[[], bool]) -> None:
        super().__init__(root)
        self._is_met = is_met

    def put_output(self, job_id: str, kind: str, sop_instance_uid: str, encoded: bytes) -> Path:
        wait_until(self._is_met)
        return super().put_output(job_id, kind, sop_instance_uid, encoded)


def wait_until(is_true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < until, "the other step was not taken meanwhile"
        time.sleep(0.005)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(tmp_path, destinations=(PACS,), infer={"overlap": True})
    yield workspace
    workspace.ledger.close()


def infer(workspace: Workspace, predictor: StandInPredictor, threads: int = 4) -> None:
    with ThreadPoolExecutor(threads) as decoders:
        workspace.worker(decoders, predictor).infer_due()


def reported(workspace: Workspace, *jobs: str) -> bool:
    return all(workspace.job(each).state is JobState.REPORTED for each in jobs)


def test_an_instance_is_predicted_while_another_is_decoded(workspace: Workspace) -> None:
    jobs = [workspace.receive(make_cr(rows=rows)) for rows in (200, OTHER_ROWS)]
    predictor = StandInPredictor()

    def decode(dataset: Dataset) -> None:
        if dataset.Rows == OTHER_ROWS:
            wait_until(lambda: bool(predictor.batches))

    predictor.on_read = decode
    infer(workspace, predictor)
    assert predictor.batches == [1, 1]
    assert reported(workspace, *jobs)


def test_an_instance_is_predicted_while_another_is_reported(workspace: Workspace) -> None:
    jobs = [workspace.receive(make_cr(rows=rows)) for rows in (200, OTHER_ROWS)]
    predictor = StandInPredictor()
    decoded = threading.Event()

    def decode(dataset: Dataset) -> None:
        if dataset.Rows == OTHER_ROWS:
            wait_until(decoded.is_set)

    predictor.on_read = decode
    predictor.on_predict = lambda _: decoded.set()
    spool = WaitingSpool(workspace.settings.spool_dir, lambda: len(predictor.batches) == 2)
    with ThreadPoolExecutor(4) as decoders:
        workspace.worker(decoders, predictor, spool=spool).infer_due()
    assert reported(workspace, *jobs)


def test_a_picture_that_every_finding_needs_is_read_during_the_prediction(
    workspace: Workspace,
) -> None:
    job = workspace.receive(make_cr())
    predictor = StandInPredictor()
    predictor.on_predict = lambda _: wait_until(lambda: bool(predictor.pictures))
    infer(workspace, predictor)
    assert len(predictor.pictures) == 1
    assert reported(workspace, job)


def test_a_picture_that_no_thread_is_free_to_read_is_read_by_its_report(
    workspace: Workspace,
) -> None:
    jobs = [workspace.receive(make_cr()) for _ in range(5)]
    predictor = StandInPredictor()
    infer(workspace, predictor, threads=1)
    assert len(predictor.pictures) == len(jobs)
    assert reported(workspace, *jobs)


def test_a_batch_is_what_was_decoded_while_another_was_predicted(workspace: Workspace) -> None:
    jobs = [workspace.receive(make_cr()) for _ in range(4)]
    read: list[Dataset] = []
    predictor = StandInPredictor()

    def decode(dataset: Dataset) -> None:
        read.append(dataset)
        if len(read) == len(jobs):  # else all may be decoded before the first batch is begun
            wait_until(lambda: bool(predictor.batches))

    predictor.on_read = decode
    # one thread decodes: when it begins with the last, those before are decoded
    predictor.on_predict = lambda _: wait_until(lambda: len(read) == len(jobs))
    infer(workspace, predictor, threads=1)
    first, *others = predictor.batches
    assert first < len(jobs)
    assert max(others) > 1 or first > 1
    assert sum(predictor.batches) == len(jobs)
    assert reported(workspace, *jobs)


def test_a_job_that_was_tried_before_is_in_work_alone(workspace: Workspace) -> None:
    first = workspace.receive(make_cr(rows=OTHER_ROWS))
    (job,) = workspace.ledger.jobs.lease("test/", 1, lease_seconds=1, maximum_attempts=3)
    workspace.ledger.jobs.postpone(job, 0, "error")
    other = workspace.receive(make_cr())
    standing: list[bool] = []

    def note(is_first: bool) -> None:  # noqa: FBT001 -- called here alone
        if is_first:
            standing.append(workspace.job(other).holder is not None)

    predictor = StandInPredictor(on_read=lambda dataset: note(dataset.Rows == OTHER_ROWS))
    predictor.on_predict = lambda batch: note(batch[0].shape[1] == OTHER_ROWS // 8 + 1)
    infer(workspace, predictor)
    assert predictor.batches == [1, 1]
    assert standing == [False, False]
    assert reported(workspace, first, other)


def test_no_more_than_two_batches_are_leased_ahead_beside_what_is_slow(
    workspace: Workspace,
) -> None:
    size = workspace.settings.infer.batch_size
    jobs = [workspace.receive(make_cr()) for _ in range(4 * size)]
    ahead: list[int] = []

    def count(_: object) -> None:
        held = sum(workspace.job(each).holder is not None for each in jobs)
        ahead.append(held - sum(each.is_slow for each in worker.decoding))

    with ThreadPoolExecutor(4) as decoders:
        worker = workspace.worker(decoders, StandInPredictor(on_predict=count))
        worker.infer_due()
    assert reported(workspace, *jobs)
    assert 1 < max(ahead) <= 2 * size


def test_a_notice_begins_the_work_and_the_thread_ends_with_the_block(workspace: Workspace) -> None:
    with ThreadPoolExecutor(4) as decoders:
        worker = workspace.worker(decoders)
        with _serving(worker):
            for _ in range(3):
                job = workspace.receive(make_cr())
                worker.notice()
                wait_until(lambda job=job: reported(workspace, job))  # type: ignore[misc]
        assert worker.stopping.is_set()
        assert not [each for each in threading.enumerate() if each.name == "infer"]


def test_a_notice_during_the_work_is_not_lost(workspace: Workspace) -> None:
    later: list[str] = []

    def receive_another(_: object) -> None:
        if not later:
            later.append(workspace.receive(make_cr(rows=OTHER_ROWS)))
            worker.notice()

    first = workspace.receive(make_cr())
    with ThreadPoolExecutor(4) as decoders:
        worker = workspace.worker(decoders, StandInPredictor(on_predict=receive_another))
        worker.infer_due()
    assert reported(workspace, first, *later)


def test_a_notification_is_held_until_it_is_looked_for(workspace: Workspace) -> None:
    """While it is, the next one stays in the queue, and no more of them are sent."""
    order: list[str] = []

    def receive() -> None:
        worker.receive()
        order.append("returned")

    with ThreadPoolExecutor(4) as decoders, ThreadPoolExecutor(1) as celery:
        worker = workspace.worker(decoders)
        worker.hold_seconds = 60
        received = celery.submit(receive)
        worker.wait_for_notice()
        order.append("looked for")
        worker.infer_due()
        received.result()
    assert order == ["looked for", "returned"]


def test_a_notification_is_not_held_for_long_by_a_worker_that_has_no_room(
    workspace: Workspace,
) -> None:
    with ThreadPoolExecutor(4) as decoders:
        workspace.worker(decoders).receive()  # nobody looks, and it returns


def test_an_error_of_the_loop_is_logged_and_the_next_notice_begins_anew(
    workspace: Workspace,
) -> None:
    job = workspace.receive(make_cr())
    with ThreadPoolExecutor(4) as decoders, ThreadPoolExecutor(1) as ended:
        ended.shutdown()  # takes no step: an error that no job is to blame for
        worker = workspace.worker(ended)
        with capture_logs() as logged, _serving(worker):
            worker.notice()
            wait_until(lambda: any(each["event"] == "inference_interrupted" for each in logged))
            worker.decoders = decoders
            workspace.clock.pass_seconds(workspace.settings.infer.lease_seconds + 1)
            worker.notice()
            wait_until(lambda: reported(workspace, job))
