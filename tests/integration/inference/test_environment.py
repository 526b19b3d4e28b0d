"""Faults of the environment: work waits behind a breaker, and only evidence blames an instance.

Ledger, spool and reports are the real ones. The predictor is a stand-in, which fails as a device, a
library or a bundle would; no device is needed.
"""

import errno
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from structlog.testing import capture_logs
from support.inference_worker import PACS, Pixels, StandInPredictor, Workspace
from synthetic.objects import make_cr

from service.decoding import DecodersLostError
from service.domain.job import JobState
from service.domain.reasons import Reason
from service.errors import EX_TEMPFAIL
from service.settings import Settings
from service.storage.faults import Fault
from service.storage.ledger import Breaker
from service.storage.spool import Spool
from service.telemetry.metrics import BREAKER_OPENINGS
from workers.tasks.breaker import OPENINGS_PER_RESTART, RestartNeededError, WorkerBreaker
from workers.tasks.infer import _load_predictor
from workers.tasks.inference_worker import InferenceWorker

BAD_ROWS = 300  # of the instance that a stand-in fails on
NAME = "test/infer/"
Make = Callable[..., InferenceWorker]


class AcceleratorError(RuntimeError):
    """The name of torch's error, without torch."""


class FailingSpool(Spool):
    """A stand-in for a spool on a broken disk: no output can be written while it has an error."""

    error: Exception | None = None

    def put_output(self, job_id: str, kind: str, sop_instance_uid: str, encoded: bytes) -> Path:
        if self.error is not None:
            raise self.error
        return super().put_output(job_id, kind, sop_instance_uid, encoded)


class Device:
    """A stand-in for a device whose context is lost for this process after one bad input."""

    def __init__(self) -> None:
        self.is_lost = False

    def __call__(self, batch: list[Pixels]) -> None:
        self.is_lost = self.is_lost or any(is_bad(each) for each in batch)
        if self.is_lost:
            raise AcceleratorError("CUDA error: device-side assert triggered")


def is_bad(tensor: Pixels) -> bool:
    """Return whether it is of the bad instance, and not a blank input of its shape."""
    return tensor.shape[1] == BAD_ROWS // 8 + 1 and bool(tensor.any())


def fail(*_: object) -> None:
    raise RuntimeError("as a library might")


def fail_on_bad(batch: list[Pixels]) -> None:
    if any(is_bad(each) for each in batch):
        fail()


def fail_on_bad_and_blank(batch: list[Pixels]) -> None:
    if any(is_bad(each) or not each.any() for each in batch):
        fail()


# for what depends on which instances are predicted together, or on when a report is written
batchwise = pytest.mark.parametrize(
    "workspace", [pytest.param({"overlap": False}, id="batchwise")], indirect=True
)


