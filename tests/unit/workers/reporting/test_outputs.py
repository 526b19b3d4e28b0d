"""What is kept of a prediction: the same bytes each time, and durable before it is owed."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from pydicom import dcmread
from support.inference_worker import StandInPredictor, Workspace
from synthetic.objects import make_cr

from service.domain.job import Job, JobState
from service.domain.routing import OutputKind
from service.storage.ledger import StaleLeaseError
from workers.inference.loading import LoadedInstance, read
from workers.prediction import Conclusion, Prediction
from workers.reporting.output import ReportError
from workers.reporting.outputs import make_outputs, store_outputs

if TYPE_CHECKING:
    from workers.inference.predictor import Predictor


@pytest.fixture
def house(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def predicted(house: Workspace, job_id: str) -> tuple[LoadedInstance, Prediction]:
    predictor = StandInPredictor()
    reading = read(cast("Predictor", predictor), house.spool.inbox(job_id))
    (prediction,) = predictor.predict([reading.prepared.tensor])
    return reading, prediction


def keep(house: Workspace, job: Job, reading: LoadedInstance, conclusion: Conclusion) -> None:
    store_outputs(
        house.settings,
        house.ledger,
        house.spool,
        job,
        reading.header,
        reading.shown,
        conclusion,
    )


def lease(house: Workspace) -> Job:
    (job,) = house.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    return job


def test_a_prediction_becomes_a_report_and_an_overlay_in_outbox_and_ledger(
    house: Workspace,
) -> None:
    job_id = house.receive(make_cr())
    reading, prediction = predicted(house, job_id)
    keep(house, lease(house), reading, prediction)
    job = house.job(job_id)
    assert (job.state, job.finding) == (JobState.REPORTED, prediction.finding)
    assert job.probability == prediction.probability
    assert (job.operating_point, job.model) == ("balanced", "lobar_pneumonia 1.2.3")
    outputs = house.ledger.queries.outputs(job_id)
    assert [each.kind for each in outputs] == ["overlay", "sr"]
    for each in outputs:
        kept = dcmread(house.output(job_id, each.kind))
        assert kept.SOPInstanceUID == each.sop_instance_uid
        assert kept.SOPClassUID == each.sop_class_uid
    owed = house.ledger.queries.deliveries(job_id)
    assert {(each.kind, each.destination) for each in owed} == {("sr", "pacs"), ("overlay", "pacs")}


def test_a_second_run_makes_the_same_bytes_however_late_it_is(house: Workspace) -> None:
    job_id = house.receive(make_cr())
    reading, prediction = predicted(house, job_id)
    stale = lease(house)
    house.clock.pass_seconds(100_000)
    keep(house, lease(house), reading, prediction)
    kept = house.outbox()
    assert len(kept) == 2
    with pytest.raises(StaleLeaseError):
        keep(house, stale, reading, prediction)
    assert house.outbox() == kept


def test_a_corrected_instance_gets_objects_of_its_own_beside_the_firsts(house: Workspace) -> None:
    first, second = make_cr(), make_cr()
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    second.SeriesInstanceUID, second.StudyInstanceUID = (
        first.SeriesInstanceUID,
        first.StudyInstanceUID,
    )
    second.PatientID = "CORRECTED"
    uids = []
    for dataset in (first, second):
        job_id = house.receive(dataset)
        house.clock.pass_seconds(1)
        reading, prediction = predicted(house, job_id)
        keep(house, lease(house), reading, prediction)
        uids += [each.sop_instance_uid for each in house.ledger.queries.outputs(job_id)]
    assert len(set(uids)) == 4
    assert len({dcmread(path).SeriesInstanceUID for path in outputs(house)}) == 4


def outputs(house: Workspace) -> list[Path]:
    return list((house.spool.root / "outbox").glob("??/*.dcm"))


def test_a_source_that_no_report_can_name_leaves_nothing_behind(house: Workspace) -> None:
    job_id = house.receive(make_cr())
    reading, prediction = predicted(house, job_id)
    del reading.header["StudyInstanceUID"]
    job = lease(house)
    with pytest.raises(ReportError):
        keep(house, job, reading, prediction)
    assert house.outbox() == {}
    assert house.job(job_id).state is JobState.RECEIVED


def test_the_objects_are_dated_by_the_receipt_and_else_those_of_no_server(house: Workspace) -> None:
    house.clock.pass_seconds(-100_000)
    job_id = house.receive(make_cr())
    reading, prediction = predicted(house, job_id)
    keep(house, lease(house), reading, prediction)
    received_at = datetime.fromtimestamp(house.job(job_id).received_at, tz=UTC)
    made = make_outputs(
        reading.header,
        reading.shown.picture,
        prediction,
        kinds=(OutputKind.SR, OutputKind.OVERLAY),
        now=received_at,
    )
    assert {output.encode() for output in made} == set(house.outbox().values())


def test_a_slow_worker_with_another_model_leaves_the_bytes_that_are_owed_alone(
    house: Workspace,
) -> None:
    job_id = house.receive(make_cr())
    reading, prediction = predicted(house, job_id)
    stale = lease(house)
    house.clock.pass_seconds(100_000)
    keep(house, lease(house), reading, prediction)
    owed = house.output(job_id, "sr").read_bytes()
    other = replace(prediction, model=replace(prediction.model, version="9"))
    with pytest.raises(StaleLeaseError):
        keep(house, stale, reading, other)
    assert house.output(job_id, "sr").read_bytes() == owed
