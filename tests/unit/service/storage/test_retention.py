"""Retention: what is removed, when, and what is never touched."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from support.inference_worker import Workspace
from support.routes import to
from synthetic.objects import make_cr

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, Job, JobState
from service.domain.reasons import Reason
from service.storage.retention import DAY_SECONDS, Purged, RetentionBusyError, held, purge
from service.storage.spool import Spool


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, spool={"keep_days": 7}, ledger={"keep_days": 365})


def take(workspace: Workspace, at_once: int = 1_000) -> Purged:
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


def size(workspace: Workspace, job_id: str) -> int:
    return workspace.spool.inbox(job_id).stat().st_size + len(b"a report")


def test_bytes_go_first_and_the_row_much_later(workspace: Workspace) -> None:
    job_id = ended(workspace)
    whole = size(workspace, job_id)
    workspace.clock.pass_seconds(7 * DAY_SECONDS)
    assert take(workspace) == Purged()
    assert kept(workspace, job_id) == (True, True)
    workspace.clock.pass_seconds(1)
    assert take(workspace) == Purged(by_age=1, freed_bytes=whole)
    assert kept(workspace, job_id) == (False, False)
    assert workspace.job(job_id).purged_at == workspace.clock.now
    assert workspace.names(job_id)[-1] == "purged"
    assert take(workspace) == Purged(), "once is enough"
    workspace.clock.pass_seconds(358 * DAY_SECONDS)
    assert take(workspace) == Purged(forgotten=1)
    assert workspace.ledger.queries.job(job_id) is None
    job_counts = workspace.ledger.queries.job_counts()
    assert (job_counts.received, job_counts.forgotten, job_counts.balance) == (1, 1, 0)


@pytest.mark.parametrize("state", [JobState.RECEIVED, JobState.REPORTED, JobState.PARKED])
def test_what_is_in_flight_or_parked_is_never_touched(tmp_path: Path, state: JobState) -> None:
    workspace = Workspace(tmp_path, spool={"maximum_bytes": 1 << 20})
    job_id = workspace.receive(make_cr(rows=1024, columns=1024))
    assert workspace.spool.used_bytes() > 1 << 20
    if state is not JobState.RECEIVED:
        (job,) = workspace.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
        if state is JobState.PARKED:
            workspace.ledger.jobs.park(job, Reason.REPORT_FAILED)
        else:
            report(workspace, job)
    assert workspace.stands(job_id)[0] is state
    workspace.clock.pass_seconds(10_000 * DAY_SECONDS)
    assert take(workspace) == Purged()
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
    taken = Purged()
    while (touched := take(workspace, at_once=1)).jobs:
        taken += touched
    assert (
        workspace.ledger.queries.job(corrected) is workspace.ledger.queries.job(correction) is None
    )
    assert (taken.by_age, taken.forgotten) == (2, 2)


def test_a_backlog_is_taken_turn_by_turn(workspace: Workspace) -> None:
    for _ in range(5):
        ended(workspace)
    workspace.clock.pass_seconds(8 * DAY_SECONDS)
    assert [take(workspace, at_once=2).by_age for _ in range(4)] == [2, 2, 1, 0]


def test_bytes_that_are_gone_already_are_no_obstacle(workspace: Workspace) -> None:
    job_id = ended(workspace)
    workspace.spool.discard(job_id)
    workspace.clock.pass_seconds(8 * DAY_SECONDS)
    assert take(workspace) == Purged(by_age=1)
    assert workspace.job(job_id).purged_at is not None


def test_a_full_spool_loses_what_finished_first_and_no_more_than_it_must(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, spool={"maximum_bytes": 3 << 20})
    jobs = []
    for _ in range(24):
        jobs.append(ended(workspace, make_cr(rows=320, columns=320)))  # 200 KiB
        workspace.clock.pass_seconds(1)
    used, first = workspace.spool.used_bytes(), sum(size(workspace, each) for each in jobs[:10])
    assert used > 3 << 20
    taken = take(workspace)
    assert (taken.by_age, taken.by_size, taken.forgotten) == (0, 10, 0), "ten at a time"
    assert workspace.spool.used_bytes() == used - taken.freed_bytes <= 3 << 20
    assert taken.freed_bytes == first
    assert [kept(workspace, job_id)[0] for job_id in jobs] == [False] * 10 + [True] * 14
    assert take(workspace) == Purged()
    trace = workspace.ledger.queries.trace(jobs[0])
    assert (trace[-1].name, trace[-1].detail) == ("purged", {"by": "size"})


def test_what_was_committed_to_a_sender_is_kept_as_long_from_then(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, spool={"keep_days": 7, "maximum_bytes": 1 << 20})
    job_id = ended(workspace, make_cr(rows=1024, columns=1024))
    workspace.clock.pass_seconds(6 * DAY_SECONDS)
    assert workspace.ledger.retention.keep([job_id]) == {job_id}
    workspace.clock.pass_seconds(6 * DAY_SECONDS)
    assert take(workspace) == Purged(), "neither by age nor by size"
    workspace.clock.pass_seconds(2 * DAY_SECONDS)
    assert take(workspace).by_age == 1
    assert workspace.ledger.retention.keep([job_id]) == frozenset(), "nothing to promise any more"


def test_files_that_a_crash_left_are_removed_by_the_next_turn(workspace: Workspace) -> None:
    job_id = ended(workspace)
    workspace.clock.pass_seconds(8 * DAY_SECONDS)
    assert workspace.ledger.retention.mark_older(7 * DAY_SECONDS, 9) == [job_id]
    assert kept(workspace, job_id) == (True, True), "marked, and then the process was killed"
    assert take(workspace).freed_bytes > 0
    assert kept(workspace, job_id) == (False, False)


def test_what_a_late_worker_wrote_goes_with_the_row(workspace: Workspace) -> None:
    job_id = ended(workspace)
    workspace.clock.pass_seconds(8 * DAY_SECONDS)
    take(workspace)
    workspace.spool.put_output(job_id, "sr", "2.25.1", b"by a worker presumed dead")
    workspace.clock.pass_seconds(366 * DAY_SECONDS)
    assert take(workspace) == Purged(forgotten=1)
    assert kept(workspace, job_id) == (False, False)


def test_nothing_is_removed_while_a_copy_is_made(workspace: Workspace) -> None:
    job_id = ended(workspace)
    workspace.clock.pass_seconds(366 * DAY_SECONDS)
    with held(workspace.spool, 0):
        assert take(workspace) == Purged(is_held=True)
        with pytest.raises(RetentionBusyError), held(workspace.spool, 0):
            pass  # pragma: no cover -- not reached
    assert kept(workspace, job_id) == (True, True)
    assert take(workspace).jobs == 2


def test_a_copy_waits_for_a_turn_in_progress_and_then_says_so(workspace: Workspace) -> None:
    job_id = ended(workspace)
    workspace.clock.pass_seconds(8 * DAY_SECONDS)
    refused = []

    class HeldOff(Spool):
        """A double of the spool: it tries to keep retention from its work."""

        def discard(self, job_id: str) -> int:
            try:
                with held(self, 0):
                    refused.append(False)
            except RetentionBusyError:
                refused.append(True)
            return super().discard(job_id)

    spool = HeldOff(workspace.spool.root)
    assert purge(workspace.settings, workspace.ledger, spool).by_age == 1
    assert refused == [True]
    assert kept(workspace, job_id) == (False, False)


def test_the_lock_is_of_this_account_alone(workspace: Workspace) -> None:
    take(workspace)
    assert (workspace.spool.root / "retention.lock").stat().st_mode & 0o777 == 0o600