@pytest.fixture
def workspace(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    infer = getattr(request, "param", {})
    workspace = Workspace(tmp_path, destinations=(PACS,), infer=infer)
    yield workspace
    workspace.ledger.close()


@pytest.fixture
def worker(workspace: Workspace) -> Iterator[Make]:
    with ThreadPoolExecutor(2) as decoders:
        yield partial(workspace.worker, decoders)


def breaker(workspace: Workspace) -> Breaker | None:
    return workspace.ledger.breakers.get(NAME)


def wait_half_open(workspace: Workspace) -> None:
    """Let the pause of the breaker pass, if it is open."""
    if (found := breaker(workspace)) is not None:
        workspace.clock.now = max(workspace.clock.now, found.open_until)


def postponed(workspace: Workspace, job_id: str) -> list[tuple[object, bool]]:
    """List why a job was postponed, and whether that counted as a try."""
    events = workspace.ledger.queries.trace(job_id)
    return [
        (event.detail["why"], event.detail.get("counts", True) is True)
        for event in events
        if event.name == "postponed"
    ]


def run_until_settled(
    workspace: Workspace, worker: InferenceWorker, make: Callable[[], InferenceWorker]
) -> int:
    """Run workers one after another until no job is received; return how many had to restart."""
    restarts = 0
    for _ in range(40):
        worker.infer_due()
        if worker.breaker.restart_for is not None:
            restarts, worker = restarts + 1, make()
        if workspace.ledger.queries.job_counts().by_state[JobState.RECEIVED] == 0:
            return restarts
        workspace.clock.pass_seconds(1_000)
    pytest.fail("jobs are received that never end")


ERRORS = [
    (OSError(errno.ENOSPC, "no space"), "disk-full"),
    (OSError(errno.EDQUOT, "quota"), "disk-full"),
    (OSError(errno.EIO, "input/output error"), "disk-broken"),
    (OSError(errno.EROFS, "read-only"), "disk-broken"),
    (OSError(errno.ESTALE, "stale"), "disk-broken"),
    (OSError(errno.EMFILE, "too many files"), "out-of-file-descriptors"),
    (OSError(errno.ENFILE, "too many files"), "out-of-file-descriptors"),
    (OSError(errno.ENOMEM, "memory"), "out-of-memory"),
    (MemoryError(), "out-of-memory"),
]


@pytest.mark.parametrize(("error", "word"), ERRORS)
def test_outputs_that_cannot_be_written_use_up_no_try_and_the_trace_names_the_fault(
    workspace: Workspace, worker: Make, error: Exception, word: str
) -> None:
    job_id = workspace.receive(make_cr())
    spool = FailingSpool(workspace.settings.spool_dir)
    spool.error = error
    for _ in range(4):
        worker(spool=spool).infer_due()
        wait_half_open(workspace)
    assert workspace.job(job_id).tries == 0
    assert postponed(workspace, job_id) == [(word, False)] * 4
    found = breaker(workspace)
    assert found is not None
    assert (found.fault, found.failures) == (word, 4)
    spool.error = None
    worker(spool=spool).infer_due()
    assert workspace.stands(job_id) == (JobState.REPORTED, None)
    assert breaker(workspace) is None


@pytest.mark.parametrize(
    ("error", "word"),
    [
        *ERRORS,
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "device-failed"),
        (AcceleratorError("CUDA error: unspecified launch failure"), "device-failed"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device-failed"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out-of-memory"),
        (RuntimeError("as a library might"), "predictor-failed"),
        (ValueError("as a bundle might"), "predictor-failed"),
    ],
)
@batchwise
def test_a_predictor_that_fails_for_everyone_uses_up_no_try_and_the_trace_names_the_fault(
    workspace: Workspace, worker: Make, error: Exception, word: str
) -> None:
    jobs = [workspace.receive(make_cr()) for _ in range(2)]

    def fail_for_everyone(_: object) -> None:
        raise error

    for _ in range(4):
        worker(StandInPredictor(on_predict=fail_for_everyone)).infer_due()
        wait_half_open(workspace)
    for job_id in jobs:
        assert workspace.job(job_id).tries == 0
        assert set(postponed(workspace, job_id)) == {(word, False)}
    worker().infer_due()
    assert [workspace.stands(each) for each in jobs] == [(JobState.REPORTED, None)] * 2
    assert workspace.ledger.queries.job_counts().balance == 0


def test_nothing_is_leased_while_the_breaker_is_open_and_one_job_when_it_is_half_open(
    workspace: Workspace, worker: Make
) -> None:
    jobs = [workspace.receive(make_cr()) for _ in range(3)]
    predictor = StandInPredictor(on_predict=fail)
    working = worker(predictor)
    working.infer_due()
    tried = [*predictor.batches]
    attempts = [workspace.job(each).attempt for each in jobs]
    working.infer_due()
    assert predictor.batches == tried, "it is open"
    wait_half_open(workspace)
    working.infer_due()
    later = [workspace.job(each).attempt for each in jobs]
    assert sum(later) == sum(attempts) + 1, "it is half-open"
    wait_half_open(workspace)
    predictor.on_predict = lambda _: None
    working.infer_due()
    assert [workspace.stands(each)[0] for each in jobs] == [JobState.REPORTED] * 3
    assert breaker(workspace) is None


