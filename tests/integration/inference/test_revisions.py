"""Revisions: an instance analysed again, the documents replaced, and their UIDs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.inference_worker import PACS, StandInPredictor, Workspace
from support.routes import to
from synthetic.objects import make_cr
from synthetic.report_sources import BALANCED, MODEL

from service.domain.delivery import DeliveryState
from service.domain.job import JobState, TransitionError
from service.domain.reasons import Reason
from service.storage.ledger import StaleLeaseError
from workers.prediction import Model, NotAnalysable
from workers.reporting.output import Output, as_comprehensive
from workers.reporting.outputs import OutputKind
from workers.tasks.infer import InferenceWorker

OTHER_MODEL = replace(MODEL, version="2.0.0", weights_sha256="f" * 64)
OTHER_POINT = replace(MODEL, operating_point=replace(BALANCED, name="screening", threshold=0.41))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Workspace]:
    house = Workspace(tmp_path)
    yield house
    house.ledger.close()


def analyse(house: Workspace, model: Model = MODEL, **predictor: object) -> None:
    with ThreadPoolExecutor(1) as decoders:
        InferenceWorker(
            settings=house.settings,
            ledger=house.ledger,
            spool=house.spool,
            predictor=StandInPredictor(model=model, **predictor),
            notify=lambda _: None,
            holder="test/infer/1/",
            decoders=decoders,
        ).infer_due()


def deliver(house: Workspace) -> list[str]:
    """Have the destination take all that is due, and return its UIDs."""
    leased = house.ledger.deliveries.lease("pacs", "w/", 9, lease_seconds=60)
    for each in leased:
        house.ledger.deliveries.delivered(each, status=0)
    return [each.sop_instance_uid for each in leased]


def report(house: Workspace, job_id: str) -> Dataset:
    return dcmread(house.output(job_id, "sr"))


def followed(document: Dataset) -> tuple[str, str, str, str]:
    """Return class, instance, series and study of the one predecessor of a document."""
    (study,) = document.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    return (
        instance.ReferencedSOPClassUID,
        instance.ReferencedSOPInstanceUID,
        series.SeriesInstanceUID,
        study.StudyInstanceUID,
    )


def named(document: Dataset) -> tuple[str, str, str, str]:
    return (
        document.SOPClassUID,
        document.SOPInstanceUID,
        document.SeriesInstanceUID,
        document.StudyInstanceUID,
    )


@pytest.mark.parametrize("model", [OTHER_MODEL, OTHER_POINT], ids=["model", "operating point"])
def test_another_model_or_operating_point_gives_a_report_that_follows_the_one_before(
    house: Workspace, model: Model
) -> None:
    job_id = house.receive(make_cr())
    analyse(house)
    first = report(house, job_id)
    assert "PredecessorDocumentsSequence" not in first
    deliver(house)
    house.clock.pass_seconds(86_400)
    assert house.ledger.jobs.reanalyse(job_id).state is JobState.RECEIVED
    analyse(house, model)
    second = report(house, job_id)
    assert followed(second) == named(first)
    assert second.SeriesInstanceUID != first.SeriesInstanceUID
    assert second.ContentDate > first.ContentDate, "dated by when it was asked for"
    assert len(deliver(house)) == 2
    assert house.stands(job_id) == (JobState.DELIVERED, None)
    assert house.ledger.queries.job_counts().balance == 0


def test_the_same_model_again_gives_the_same_objects_and_sends_nothing_twice(
    house: Workspace,
) -> None:
    job_id = house.receive(make_cr())
    analyse(house)
    deliver(house)
    before = house.outbox()
    house.clock.pass_seconds(86_400)
    house.ledger.jobs.reanalyse(job_id)
    analyse(house)
    assert house.outbox() == before
    assert deliver(house) == []
    assert house.stands(job_id) == (JobState.DELIVERED, None)


def test_going_back_to_the_first_model_is_a_third_document_and_never_another_under_one_name(
    house: Workspace,
) -> None:
    job_id = house.receive(make_cr())
    documents = []
    for model in (MODEL, OTHER_MODEL, MODEL, MODEL):
        analyse(house, model)
        documents.append(report(house, job_id))
        deliver(house)
        house.clock.pass_seconds(60)
        house.ledger.jobs.reanalyse(job_id)
    first, second, third, again = documents
    assert followed(second) == named(first)
    assert followed(third) == named(second)
    assert third.SOPInstanceUID != first.SOPInstanceUID
    assert again == third
    history = house.ledger.queries.revisions(house.job(job_id))
    assert [each.sop_instance_uid for each in history] == [
        each.SOPInstanceUID for each in (first, second, third)
    ]


def test_a_report_on_corrected_bytes_follows_the_one_on_the_first(house: Workspace) -> None:
    first = make_cr()
    second = make_cr()
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(second, keyword, getattr(first, keyword))
    second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    second.PatientID = "CORRECTED"
    job_id = house.receive(first)
    analyse(house)
    deliver(house)
    house.clock.pass_seconds(60)
    corrected_id = house.receive(second)
    assert house.job(corrected_id).corrects == job_id
    analyse(house)
    corrected = report(house, corrected_id)
    assert followed(corrected) == named(report(house, job_id))
    assert corrected.PatientID == "CORRECTED"
    assert corrected.SOPInstanceUID != report(house, job_id).SOPInstanceUID
    deliver(house)
    for each in (job_id, corrected_id):
        house.ledger.jobs.reanalyse(each)
    before = house.outbox()
    analyse(house)
    assert house.outbox() == before, "each is made again as it was, whichever came last"


def test_a_report_on_the_first_bytes_never_follows_one_on_what_corrected_them(
    house: Workspace,
) -> None:
    first, second = make_cr(), make_cr()
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(second, keyword, getattr(first, keyword))
    second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    second.PatientID = "CORRECTED"
    late = house.receive(first)
    (job,) = house.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    house.ledger.jobs.park(job, Reason.REPORT_FAILED)
    house.clock.pass_seconds(60)
    corrected = house.receive(second)
    analyse(house)
    house.ledger.jobs.requeue(late, to(["pacs"]))
    analyse(house)
    for each in (late, corrected):
        assert "PredecessorDocumentsSequence" not in report(house, each)


def test_the_comprehensive_sr_fallback_follows_the_fallback_that_was_sent(house: Workspace) -> None:
    job_id = house.receive(make_cr())
    analyse(house)
    first = fallback(report(house, job_id))
    deliver(house)
    house.ledger.jobs.reanalyse(job_id)
    analyse(house, OTHER_MODEL)
    assert followed(fallback(report(house, job_id))) == named(first)


def fallback(document: Dataset) -> Dataset:
    original = Output(
        kind=OutputKind.SR,
        dataset=document,
        sop_class_uid=document.SOPClassUID,
        sop_instance_uid=document.SOPInstanceUID,
    )
    return as_comprehensive(original).dataset


def test_an_instance_that_the_new_model_refuses_ends_without_outputs(house: Workspace) -> None:
    job_id = house.receive(make_cr())
    analyse(house)
    deliver(house)
    house.ledger.jobs.reanalyse(job_id)

    def refuse(_: object) -> None:
        raise NotAnalysable(Reason.LATERAL)

    analyse(house, OTHER_MODEL, on_read=refuse)
    assert house.stands(job_id) == (JobState.NOT_ANALYSED, Reason.LATERAL)
    assert house.ledger.queries.outputs(job_id) == []


def test_only_a_job_that_has_ended_or_is_parked_is_analysed_again(house: Workspace) -> None:
    job_id = house.receive(make_cr())
    with pytest.raises(TransitionError):
        house.ledger.jobs.reanalyse(job_id)
    analyse(house)
    with pytest.raises(TransitionError):
        house.ledger.jobs.reanalyse(job_id)
    with pytest.raises(LookupError):
        house.ledger.jobs.reanalyse("0" * 32)
    deliver(house)
    house.ledger.jobs.mark_purged(job_id)
    with pytest.raises(TransitionError, match="retention"):
        house.ledger.jobs.reanalyse(job_id)


def test_a_worker_with_a_lease_from_before_changes_nothing_of_the_new_analysis(
    house: Workspace,
) -> None:
    job_id = house.receive(make_cr())
    (stale,) = house.ledger.jobs.lease("w/", 1, lease_seconds=1, maximum_attempts=3)
    house.clock.pass_seconds(2)
    analyse(house)
    deliver(house)
    house.ledger.jobs.reanalyse(job_id)
    with pytest.raises(StaleLeaseError):
        house.ledger.jobs.not_analysed(stale, Reason.VIEW)


def test_a_job_parked_in_its_second_analysis_is_requeued_to_the_model_and_not_to_the_pacs(
    house: Workspace,
) -> None:
    job_id = house.receive(make_cr())
    analyse(house)
    deliver(house)
    house.clock.pass_seconds(1)
    house.ledger.jobs.reanalyse(job_id)
    (job,) = house.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    house.ledger.jobs.park(job, Reason.REPORT_FAILED)
    assert house.ledger.jobs.requeue(job_id, to(["pacs"])).state is JobState.RECEIVED


def test_a_report_sent_to_one_destination_and_parked_at_another_is_sent_anew_to_both(
    tmp_path: Path,
) -> None:
    house = Workspace(tmp_path, destinations=(PACS, {**PACS, "name": "south"}))
    job_id = house.receive(make_cr())
    analyse(house)
    deliver(house)
    for each in house.ledger.deliveries.lease("south", "w/", 9, lease_seconds=60):
        house.ledger.deliveries.park(each, Reason.DESTINATION_REFUSED)
    assert house.stands(job_id) == (JobState.PARKED, Reason.DESTINATION_REFUSED)
    house.ledger.jobs.reanalyse(job_id)
    analyse(house, OTHER_MODEL)
    planned = house.ledger.queries.deliveries(job_id)
    assert {(each.kind, each.destination, each.state) for each in planned} == {
        (kind, name, DeliveryState.PENDING)
        for kind in ("sr", "overlay")
        for name in ("pacs", "south")
    }
    house.ledger.close()
