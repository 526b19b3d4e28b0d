"""What retention takes and what it never touches."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from support.inference_worker import House
from support.routes import to
from synthetic.objects import make_cr

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, Job, JobState
from service.domain.reasons import Reason
from service.storage.retention import DAY_SECONDS, purge


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, spool={"keep_days": 7}, ledger={"keep_days": 365})


def take(house: House, at_once: int = 1_000) -> int:
    now = house.clock.now
    return purge(house.settings, house.ledger, house.spool, now=now, at_once=at_once)


def ended(house: House, dataset: Dataset | None = None) -> str:
    """Receive an instance, give it an output, and end it."""
    job_id = house.receive(dataset or make_cr(rows=8, columns=8))
    house.spool.put_output(job_id, "sr", "2.25.1", b"a report")
    (job,) = house.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    house.ledger.jobs.not_analysed(job, Reason.VIEW)
    return job_id


def kept(house: House, job_id: str) -> tuple[bool, bool]:
    return house.spool.inbox(job_id).exists(), house.spool.outbox(job_id, "sr", "2.25.1").exists()


def test_bytes_go_first_and_the_row_much_later(house: House) -> None:
    job_id = ended(house)
    house.clock.pass_seconds(7 * DAY_SECONDS)
    assert take(house) == 0
    assert kept(house, job_id) == (True, True)
    house.clock.pass_seconds(1)
    assert take(house) == 1
    assert kept(house, job_id) == (False, False)
    assert house.job(job_id).purged_at == house.clock.now
    assert house.names(job_id)[-1] == "purged"
    assert take(house) == 0, "once is enough"
    house.clock.pass_seconds(358 * DAY_SECONDS)
    assert take(house) == 1
    assert house.ledger.queries.job(job_id) is None
    job_counts = house.ledger.queries.job_counts()
    assert (job_counts.received, job_counts.forgotten, job_counts.balance) == (1, 1, 0)


@pytest.mark.parametrize("state", [JobState.RECEIVED, JobState.REPORTED, JobState.PARKED])
def test_what_is_still_owed_or_parked_is_never_touched(house: House, state: JobState) -> None:
    job_id = house.receive(make_cr(rows=8, columns=8))
    if state is not JobState.RECEIVED:
        (job,) = house.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
        if state is JobState.PARKED:
            house.ledger.jobs.park(job, Reason.REPORT_FAILED)
        else:
            report(house, job)
    assert house.stands(job_id)[0] is state
    house.clock.pass_seconds(10_000 * DAY_SECONDS)
    assert take(house) == 0
    assert house.spool.inbox(job_id).exists()


def report(house: House, job: Job) -> None:
    house.ledger.jobs.report(
        job,
        ConclusionRecord(
            finding="absent", probability=0.1, operating_point="balanced", model="m 1"
        ),
        [OutputRecord(kind="sr", sop_class_uid="1.2.3", sop_instance_uid="2.25.1")],
        to(["pacs"]),
    )


def test_a_job_that_others_correct_goes_after_them_and_stands_in_nobodys_way(
    house: House,
) -> None:
    first = make_cr(rows=8, columns=8)
    second = make_cr(rows=8, columns=8)
    for uid in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(second, uid, getattr(first, uid))
    second.PatientID = "CORRECTED"
    second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    corrected = ended(house, first)
    house.clock.pass_seconds(1)
    correction = ended(house, second)
    house.clock.pass_seconds(366 * DAY_SECONDS)
    taken = []
    while touched := take(house, at_once=1):
        taken.append(touched)
    assert house.ledger.queries.job(corrected) is house.ledger.queries.job(correction) is None
    assert sum(taken) == 4, "each lost its bytes and its row"


def test_a_backlog_is_taken_turn_by_turn(house: House) -> None:
    for _ in range(5):
        ended(house)
    house.clock.pass_seconds(8 * DAY_SECONDS)
    assert [take(house, at_once=2) for _ in range(4)] == [2, 2, 1, 0]


def test_bytes_that_are_gone_already_are_no_obstacle(house: House) -> None:
    job_id = ended(house)
    house.spool.discard(job_id)
    house.clock.pass_seconds(8 * DAY_SECONDS)
    assert take(house) == 1
    assert house.job(job_id).purged_at is not None