def test_the_pause_doubles_each_time_and_begins_anew_after_a_report(
    workspace: Workspace, worker: Make
) -> None:
    workspace.receive(make_cr())
    counted = BREAKER_OPENINGS.labels(fault=Fault.DISK_FULL)._value
    before, pauses = counted.get(), []
    spool = FailingSpool(workspace.settings.spool_dir)
    spool.error = OSError(errno.ENOSPC, "no space")
    with capture_logs() as logged:
        for _ in range(3):
            worker(spool=spool).infer_due()
            found = breaker(workspace)
            assert found is not None
            pauses.append(found.open_until - workspace.clock.now)
            wait_half_open(workspace)
        spool.error = None
        worker(spool=spool).infer_due()
    first = workspace.settings.infer.backoff_seconds
    for n, pause in enumerate(pauses):
        assert 0.75 * first * 2**n <= pause <= 1.25 * first * 2**n
    events = [each["event"] for each in logged if each["event"].startswith("breaker_")]
    assert events == ["breaker_opened"] * 3 + ["breaker_closed"]
    assert counted.get() == before + 3
    workspace.receive(make_cr())
    spool.error = OSError(errno.ENOSPC, "no space")
    worker(spool=spool).infer_due()
    found = breaker(workspace)
    assert found is not None
    assert found.failures == 1


def test_a_batch_that_meets_one_fault_opens_the_breaker_once(
    workspace: Workspace, worker: Make
) -> None:
    jobs = [workspace.receive(make_cr()) for _ in range(5)]
    spool = FailingSpool(workspace.settings.spool_dir)
    spool.error = OSError(errno.EIO, "input/output error")
    worker(spool=spool).infer_due()
    found = breaker(workspace)
    assert found is not None
    assert found.failures == 1
    assert {workspace.job(each).due_at for each in jobs} == {workspace.clock.now}, (
        "only the breaker delays them"
    )


def test_repeated_failures_of_the_predictor_end_the_process_and_those_of_the_disk_do_not(
    workspace: Workspace, worker: Make
) -> None:
    job_id = workspace.receive(make_cr())
    ends = []
    for _ in range(OPENINGS_PER_RESTART):
        failing = worker(StandInPredictor(on_predict=fail))
        failing.infer_due()
        ends.append(failing.breaker.restart_for)
        wait_half_open(workspace)
    assert ends == [None] * (OPENINGS_PER_RESTART - 1) + [Fault.PREDICTOR_FAILED]
    assert (workspace.job(job_id).holder, workspace.job(job_id).tries) == (None, 0)
    spool = FailingSpool(workspace.settings.spool_dir)
    spool.error = OSError(errno.ENOSPC, "no space")
    for _ in range(2 * OPENINGS_PER_RESTART):
        working = worker(spool=spool)
        working.infer_due()
        assert working.breaker.restart_for is None
        wait_half_open(workspace)


@batchwise
def test_a_lost_device_ends_the_process_at_once_and_every_job_is_due_again(
    workspace: Workspace, worker: Make
) -> None:
    jobs = [workspace.receive(make_cr()) for _ in range(3)]
    device = Device()
    device.is_lost = True
    predictor = StandInPredictor(on_predict=device)
    lost = worker(predictor)
    with capture_logs() as logged:
        lost.infer_due()
    assert lost.breaker.restart_for is Fault.DEVICE_FAILED
    assert predictor.batches == [3, 1], "the batch and a blank input: none is tried alone"
    for job_id in jobs:
        job = workspace.job(job_id)
        assert (job.holder, job.tries, job.due_at) == (None, 0, workspace.clock.now)
    opened = [each for each in logged if each["event"] == "breaker_opened"]
    assert [each["fault"] for each in opened] == [Fault.DEVICE_FAILED]
    lost.infer_due()
    assert len(predictor.batches) == 2, "it leases no more"
    wait_half_open(workspace)
    worker().infer_due()
    assert [workspace.stands(each)[0] for each in jobs] == [JobState.REPORTED] * 3


