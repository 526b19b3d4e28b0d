"""Inference of due jobs: a failure in one does not affect the others of its batch.

Ledger, spool and reports are the real ones; the predictor is a stand-in, whose number is a mean.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, BasicTextSRStorage, Comprehensive3DSRStorage, EncapsulatedPDFStorage
from structlog.testing import capture_logs
from support.inference_worker import PACS, Pixels, StandInPredictor, Workspace
from support.routes import to
from support.system.clock import Clock
from synthetic.objects import make_cr

from service.dicom.implementation import IMPLEMENTATION_CLASS_UID
from service.domain.job import Job, JobState
from service.domain.reasons import Reason
from service.storage.ledger import Ledger
from service.telemetry.metrics import NOT_ANALYSED, PREDICTIONS, STALE_LEASES
from workers.prediction import Finding, NotAnalysable
from workers.tasks.inference_worker import InferenceWorker

SOUTH = {**PACS, "name": "south"}
Make = Callable[..., InferenceWorker]


@dataclass
class RefusingPredictor(StandInPredictor):
    """The stand-in, with a gate behind its network that goes by the height of a radiograph."""

    refused_rows: int = 0

    def predict(
        self, prepared: list[Pixels], ages: list[float | None] | None = None
    ) -> list[Any]:  # predictions and refusals
        found = super().predict(prepared, ages)
        return [
            NotAnalysable(Reason.NOT_CHEST) if each.shape[1] == self.refused_rows else prediction
            for each, prediction in zip(prepared, found, strict=True)
        ]


@pytest.fixture
def decoders() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


# for what depends on which instances are predicted together, or on when a report is written
batchwise = pytest.mark.parametrize(
    "workspace", [pytest.param({"overlap": False}, id="batchwise")], indirect=True
)


@pytest.fixture
def workspace(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    infer = getattr(request, "param", {})
    workspace = Workspace(tmp_path, destinations=(PACS, SOUTH), infer=infer)
    yield workspace
    workspace.ledger.close()


@pytest.fixture
def notified() -> list[str]:
    return []


@pytest.fixture
def worker(workspace: Workspace, decoders: ThreadPoolExecutor, notified: list[str]) -> Make:
    default = workspace

    def make(
        predictor: StandInPredictor | None = None,
        *,
        workspace: Workspace = default,
        **more: Any,  # noqa: ANN401 -- any field of the worker
    ) -> InferenceWorker:
        return workspace.worker(decoders, predictor, **{"notify": notified.append, **more})

    return make


def fail(*_: object) -> None:
    raise RuntimeError("as a library might")


def texts(dataset: Dataset) -> str:
    return "\n".join(str(each.value) for each in dataset.iterall() if each.keyword == "TextValue")


def ways_to_notify(*, reports: int) -> list[list[str]]:
    """Return what may be sent: those that are made at the same time are announced together."""
    return [sorted(["pacs", "south"] * count) for count in range(1, reports + 1)]


@batchwise
def test_every_due_job_is_reported_with_its_own_number(
    workspace: Workspace, worker: Make, notified: list[str]
) -> None:
    jobs = [workspace.receive(make_cr(rows=rows)) for rows in (200, 300, 400)]
    predictor = StandInPredictor()
    unreported: list[tuple[str, int]] = []  # when a destination was notified

    def notify(name: str) -> None:
        notified.append(name)
        count = sum(workspace.job(each).state != JobState.REPORTED for each in jobs)
        unreported.append((name, count))

    worker(predictor, notify=notify).infer_due()
    assert predictor.batches == [3]
    numbers = set()
    for job_id in jobs:
        job = workspace.job(job_id)
        assert (job.state, job.holder, job.due_at) == (JobState.REPORTED, None, None)
        report = dcmread(workspace.output(job_id, "sr"))
        assert f"Probability of pneumonia: {job.probability!r}" in texts(report)
        numbers.add(job.probability)
    assert len(numbers) == len(jobs)
    assert sorted(notified) in ways_to_notify(reports=3)
    assert {("pacs", 0), ("south", 0)} <= set(unreported), "after the last report too"


def test_without_a_due_job_the_model_is_not_run(worker: Make) -> None:
    predictor = StandInPredictor()
    worker(predictor).infer_due()
    assert predictor.batches == []


def test_one_instance_that_breaks_the_decoder_does_not_stop_the_others(
    workspace: Workspace, worker: Make
) -> None:
    broken = make_cr()
    jobs = [workspace.receive(each) for each in (make_cr(), broken, make_cr())]

    def fail_on_one(dataset: Dataset) -> None:
        if dataset.SOPInstanceUID == broken.SOPInstanceUID:
            fail()

    worker(StandInPredictor(on_read=fail_on_one)).infer_due()
    assert [workspace.stands(job_id)[0] for job_id in jobs] == [
        JobState.REPORTED,
        JobState.RECEIVED,
        JobState.REPORTED,
    ]
    assert workspace.names(jobs[1]) == ["received", "leased", "postponed"]
    assert workspace.job(jobs[1]).holder is None


@batchwise
def test_after_a_forward_pass_that_failed_each_is_tried_alone(
    workspace: Workspace, worker: Make
) -> None:
    jobs = [workspace.receive(make_cr()) for _ in range(3)]

    def fail_on_a_batch(batch: list[Pixels]) -> None:
        if len(batch) > 1:
            fail()

    predictor = StandInPredictor(on_predict=fail_on_a_batch)
    worker(predictor).infer_due()
    assert predictor.batches == [3, 1, 1, 1]
    assert [workspace.stands(job_id)[0] for job_id in jobs] == [JobState.REPORTED] * 3


def test_a_predictor_that_fails_for_everyone_uses_up_no_try_until_it_is_healed(
    workspace: Workspace, worker: Make
) -> None:
    jobs = [workspace.receive(make_cr()) for _ in range(2)]
    for _ in range(2 * workspace.settings.infer.maximum_attempts):
        worker(StandInPredictor(on_predict=fail)).infer_due()
        assert [workspace.job(job_id).tries for job_id in jobs] == [0, 0]
        workspace.clock.pass_seconds(10_000)
    worker().infer_due()
    assert [workspace.stands(job_id)[0] for job_id in jobs] == [JobState.REPORTED] * 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EMFILE, errno.ENOMEM])
def test_a_fault_of_the_disk_uses_up_no_try_until_it_is_gone(
    workspace: Workspace, worker: Make, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    job_id = workspace.receive(make_cr())
    with monkeypatch.context() as broken:

        def refuse(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        broken.setattr(os, "fsync", refuse)
        for _ in range(2 * workspace.settings.infer.maximum_attempts):
            worker().infer_due()
            assert workspace.job(job_id).tries == 0
            workspace.clock.pass_seconds(10_000)
    worker().infer_due()
    assert workspace.stands(job_id) == (JobState.REPORTED, None)


def test_a_job_that_always_fails_is_parked_when_its_attempts_are_used_up(
    workspace: Workspace, worker: Make
) -> None:
    job_id = workspace.receive(make_cr())
    pauses = []

    def fail_on_it(batch: list[Pixels]) -> None:
        if any(each.any() for each in batch):  # not on a blank input
            fail()

    for _ in range(workspace.settings.infer.maximum_attempts):
        worker(StandInPredictor(on_predict=fail_on_it)).infer_due()
        job = workspace.job(job_id)
        assert job.state is JobState.RECEIVED
        assert job.due_at is not None
        pauses.append(job.due_at - workspace.clock.now)
        workspace.clock.pass_seconds(pauses[-1])
    first = workspace.settings.infer.backoff_seconds
    for n, pause in enumerate(pauses):
        assert 0.75 * first * 2**n <= pause <= 1.25 * first * 2**n
    worker(StandInPredictor(on_predict=fail_on_it)).infer_due()
    assert workspace.stands(job_id) == (JobState.PARKED, Reason.ATTEMPTS_EXHAUSTED)
    assert workspace.job(job_id).tries == workspace.settings.infer.maximum_attempts
    assert workspace.ledger.queries.job_counts().balance == 0


def test_a_parked_job_that_is_requeued_gets_all_its_attempts_again(
    workspace: Workspace, worker: Make
) -> None:
    job_id = workspace.receive(make_cr())
    for _ in range(workspace.settings.infer.maximum_attempts + 1):
        worker(StandInPredictor(on_read=fail)).infer_due()
        workspace.clock.pass_seconds(10_000)
    assert workspace.stands(job_id)[0] is JobState.PARKED
    workspace.ledger.jobs.requeue(job_id, to(["pacs"]))
    worker(StandInPredictor(on_read=fail)).infer_due()
    assert workspace.stands(job_id) == (JobState.RECEIVED, None)
    workspace.clock.pass_seconds(10_000)
    worker().infer_due()
    assert workspace.stands(job_id) == (JobState.REPORTED, None)


def test_missing_bytes_park_the_job_and_no_other(workspace: Workspace, worker: Make) -> None:
    jobs = [workspace.receive(make_cr()) for _ in range(2)]
    workspace.spool.inbox(jobs[0]).unlink()
    worker().infer_due()
    assert workspace.stands(jobs[0]) == (JobState.PARKED, Reason.BYTES_MISSING)
    assert workspace.stands(jobs[1]) == (JobState.REPORTED, None)


def test_a_missing_outbox_is_not_mistaken_for_missing_bytes(
    workspace: Workspace, worker: Make
) -> None:
    job_id = workspace.receive(make_cr())
    outbox = workspace.spool.root / "outbox"
    outbox.rename(workspace.spool.root / "aside")
    worker().infer_due()
    assert workspace.stands(job_id) == (JobState.RECEIVED, None)
    (workspace.spool.root / "aside").rename(outbox)
    workspace.clock.pass_seconds(10_000)
    worker().infer_due()
    assert workspace.stands(job_id) == (JobState.REPORTED, None)


def test_an_instance_out_of_scope_is_closed_with_the_reason_and_without_outputs(
    workspace: Workspace, worker: Make, notified: list[str]
) -> None:
    lateral, blank = make_cr(), make_cr()
    lateral.ViewPosition = "LL"
    jobs = [workspace.receive(lateral), workspace.receive(blank)]

    def refuse(_: Dataset) -> None:
        raise NotAnalysable(Reason.BLANK, "as the bundle says")

    predictor = StandInPredictor(on_read=refuse)
    worker(predictor).infer_due()
    assert workspace.stands(jobs[0]) == (JobState.NOT_ANALYSED, Reason.VIEW)
    assert workspace.stands(jobs[1]) == (JobState.NOT_ANALYSED, Reason.BLANK)
    assert workspace.job(jobs[0]).finished_at == workspace.clock.now
    assert (predictor.batches, notified, workspace.outbox()) == ([], [], {})


def test_an_instance_refused_after_the_network_is_closed_and_the_others_are_reported(
    workspace: Workspace, worker: Make, notified: list[str]
) -> None:
    jobs = [workspace.receive(make_cr(rows=rows)) for rows in (200, 300, 400)]
    counted = NOT_ANALYSED.labels(reason=Reason.NOT_CHEST)._value
    reported = sum(PREDICTIONS.labels(finding=finding)._value.get() for finding in Finding)
    before = counted.get()
    worker(RefusingPredictor(refused_rows=300 // 8 + 1)).infer_due()
    assert [workspace.stands(job_id) for job_id in jobs] == [
        (JobState.REPORTED, None),
        (JobState.NOT_ANALYSED, Reason.NOT_CHEST),
        (JobState.REPORTED, None),
    ]
    refused = workspace.job(jobs[1])
    assert (refused.finding, refused.probability, refused.holder) == (None, None, None)
    assert refused.finished_at == workspace.clock.now
    assert workspace.names(jobs[1]) == ["received", "leased", "not_analysed"]
    assert sorted(notified) in ways_to_notify(reports=2)
    assert len(workspace.outbox()) == 4
    assert counted.get() == before + 1
    after = sum(PREDICTIONS.labels(finding=finding)._value.get() for finding in Finding)
    assert after == reported + 2
    worker().infer_due()
    assert workspace.stands(jobs[1]) == (JobState.NOT_ANALYSED, Reason.NOT_CHEST)
    assert workspace.ledger.queries.job_counts().balance == 0


def test_a_number_that_is_no_probability_is_never_reported(
    workspace: Workspace, worker: Make
) -> None:
    job_id = workspace.receive(make_cr())

    def spoil(batch: list[Pixels]) -> None:
        for each in batch:
            each.fill(float("nan"))

    worker(StandInPredictor(on_predict=spoil)).infer_due()
    assert workspace.stands(job_id) == (JobState.RECEIVED, None)
    assert workspace.outbox() == {}


def test_without_a_destination_the_result_is_kept_and_the_job_parked(
    tmp_path: Path, decoders: ThreadPoolExecutor
) -> None:
    workspace = Workspace(tmp_path, destinations=())
    job_id = workspace.receive(make_cr())
    worker = workspace.worker(
        decoders, notify=lambda _: pytest.fail("there is no destination to notify")
    )
    worker.infer_due()
    assert workspace.stands(job_id) == (JobState.PARKED, Reason.NO_DESTINATION)
    assert workspace.job(job_id).finding is not None
    assert len(workspace.outbox()) == 2


@batchwise
def test_a_worker_whose_lease_ran_out_changes_nothing_in_the_ledger(
    workspace: Workspace, worker: Make
) -> None:
    job_id = workspace.receive(make_cr())
    fresh: list[Job] = []

    def take_long(_: object) -> None:
        workspace.clock.pass_seconds(workspace.settings.infer.lease_seconds + 1)
        fresh.extend(workspace.ledger.jobs.lease("other/", 1, lease_seconds=60, maximum_attempts=3))

    before = STALE_LEASES._value.get()
    slow = worker(StandInPredictor(on_predict=take_long))
    slow.infer_batch(workspace.ledger.jobs.lease("slow/", 1, lease_seconds=60, maximum_attempts=3))
    job = workspace.job(job_id)
    assert (job.state, job.holder, job.attempt, job.finding) == (
        JobState.RECEIVED,
        "other/",
        2,
        None,
    )
    assert (
        workspace.ledger.queries.outputs(job_id)
        == workspace.ledger.queries.deliveries(job_id)
        == []
    )
    assert STALE_LEASES._value.get() == before + 1
    worker().infer_batch(fresh)
    assert workspace.stands(job_id) == (JobState.REPORTED, None)


def test_two_workers_with_the_same_job_make_the_same_bytes(
    workspace: Workspace, worker: Make
) -> None:
    job_id = workspace.receive(make_cr())
    (stale,) = workspace.ledger.jobs.lease("slow/", 1, lease_seconds=60, maximum_attempts=3)
    workspace.clock.pass_seconds(61)
    worker().infer_due()
    first = workspace.outbox()
    worker().infer_batch([stale])
    assert workspace.outbox() == first
    assert workspace.stands(job_id) == (JobState.REPORTED, None)


def test_a_worker_that_is_to_stop_finishes_its_batch_and_leases_no_other(
    workspace: Workspace, worker: Make
) -> None:
    jobs = [workspace.receive(make_cr()) for _ in range(workspace.settings.infer.batch_size + 3)]
    stopping = threading.Event()
    worker(StandInPredictor(on_predict=lambda _: stopping.set()), stopping=stopping).infer_due()
    standing = [workspace.job(job_id) for job_id in jobs]
    assert [job.state for job in standing].count(JobState.REPORTED) == 8
    waiting = [job for job in standing if job.state is JobState.RECEIVED]
    assert [(job.attempt, job.holder) for job in waiting] == [(0, None)] * 3


@batchwise
def test_a_ledger_that_fails_keeps_no_half_written_job(
    workspace: Workspace, worker: Make, tmp_path: Path
) -> None:
    job_id = workspace.receive(make_cr())
    database = tmp_path / "ledger.sqlite3"

    def lose_ledger(_: object) -> None:
        workspace.ledger.close()
        database.rename(tmp_path / "aside")
        database.mkdir()

    leased = workspace.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    worker(StandInPredictor(on_predict=lose_ledger)).infer_batch(leased)
    database.rmdir()
    (tmp_path / "aside").rename(database)
    assert workspace.stands(job_id) == (JobState.RECEIVED, None)
    workspace.clock.pass_seconds(61)
    worker().infer_due()
    assert workspace.stands(job_id) == (JobState.REPORTED, None)


class FailingClock(Clock):
    """The ledger's clock, which fails while `fails` is set: an error that no ledger expects."""

    fails = False

    def __call__(self) -> float:
        if self.fails:
            raise OSError("no time source")
        return super().__call__()


