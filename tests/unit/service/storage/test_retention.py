"""Retention: what is removed and what is never touched."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from support.inference_worker import Workspace
from support.routes import to
from synthetic.objects import make_cr

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, Job, JobState
from service.domain.reasons import Reason
from service.storage.retention import DAY_SECONDS, purge


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, spool={"keep_days": 7}, ledger={"keep_days": 365})


def take(workspace: Workspace, at_once: int = 1_000) -> int:
    return purge(workspace.settings, workspace.ledger, workspace.spool, at_once=at_once)


def ended(workspace: Workspace, dataset: Dataset | None = None) -> str:
    """Receive an instance, give it an output, and end it."""
    job_id = workspace.receive(dataset or make_cr(rows=8, columns=8))
    workspace.spool.put_output(job_id, "sr", "2.25.1", b"a report")
    (job,) = workspace.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    workspace.ledger.jobs.not_analysed(job, Reason.VIEW)
    return job_id


def kept(workspace: Workspace, job_id: str) -> tuple[bool, bool]:
    return workspace.spool.inbox(job_id).exists(), workspace.spool.outbox(
        job_id, "sr", "2.25.1"
    ).exists()


def test_bytes_go_first_and_the_row_much_later(workspace: Workspace) -> None:
    job_id = ended(workspace)
    workspace.clock.pass_seconds(7 * DAY_SECONDS)
    assert take(workspace) == 0
    assert kept(workspace, job_id) == (True, True)
    workspace.clock.pass_seconds(1)
    assert take(workspace) == 1
    assert kept(workspace, job_id) == (False, False)
    assert workspace.job(job_id).purged_at == workspace.clock.now
    assert workspace.names(job_id)[-1] == "purged"
    assert take(workspace) == 0, "once is enough"
    workspace.clock.pass_seconds(358 * DAY_SECONDS)
    assert take(workspace) == 1
    assert workspace.ledger.queries.job(job_id) is None
    job_counts = workspace.ledger.queries.job_counts()
    assert (job_counts.received, job_counts.forgotten, job_counts.balance) == (1, 1, 0)


@pytest.mark.parametrize("state", [JobState.RECEIVED, JobState.REPORTED, JobState.PARKED])
def test_what_is_in_flight_or_parked_is_never_touched(
    workspace: Workspace, state: JobState
) -> None:
    job_id = workspace.receive(make_cr(rows=8, columns=8))
    if state is not JobState.RECEIVED:
        (job,) = workspace.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
        if state is JobState.PARKED:
            workspace.ledger.jobs.park(job, Reason.REPORT_FAILED)
        else:
            report(workspace, job)
    assert workspace.stands(job_id)[0] is state
    workspace.clock.pass_seconds(10_000 * DAY_SECONDS)
    assert take(workspace) == 0
    assert workspace.spool.inbox(job_id).exists()


def report(workspace: Workspace, job: Job) -> None:
    workspace.ledger.jobs.report(
        job,
        ConclusionRecord(
            finding="absent", probability=0.1, operating_point="balanced", model="m 1"
        ),
        [OutputRecord(kind="sr", sop_class_uid="1.2.3", sop_instance_uid="2.25.1")],
        to(["pacs"]),
    )


def test_a_job_that_others_correct_goes_after_them_and_does_not_block_others(
    workspace: Workspace,
) -> None:
    first = make_cr(rows=8, columns=8)
    second = make_cr(rows=8, columns=8)
    for uid in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(second, uid, getattr(first, uid))
    second.PatientID = "CORRECTED"
    second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    corrected = ended(workspace, first)
    workspace.clock.pass_seconds(1)
    correction = ended(workspace, second)
    workspace.clock.pass_seconds(366 * DAY_SECONDS)
    taken = []
    while touched := take(workspace, at_once=1):
        taken.append(touched)
    assert (
        workspace.ledger.queries.job(corrected) is workspace.ledger.queries.job(correction) is None
    )
    assert sum(taken) == 4, "each lost its bytes and its row"


def test_a_backlog_is_taken_turn_by_turn(workspace: Workspace) -> None:
    for _ in range(5):
        ended(workspace)
    workspace.clock.pass_seconds(8 * DAY_SECONDS)
    assert [take(workspace, at_once=2) for _ in range(4)] == [2, 2, 1, 0]


def test_bytes_that_are_gone_already_are_no_obstacle(workspace: Workspace) -> None:
    job_id = ended(workspace)
    workspace.spool.discard(job_id)
    workspace.clock.pass_seconds(8 * DAY_SECONDS)
    assert take(workspace) == 1
    assert workspace.job(job_id).purged_at is not None