def test_an_instance_that_takes_the_device_away_each_time_ends_parked_and_no_other_does(
    workspace: Workspace, worker: Make
) -> None:
    bad, *others = (workspace.receive(make_cr(rows=rows)) for rows in (BAD_ROWS, 200, 200, 200))

    def start() -> InferenceWorker:
        return worker(StandInPredictor(on_predict=Device()))

    restarts = run_until_settled(workspace, start(), start)
    assert workspace.stands(bad) == (JobState.PARKED, Reason.ATTEMPTS_EXHAUSTED)
    assert [workspace.stands(each) for each in others] == [(JobState.REPORTED, None)] * 3
    assert [workspace.job(each).tries for each in others] == [1] * 3
    assert postponed(workspace, bad)[0] == ("device-failed", False), "once it proves nothing"
    assert restarts == 1 + workspace.settings.infer.maximum_attempts
    assert workspace.ledger.queries.job_counts().balance == 0


def test_an_instance_that_takes_the_device_away_ends_parked_also_when_it_is_alone(
    workspace: Workspace, worker: Make
) -> None:
    bad = workspace.receive(make_cr(rows=BAD_ROWS))

    def start() -> InferenceWorker:
        return worker(StandInPredictor(on_predict=Device()))

    restarts = run_until_settled(workspace, start(), start)
    assert workspace.stands(bad) == (JobState.PARKED, Reason.ATTEMPTS_EXHAUSTED)
    assert restarts == 1 + workspace.settings.infer.maximum_attempts


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_instance_whose_input_is_no_number_ends_parked_and_is_not_the_predictors_fault(
    workspace: Workspace, worker: Make, value: float
) -> None:
    job_id = workspace.receive(make_cr())

    class Spoiling(StandInPredictor):
        """The stand-in, which reads values that are no numbers, as damaged tones can give."""

        def read(self, path: Path) -> Any:  # noqa: ANN401 -- the stand-in's own
            found = super().read(path)
            found.tensor[:, :2, :2] = value
            return found

    def refuse(batch: list[Pixels]) -> None:
        if not all(np.isfinite(each).all() for each in batch):
            raise ValueError("input contains NaN")

    working = worker(Spoiling(on_predict=refuse))
    assert run_until_settled(workspace, working, lambda: working) == 0
    assert workspace.stands(job_id) == (JobState.PARKED, Reason.ATTEMPTS_EXHAUSTED)
    assert set(postponed(workspace, job_id)) == {("prediction-failed", True)}
    assert breaker(workspace) is None


def test_of_a_predictor_that_fails_on_blank_inputs_a_bad_instance_is_told_by_a_good_one(
    workspace: Workspace, worker: Make
) -> None:
    good = workspace.receive(make_cr(rows=200))
    working = worker(StandInPredictor(on_predict=fail_on_bad_and_blank))
    working.infer_due()
    bad = workspace.receive(make_cr(rows=BAD_ROWS))
    assert run_until_settled(workspace, working, lambda: working) == 0
    assert workspace.stands(good) == (JobState.REPORTED, None)
    assert workspace.stands(bad) == (JobState.PARKED, Reason.ATTEMPTS_EXHAUSTED)
    assert breaker(workspace) is None, "the predictor has been seen to work"