@pytest.fixture
def clock(workspace: Workspace) -> FailingClock:
    """Have the ledger read a clock that can fail."""
    workspace.ledger.close()
    workspace.clock = clock = FailingClock(workspace.clock.now)
    workspace.ledger = Ledger(workspace.settings.ledger_url, clock)
    return clock


def about(logged: list[MutableMapping[str, Any]], job_id: str) -> list[str]:
    """The log events about one job."""
    return [each["event"] for each in logged if each.get("job_id") == job_id]


@batchwise
def test_an_error_while_a_job_is_postponed_is_logged_once_and_the_others_go_on(
    workspace: Workspace, worker: Make, clock: FailingClock
) -> None:
    broken = make_cr()
    jobs = [workspace.receive(each) for each in (make_cr(), broken, make_cr())]

    def fail_with_the_ledger(dataset: Dataset) -> None:
        if dataset.SOPInstanceUID == broken.SOPInstanceUID:
            clock.fails = True
            fail()

    def recover(_: object) -> None:
        clock.fails = False

    with ThreadPoolExecutor(1) as one_by_one, capture_logs() as logged:
        predictor = StandInPredictor(on_read=fail_with_the_ledger, on_predict=recover)
        replace(worker(predictor), decoders=one_by_one).infer_due()
    assert about(logged, jobs[1]) == ["job_failed", "job_failed"]
    assert [type(each["exc_info"]) for each in logged if each["event"] == "job_failed"] == [
        RuntimeError,
        OSError,
    ]
    assert [workspace.stands(job_id)[0] for job_id in jobs] == [
        JobState.REPORTED,
        JobState.RECEIVED,
        JobState.REPORTED,
    ]
    assert workspace.job(jobs[1]).holder == "test/infer/1/", "its lease runs out by itself"
    clock.pass_seconds(workspace.settings.infer.lease_seconds + 1)
    worker().infer_due()
    assert workspace.stands(jobs[1]) == (JobState.REPORTED, None)


