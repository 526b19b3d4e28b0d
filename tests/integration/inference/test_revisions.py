"""Revisions: an instance analysed again, the documents replaced, and their UIDs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.inference_worker import PACS, StandInPredictor, Workspace
from support.purged import purge_finished
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

OTHER_MODEL = replace(MODEL, version="2.0.0", weights_sha256="f" * 64)
OTHER_POINT = replace(MODEL, operating_point=replace(BALANCED, name="screening", threshold=0.41))


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(tmp_path)
    yield workspace
    workspace.ledger.close()


def analyse(
    workspace: Workspace,
    model: Model = MODEL,
    **predictor: Any,  # noqa: ANN401 -- any field of the stand-in
) -> None:
    with ThreadPoolExecutor(1) as decoders:
        workspace.worker(decoders, StandInPredictor(model=model, **predictor)).infer_due()


def deliver(workspace: Workspace) -> list[str]:
    """Have the destination take all that is due, and return its UIDs."""
    leased = workspace.ledger.deliveries.lease("pacs", "w/", 9, lease_seconds=60)
    for each in leased:
        workspace.ledger.deliveries.delivered(each, status=0)
    return [each.sop_instance_uid for each in leased]


def report(workspace: Workspace, job_id: str) -> Dataset:
    return dcmread(workspace.output(job_id, "sr"))


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
    workspace: Workspace, model: Model
) -> None:
    job_id = workspace.receive(make_cr())
    analyse(workspace)
    first = report(workspace, job_id)
    assert "PredecessorDocumentsSequence" not in first
    deliver(workspace)
    workspace.clock.pass_seconds(86_400)
    assert workspace.ledger.jobs.reanalyse(job_id).state is JobState.RECEIVED
    analyse(workspace, model)
    second = report(workspace, job_id)
    assert followed(second) == named(first)
    assert second.SeriesInstanceUID != first.SeriesInstanceUID
    assert second.ContentDate > first.ContentDate, "dated by when it was asked for"
    assert len(deliver(workspace)) == 2
    assert workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert workspace.ledger.queries.job_counts().balance == 0


def test_the_same_model_again_gives_the_same_objects_and_sends_nothing_twice(
    workspace: Workspace,
) -> None:
    job_id = workspace.receive(make_cr())
    analyse(workspace)
    deliver(workspace)
    before = workspace.outbox()
    workspace.clock.pass_seconds(86_400)
    workspace.ledger.jobs.reanalyse(job_id)
    analyse(workspace)
    assert workspace.outbox() == before
    assert deliver(workspace) == []
    assert workspace.stands(job_id) == (JobState.DELIVERED, None)


def test_going_back_to_the_first_model_is_a_third_document_and_never_another_under_one_name(
    workspace: Workspace,
) -> None:
    job_id = workspace.receive(make_cr())
    documents = []
    for model in (MODEL, OTHER_MODEL, MODEL, MODEL):
        analyse(workspace, model)
        documents.append(report(workspace, job_id))
        deliver(workspace)
        workspace.clock.pass_seconds(60)
        workspace.ledger.jobs.reanalyse(job_id)
    first, second, third, again = documents
    assert followed(second) == named(first)
    assert followed(third) == named(second)
    assert third.SOPInstanceUID != first.SOPInstanceUID
    assert again == third
    history = workspace.ledger.queries.revisions(workspace.job(job_id))
    assert [each.sop_instance_uid for each in history] == [
        each.SOPInstanceUID for each in (first, second, third)
    ]


def test_a_report_on_corrected_bytes_follows_the_one_on_the_first(workspace: Workspace) -> None:
    first = make_cr()
    second = make_cr()
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(second, keyword, getattr(first, keyword))
    second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    second.PatientID = "CORRECTED"
    job_id = workspace.receive(first)
    analyse(workspace)
    deliver(workspace)
    workspace.clock.pass_seconds(60)
    corrected_id = workspace.receive(second)
    assert workspace.job(corrected_id).corrects == job_id
    analyse(workspace)
    corrected = report(workspace, corrected_id)
    assert followed(corrected) == named(report(workspace, job_id))
    assert corrected.PatientID == "CORRECTED"
    assert corrected.SOPInstanceUID != report(workspace, job_id).SOPInstanceUID
    deliver(workspace)
    for each in (job_id, corrected_id):
        workspace.ledger.jobs.reanalyse(each)
    before = workspace.outbox()
    analyse(workspace)
    assert workspace.outbox() == before, "each is made again as it was, whichever came last"


def test_a_report_on_the_first_bytes_never_follows_one_on_what_corrected_them(
    workspace: Workspace,
) -> None:
    first, second = make_cr(), make_cr()
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(second, keyword, getattr(first, keyword))
    second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    second.PatientID = "CORRECTED"
    late = workspace.receive(first)
    (job,) = workspace.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    workspace.ledger.jobs.park(job, Reason.REPORT_FAILED)
    workspace.clock.pass_seconds(60)
    corrected = workspace.receive(second)
    analyse(workspace)
    workspace.ledger.jobs.requeue(late, to(["pacs"]))
    analyse(workspace)
    for each in (late, corrected):
        assert "PredecessorDocumentsSequence" not in report(workspace, each)


def test_the_comprehensive_sr_fallback_follows_the_fallback_that_was_sent(
    workspace: Workspace,
) -> None:
    job_id = workspace.receive(make_cr())
    analyse(workspace)
    first = fallback(report(workspace, job_id))
    deliver(workspace)
    workspace.ledger.jobs.reanalyse(job_id)
    analyse(workspace, OTHER_MODEL)
    assert followed(fallback(report(workspace, job_id))) == named(first)


def fallback(document: Dataset) -> Dataset:
    original = Output(
        kind=OutputKind.SR,
        dataset=document,
        sop_class_uid=document.SOPClassUID,
        sop_instance_uid=document.SOPInstanceUID,
    )
    return as_comprehensive(original).dataset


def test_an_instance_that_the_new_model_refuses_ends_without_outputs(workspace: Workspace) -> None:
    job_id = workspace.receive(make_cr())
    analyse(workspace)
    deliver(workspace)
    workspace.ledger.jobs.reanalyse(job_id)

    def refuse(_: object) -> None:
        raise NotAnalysable(Reason.LATERAL)

    analyse(workspace, OTHER_MODEL, on_read=refuse)
    assert workspace.stands(job_id) == (JobState.NOT_ANALYSED, Reason.LATERAL)
    assert workspace.ledger.queries.outputs(job_id) == []


def test_only_a_job_that_has_ended_or_is_parked_is_analysed_again(workspace: Workspace) -> None:
    job_id = workspace.receive(make_cr())
    with pytest.raises(TransitionError):
        workspace.ledger.jobs.reanalyse(job_id)
    analyse(workspace)
    with pytest.raises(TransitionError):
        workspace.ledger.jobs.reanalyse(job_id)
    with pytest.raises(LookupError):
        workspace.ledger.jobs.reanalyse("0" * 32)
    deliver(workspace)
    assert purge_finished(workspace.ledger) == [job_id]
    with pytest.raises(TransitionError, match="retention"):
        workspace.ledger.jobs.reanalyse(job_id)


def test_a_worker_with_a_lease_from_before_changes_nothing_of_the_new_analysis(
    workspace: Workspace,
) -> None:
    job_id = workspace.receive(make_cr())
    (stale,) = workspace.ledger.jobs.lease("w/", 1, lease_seconds=1, maximum_attempts=3)
    workspace.clock.pass_seconds(2)
    analyse(workspace)
    deliver(workspace)
    workspace.ledger.jobs.reanalyse(job_id)
    with pytest.raises(StaleLeaseError):
        workspace.ledger.jobs.not_analysed(stale, Reason.VIEW)


def test_a_job_parked_in_its_second_analysis_is_requeued_to_the_model_and_not_to_the_pacs(
    workspace: Workspace,
) -> None:
    job_id = workspace.receive(make_cr())
    analyse(workspace)
    deliver(workspace)
    workspace.clock.pass_seconds(1)
    workspace.ledger.jobs.reanalyse(job_id)
    (job,) = workspace.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    workspace.ledger.jobs.park(job, Reason.REPORT_FAILED)
    assert workspace.ledger.jobs.requeue(job_id, to(["pacs"])).state is JobState.RECEIVED


def test_a_report_sent_to_one_destination_and_parked_at_another_is_sent_anew_to_both(
    tmp_path: Path,
) -> None:
    workspace = Workspace(tmp_path, destinations=(PACS, {**PACS, "name": "south"}))
    job_id = workspace.receive(make_cr())
    analyse(workspace)
    deliver(workspace)
    for each in workspace.ledger.deliveries.lease("south", "w/", 9, lease_seconds=60):
        workspace.ledger.deliveries.park(each, Reason.DESTINATION_REFUSED)
    assert workspace.stands(job_id) == (JobState.PARKED, Reason.DESTINATION_REFUSED)
    workspace.ledger.jobs.reanalyse(job_id)
    analyse(workspace, OTHER_MODEL)
    planned = workspace.ledger.queries.deliveries(job_id)
    assert {(each.kind, each.destination, each.state) for each in planned} == {
        (kind, name, DeliveryState.PENDING)
        for kind in ("sr", "overlay")
        for name in ("pacs", "south")
    }
    workspace.ledger.close()
