"""Instances that decode for long, in vain or not at all: the others of their batch go on."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from support.inference_worker import PACS, StandInPredictor, Workspace
from synthetic.objects import make_cr

from service.decoding import DecodersBusyError, DecodersLostError
from service.domain.job import JobState
from workers.tasks.inference_worker import InferenceWorker

SLOW_ROWS = 300
Make = Callable[[Callable[[Dataset], None]], InferenceWorker]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(tmp_path, destinations=(PACS,), infer={"lease_seconds": 3})
    yield workspace
    workspace.ledger.close()


@pytest.fixture
def worker(workspace: Workspace) -> Iterator[Make]:
    """Make a worker; `on_read` is called with each data set that it decodes."""
    with ThreadPoolExecutor(4) as decoders:
        yield lambda on_read: workspace.worker(decoders, StandInPredictor(on_read=on_read))


def failing(error: Exception) -> Callable[[Dataset], None]:
    def fail(dataset: Dataset) -> None:
        if dataset.Rows == SLOW_ROWS:
            raise error

    return fail


def waiting(dataset: Dataset, decoded: threading.Event) -> None:
    if dataset.Rows == SLOW_ROWS:
        decoded.wait(20)


def test_a_slow_instance_joins_a_later_batch_and_keeps_its_lease(
    workspace: Workspace, worker: Make
) -> None:
    decoded = threading.Event()
    slow, quick = (workspace.receive(make_cr(rows=rows)) for rows in (SLOW_ROWS, 200))
    working = worker(lambda dataset: waiting(dataset, decoded))
    thread = threading.Thread(target=working.infer_due)
    thread.start()
    wait_for_state(workspace, quick, JobState.REPORTED)
    workspace.clock.pass_seconds(2)
    time.sleep(1.2)  # more than a third of the lease: it is renewed
    workspace.clock.pass_seconds(2)
    assert not workspace.ledger.jobs.lease("other/", 1, lease_seconds=3, maximum_attempts=3)
    later = workspace.receive(make_cr(rows=240))
    wait_for_state(workspace, later, JobState.REPORTED)
    assert workspace.job(slow).state == JobState.RECEIVED
    decoded.set()
    thread.join()
    assert workspace.job(slow).state == JobState.REPORTED
    assert workspace.job(slow).attempt == 1


def test_the_result_of_a_slow_instance_that_is_leased_to_another_is_dropped(
    workspace: Workspace, worker: Make
) -> None:
    decoded = threading.Event()
    slow = workspace.receive(make_cr(rows=SLOW_ROWS))
    working = worker(lambda dataset: waiting(dataset, decoded))
    lease = workspace.ledger.jobs.lease
    working.infer_batch(lease("test/", 1, lease_seconds=3, maximum_attempts=3))
    assert len(working.decoding) == 1
    workspace.clock.pass_seconds(4)
    lease("other/", 1, lease_seconds=60, maximum_attempts=3)

    def is_dropped() -> bool:
        working.infer_batch(())
        return not working.decoding

    wait_until(is_dropped)
    decoded.set()
    assert (workspace.job(slow).holder, workspace.job(slow).finding) == ("other/", None)


def test_sigterm_hands_a_slow_instance_back_with_no_try_used_up(
    workspace: Workspace, worker: Make
) -> None:
    decoded = threading.Event()
    slow = workspace.receive(make_cr(rows=SLOW_ROWS))
    working = worker(lambda dataset: waiting(dataset, decoded))
    thread = threading.Thread(target=working.infer_due)
    thread.start()
    wait_until(lambda: workspace.job(slow).holder is not None)
    working.stopping.set()
    thread.join(5)
    assert not thread.is_alive()
    (again,) = workspace.ledger.jobs.lease("other/", 1, lease_seconds=60, maximum_attempts=3)
    assert (again.id, again.tries, again.attempt) == (slow, 1, 2)
    decoded.set()


def test_lost_decoders_use_up_no_try_of_any_job(workspace: Workspace, worker: Make) -> None:
    for rows in (SLOW_ROWS, SLOW_ROWS):
        workspace.receive(make_cr(rows=rows))
    with pytest.raises(DecodersLostError):
        worker(failing(DecodersLostError())).infer_due()
    again = workspace.ledger.jobs.lease("other/", 2, lease_seconds=60, maximum_attempts=3)
    assert [job.tries for job in again] == [1, 1]


def test_an_instance_for_which_no_decoder_has_time_is_due_later(
    workspace: Workspace, worker: Make
) -> None:
    slow, quick = (workspace.receive(make_cr(rows=rows)) for rows in (SLOW_ROWS, 200))
    worker(failing(DecodersBusyError())).infer_due()
    assert workspace.job(quick).state == JobState.REPORTED
    workspace.clock.pass_seconds(workspace.settings.infer.maximum_backoff_seconds)
    (again,) = workspace.ledger.jobs.lease("other/", 2, lease_seconds=60, maximum_attempts=3)
    assert (again.id, again.tries) == (slow, 1)


def wait_for_state(workspace: Workspace, job_id: str, state: JobState) -> None:
    wait_until(lambda: workspace.job(job_id).state == state)


def wait_until(is_true: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.02)