@batchwise
def test_an_error_while_a_whole_batch_is_postponed_is_logged_once_for_each_job(
    workspace: Workspace, worker: Make, clock: FailingClock
) -> None:
    jobs = [workspace.receive(make_cr()) for _ in range(3)]

    def fail_with_the_ledger(_: object) -> None:
        clock.fails = True
        fail()

    leased = workspace.ledger.jobs.lease("w/", 3, lease_seconds=60, maximum_attempts=3)
    with capture_logs() as logged:
        worker(StandInPredictor(on_predict=fail_with_the_ledger)).infer_batch(leased)
    clock.fails = False
    assert [each["event"] for each in logged] == [
        *["prediction_failed"] * 4,  # the batch, then each alone
        "predictor_failed",
        *["job_failed"] * 3,
    ]
    assert [about(logged, job_id) for job_id in jobs] == [["prediction_failed", "job_failed"]] * 3
    assert {workspace.job(job_id).holder for job_id in jobs} == {"w/"}


def test_a_database_that_is_gone_while_a_job_is_postponed_is_logged_once(
    workspace: Workspace, worker: Make, tmp_path: Path
) -> None:
    job_id = workspace.receive(make_cr())
    database = tmp_path / "ledger.sqlite3"

    def fail_with_the_database(_: object) -> None:
        workspace.ledger.close()
        database.rename(tmp_path / "aside")
        database.mkdir()
        fail()

    leased = workspace.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    with capture_logs() as logged:
        worker(StandInPredictor(on_read=fail_with_the_database)).infer_batch(leased)
    database.rmdir()
    (tmp_path / "aside").rename(database)
    assert about(logged, job_id) == ["job_failed", "ledger_silent"]
    assert workspace.job(job_id).holder == "w/"