def test_bad_instances_that_came_first_wait_until_another_shows_that_the_predictor_works(
    workspace: Workspace, worker: Make
) -> None:
    bad = [workspace.receive(make_cr(rows=BAD_ROWS)) for _ in range(2)]
    working = worker(StandInPredictor(on_predict=fail_on_bad_and_blank))
    for _ in range(3):
        working.infer_due()
        wait_half_open(workspace)
    assert [workspace.job(each).tries for each in bad] == [0, 0]
    good = workspace.receive(make_cr(rows=200))
    working.infer_due()
    assert workspace.stands(good) == (JobState.REPORTED, None), "it is tried before them"
    assert breaker(workspace) is None
    assert run_until_settled(workspace, working, lambda: working) == 0
    assert [workspace.stands(each)[1] for each in bad] == [Reason.ATTEMPTS_EXHAUSTED] * 2


def test_bad_instances_among_good_ones_open_no_breaker_and_end_parked(workspace: Workspace) -> None:
    rows = (200, BAD_ROWS, 200, BAD_ROWS, 200)
    good_1, bad_1, good_2, bad_2, good_3 = (workspace.receive(make_cr(rows=each)) for each in rows)
    predicted = threading.Event()

    def come_after_a_good_one(dataset: Dataset) -> None:
        """Read no bad instance before a good one was predicted; two of them prove something."""
        assert dataset.Rows != BAD_ROWS or predicted.wait(20)

    def predict(batch: list[Pixels]) -> None:
        fail_on_bad(batch)
        predicted.set()

    predictor = StandInPredictor(on_read=come_after_a_good_one, on_predict=predict)
    with ThreadPoolExecutor(len(rows)) as decoders, capture_logs() as logged:
        working = workspace.worker(decoders, predictor)
        assert run_until_settled(workspace, working, lambda: working) == 0
    good = [workspace.stands(each)[0] for each in (good_1, good_2, good_3)]
    assert good == [JobState.REPORTED] * 3
    bad = [workspace.stands(each)[1] for each in (bad_1, bad_2)]
    assert bad == [Reason.ATTEMPTS_EXHAUSTED] * 2
    assert "breaker_opened" not in [each["event"] for each in logged]


def test_an_instance_that_alone_needs_more_memory_than_there_is_ends_parked(
    workspace: Workspace, worker: Make
) -> None:
    bad, good = (workspace.receive(make_cr(rows=rows)) for rows in (BAD_ROWS, 200))

    def need_memory(batch: list[Pixels]) -> None:
        if any(is_bad(each) for each in batch):
            raise MemoryError

    working = worker(StandInPredictor(on_predict=need_memory))
    assert run_until_settled(workspace, working, lambda: working) == 0
    assert workspace.stands(good) == (JobState.REPORTED, None)
    assert workspace.stands(bad) == (JobState.PARKED, Reason.ATTEMPTS_EXHAUSTED)
    assert postponed(workspace, bad)[0] == ("out-of-memory", False), "once it proves nothing"


@batchwise
def test_outputs_too_large_for_what_is_left_wait_by_themselves_and_hold_up_no_other(
    workspace: Workspace, worker: Make
) -> None:
    large = workspace.receive(make_cr(rows=BAD_ROWS))

    class NearlyFull(FailingSpool):
        """A stand-in for a spool with room for the outputs of the others only."""

        def put_output(self, job_id: str, kind: str, sop_instance_uid: str, encoded: bytes) -> Path:
            if job_id == large and self.error is not None:
                raise self.error
            return super(FailingSpool, self).put_output(job_id, kind, sop_instance_uid, encoded)

    spool = NearlyFull(workspace.settings.spool_dir)
    spool.error = OSError(errno.ENOSPC, "no space")
    working = worker(spool=spool)
    for _ in range(2 * workspace.settings.infer.maximum_attempts):
        small = workspace.receive(make_cr(rows=200))
        working.infer_due()
        wait_half_open(workspace)
        working.infer_due()
        assert workspace.stands(small) == (JobState.REPORTED, None)
        workspace.clock.pass_seconds(1_000)
    assert breaker(workspace) is None
    assert (workspace.stands(large)[0], workspace.job(large).tries) == (JobState.RECEIVED, 0)
    spool.error = None
    working.infer_due()
    assert workspace.stands(large) == (JobState.REPORTED, None)