NOT_ANALYSED_TOO = {
    **PACS,
    "outcomes": ["present", "absent", "indeterminate", "not_analysed"],
    "outputs": ["sr", "overlay"],
}


@pytest.fixture
def reporting(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace whose first destination also wants reports of what was not analysed."""
    workspace = Workspace(tmp_path / "reporting", destinations=(NOT_ANALYSED_TOO, SOUTH))
    yield workspace
    workspace.ledger.close()


def planned(workspace: Workspace, job_id: str) -> set[tuple[str, str]]:
    return {(each.kind, each.destination) for each in workspace.ledger.queries.deliveries(job_id)}


@pytest.mark.parametrize("where", ["header", "pixels", "network"])
def test_a_job_that_was_not_analysed_is_reported_to_destinations_that_want_it(
    reporting: Workspace, worker: Make, notified: list[str], where: str
) -> None:
    instance = make_cr(rows=64)
    reason = {"header": Reason.VIEW, "pixels": Reason.NO_PIXELS, "network": Reason.NOT_CHEST}[where]
    if where == "header":
        instance.ViewPosition = "LATERAL"
    if where == "pixels":
        del instance.PixelData
    job_id = reporting.receive(instance)
    worker(RefusingPredictor(refused_rows=8), workspace=reporting).infer_due()
    job = reporting.job(job_id)
    assert (job.state, job.not_analysed_reason, job.outcome) == (
        JobState.REPORTED,
        reason,
        "not_analysed",
    )
    assert planned(reporting, job_id) == {("sr", "pacs"), ("overlay", "pacs")}
    assert notified == ["pacs"], "south wants no such report"
    report = dcmread(reporting.output(job_id, "sr"))
    assert str(reason) in report.to_json()
    for each in reporting.ledger.deliveries.lease("pacs", "w/", 9, lease_seconds=60):
        reporting.ledger.deliveries.delivered(each, status=0)
    assert reporting.stands(job_id) == (JobState.NOT_ANALYSED, reason)
    job_counts = reporting.ledger.queries.job_counts()
    assert (job_counts.balance, job_counts.by_state[JobState.NOT_ANALYSED]) == (0, 1)


@pytest.mark.parametrize(
    ("sop_class", "reason"),
    [
        (Comprehensive3DSRStorage, Reason.NOT_AN_IMAGE),
        (BasicTextSRStorage, Reason.NOT_AN_IMAGE),
        (EncapsulatedPDFStorage, Reason.NOT_AN_IMAGE),
        (None, Reason.OWN_RESULT),
    ],
)
def test_no_report_is_made_of_a_report_or_of_our_own_result(
    reporting: Workspace, worker: Make, sop_class: UID | None, reason: Reason
) -> None:
    returned = make_cr()
    if sop_class is None:
        returned.InstanceCreatorUID = IMPLEMENTATION_CLASS_UID
    else:
        returned.SOPClassUID = returned.file_meta.MediaStorageSOPClassUID = sop_class
    before = NOT_ANALYSED.labels(reason=reason)._value.get()
    job_id = reporting.receive(returned)
    worker(workspace=reporting).infer_due()
    assert reporting.stands(job_id) == (JobState.NOT_ANALYSED, reason)
    assert reporting.outbox() == {}
    assert NOT_ANALYSED.labels(reason=reason)._value.get() == before + 1


def test_a_refusal_that_no_report_can_be_made_of_is_closed_all_the_same(
    reporting: Workspace, worker: Make
) -> None:
    instance = make_cr()
    instance.ViewPosition = "LATERAL"
    job_id = reporting.receive(instance)
    del instance.StudyInstanceUID
    instance.save_as(reporting.spool.inbox(job_id), enforce_file_format=True)
    with capture_logs() as logged:
        worker(workspace=reporting).infer_due()
    assert reporting.stands(job_id) == (JobState.NOT_ANALYSED, Reason.VIEW)
    assert about(logged, job_id) == ["refusal_unreported", "job_closed"]


def test_each_destination_gets_the_outputs_it_wants_for_the_outcomes_it_wants(
    tmp_path: Path, worker: Make
) -> None:
    """The stand-in's number is a mean: a dark picture reads absent, a bright one present."""
    workspace = Workspace(
        tmp_path / "routes",
        destinations=(
            {**PACS, "outputs": ["sr"]},
            {**SOUTH, "outputs": ["overlay"], "outcomes": ["present"]},
        ),
    )
    dark, bright = make_cr(rows=64), make_cr(rows=64)
    for instance, value in ((dark, b"\0\0"), (bright, b"\xff\x0f")):
        instance.PixelData = value * (len(instance.PixelData) // 2)
    negative, positive = workspace.receive(dark), workspace.receive(bright)
    worker(workspace=workspace).infer_due()
    assert [workspace.job(each).finding for each in (negative, positive)] == ["absent", "present"]
    assert planned(workspace, negative) == {("sr", "pacs")}
    assert planned(workspace, positive) == {("sr", "pacs"), ("overlay", "south")}
    workspace.ledger.close()


def test_a_finding_that_no_destination_wants_is_kept_in_the_ledger_and_ends_there(
    tmp_path: Path, worker: Make
) -> None:
    workspace = Workspace(
        tmp_path / "quiet", destinations=({**PACS, "outcomes": ["not_analysed"]},)
    )
    job_id = workspace.receive(make_cr())
    worker(workspace=workspace).infer_due()
    assert workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert workspace.job(job_id).probability is not None
    assert planned(workspace, job_id) == set()
    workspace.ledger.close()


def test_deliveries_are_planned_once_in_the_order_in_which_a_destination_names_outputs(
    tmp_path: Path, worker: Make
) -> None:
    wanted = {**PACS, "outputs": ["sr", "overlay", "pdf", "sr"]}
    workspace = Workspace(tmp_path / "order", destinations=(wanted,))
    job_id = workspace.receive(make_cr())
    worker(workspace=workspace).infer_due()
    kinds = [each.kind for each in workspace.ledger.queries.deliveries(job_id)]
    assert kinds == ["sr", "overlay", "pdf"]
    workspace.ledger.close()