def test_an_inbox_that_is_gone_parks_no_job_and_work_goes_on_when_it_is_back(
    workspace: Workspace, worker: Make
) -> None:
    jobs = [workspace.receive(make_cr()) for _ in range(2)]
    inbox = workspace.spool.root / "inbox"
    inbox.rename(workspace.spool.root / "aside")
    for _ in range(4):
        worker().infer_due()
        wait_half_open(workspace)
    assert [workspace.stands(each) for each in jobs] == [(JobState.RECEIVED, None)] * 2
    assert {why for each in jobs for why in postponed(workspace, each)} == {("disk-broken", False)}
    (workspace.spool.root / "aside").rename(inbox)
    worker().infer_due()
    assert [workspace.stands(each)[0] for each in jobs] == [JobState.REPORTED] * 2


def test_decoders_lost_again_and_again_use_up_no_try_and_open_the_breaker(
    workspace: Workspace, worker: Make
) -> None:
    jobs = [workspace.receive(make_cr()) for _ in range(2)]

    def lose(_: object) -> None:
        raise DecodersLostError

    for _ in range(4):
        with pytest.raises(DecodersLostError):
            worker(StandInPredictor(on_read=lose)).infer_due()
        wait_half_open(workspace)
    found = breaker(workspace)
    assert found is not None
    assert (found.fault, found.failures) == (Fault.DECODERS_LOST, 4)
    for job_id in jobs:
        assert workspace.job(job_id).tries == 0
        assert set(postponed(workspace, job_id)) == {("decoders-lost", False)}
    worker().infer_due()
    assert [workspace.stands(each)[0] for each in jobs] == [JobState.REPORTED] * 2


@batchwise
def test_a_ledger_that_cannot_be_written_for_a_while_uses_up_no_try(
    workspace: Workspace, worker: Make, tmp_path: Path
) -> None:
    job_id = workspace.receive(make_cr())
    database = tmp_path / "ledger.sqlite3"

    def lose_ledger(_: object) -> None:
        workspace.ledger.close()
        database.rename(tmp_path / "aside")
        database.mkdir()

    predictor = StandInPredictor(on_predict=lose_ledger)
    working = worker(predictor)
    working.infer_batch(workspace.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3))
    database.rmdir()
    (tmp_path / "aside").rename(database)
    assert workspace.job(job_id).holder == "w/"
    predictor.on_predict = lambda _: None
    working.infer_due()
    assert workspace.stands(job_id) == (JobState.REPORTED, None)
    assert (workspace.job(job_id).attempt, workspace.job(job_id).tries) == (2, 1)
    assert postponed(workspace, job_id) == [("ledger-failed", False)]


def test_a_result_that_the_ledger_does_not_take_uses_up_tries_from_the_second_time_on(
    workspace: Workspace, worker: Make
) -> None:
    job_id = workspace.receive(make_cr())
    workspace.ledger.close()
    with sqlite3.connect(workspace.settings.state_dir / "ledger.sqlite3") as connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE OF finding ON jobs WHEN NEW.finding NOT NULL "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    connection.close()
    working = worker()
    assert run_until_settled(workspace, working, lambda: working) == 0
    assert workspace.stands(job_id) == (JobState.PARKED, Reason.ATTEMPTS_EXHAUSTED)
    words = postponed(workspace, job_id)
    assert words == [("ledger-failed", False)] + [("ledger-failed", True)] * 3


def test_an_instance_whose_file_alone_cannot_be_read_ends_parked_as_others_are_reported(
    workspace: Workspace, worker: Make
) -> None:
    bad = workspace.receive(make_cr(rows=BAD_ROWS))

    def lose_a_sector(dataset: Dataset) -> None:
        if dataset.Rows == BAD_ROWS:
            raise OSError(errno.EIO, "input/output error")

    working = worker(StandInPredictor(on_read=lose_a_sector))
    for _ in range(2 + workspace.settings.infer.maximum_attempts):
        good = workspace.receive(make_cr(rows=200))
        for _ in range(2):  # it may be due a second time at once
            working.infer_due()
            wait_half_open(workspace)
        assert workspace.stands(good) == (JobState.REPORTED, None), "it is tried before the bad one"
        workspace.clock.pass_seconds(1_000)
    assert workspace.stands(bad) == (JobState.PARKED, Reason.ATTEMPTS_EXHAUSTED)
    assert postponed(workspace, bad)[0] == ("disk-broken", False), "once it proves nothing"


@batchwise
def test_a_report_that_was_begun_before_a_fault_does_not_close_the_breaker(
    workspace: Workspace, worker: Make
) -> None:
    decoded = threading.Event()

    def wait_for_picture(dataset: Dataset) -> None:
        if dataset.Rows == BAD_ROWS:
            decoded.wait(20)

    slow = workspace.receive(make_cr(rows=BAD_ROWS))
    predictor = StandInPredictor(on_picture=wait_for_picture)
    spool = FailingSpool(workspace.settings.spool_dir)
    working = worker(predictor, spool=spool)
    lease = partial(workspace.ledger.jobs.lease, "w/", 1, lease_seconds=60, maximum_attempts=3)
    working.infer_batch(lease())
    while not predictor.pictures:
        working.infer_batch(())
    spool.error = OSError(errno.ENOSPC, "no space")
    workspace.receive(make_cr(rows=200))
    working.infer_batch(lease())
    while breaker(workspace) is None:
        working.infer_batch(())
    spool.error = None
    decoded.set()
    while working.decoding:
        working.infer_batch(())
    assert workspace.stands(slow) == (JobState.REPORTED, None)
    found = breaker(workspace)
    assert found is not None
    assert (found.is_open, found.fault) == (True, "disk-full")


def test_reports_at_the_same_time_close_the_breaker_once(workspace: Workspace) -> None:
    mine = WorkerBreaker(workspace.ledger, f"{NAME}1/", workspace.settings.infer)
    mine.open(Fault.DISK_FULL)
    wait_half_open(workspace)
    seen = mine.look()
    with capture_logs() as logged:
        mine.close(seen)
        mine.close(seen)  # as another thread that saw it too
    assert [each["event"] for each in logged] == ["breaker_closed"]
    assert (breaker(workspace), mine.seen) == (None, None)


def test_a_bundle_that_cannot_be_used_is_an_error_of_the_configuration_unless_it_was_before(
    workspace: Workspace, tmp_path: Path
) -> None:
    from workers.inference.predictor import (  # noqa: PLC0415 -- torch and monai cost seconds
        BundleError,
        load_predictor,
    )

    settings = Settings(state_dir=tmp_path, bundle={"path": tmp_path / "none"})
    load = partial(load_predictor, settings.bundle)
    mine = WorkerBreaker(workspace.ledger, f"{NAME}1/", settings.infer)
    with pytest.raises(BundleError):
        _load_predictor(load, mine)
    assert breaker(workspace) is None
    mine.open(Fault.DEVICE_FAILED)
    with pytest.raises(RestartNeededError, match=r"device-failed: .*is not a bundle") as raised:
        _load_predictor(load, mine)
    assert raised.value.exit_status == EX_TEMPFAIL


def test_a_breaker_is_shared_by_the_workers_of_one_machine_and_outlives_them(
    workspace: Workspace,
) -> None:
    limits = workspace.settings.infer
    WorkerBreaker(workspace.ledger, "host/infer/1/", limits).open(Fault.DISK_FULL)
    later = WorkerBreaker(workspace.ledger, "host/infer/2/", limits).look()
    assert later is not None
    assert (later.name, later.is_open, later.fault) == ("host/infer/", True, Fault.DISK_FULL)
    assert WorkerBreaker(workspace.ledger, "other/infer/1/", limits).look() is None
