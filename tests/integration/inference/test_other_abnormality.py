"""A bundle that reads another abnormality: what the worker keeps, counts and logs of it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import dcmread
from structlog.testing import capture_logs
from support.inference_worker import PACS, StandInPredictor, Workspace
from synthetic.objects import make_cr
from synthetic.report_sources import OTHER_PROBABILITIES, other_abnormality

from service.domain.job import JobState, OtherAbnormality
from service.telemetry.metrics import OTHER_ABNORMALITIES
from service.telemetry.structured_log import FIELDS
from workers.prediction import Finding


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    every_kind = {**PACS, "outputs": ["sr", "overlay", "gsps", "pdf"]}
    workspace = Workspace(tmp_path, destinations=(every_kind,))
    yield workspace
    workspace.ledger.close()


def counted() -> dict[Finding, float]:
    return {each: OTHER_ABNORMALITIES.labels(finding=each)._value.get() for each in Finding}


def infer(workspace: Workspace, predictor: StandInPredictor) -> None:
    with ThreadPoolExecutor(2) as decoders:
        workspace.worker(decoders, predictor).infer_due()


@pytest.mark.parametrize("finding", list(Finding))
def test_the_reading_is_kept_counted_and_logged(workspace: Workspace, finding: Finding) -> None:
    job_id = workspace.receive(make_cr())
    before = counted()
    with capture_logs() as logs:
        infer(workspace, StandInPredictor(other=other_abnormality(finding), population="children"))
    job = workspace.job(job_id)
    assert job.state is JobState.REPORTED
    assert job.other == OtherAbnormality(
        finding=finding, probability=OTHER_PROBABILITIES[finding], operating_point="balanced"
    )
    assert job.population == "children"
    assert {each: counted()[each] - before[each] for each in Finding} == {
        each: float(each is finding) for each in Finding
    }
    (entry,) = (each for each in logs if each["event"] == "job_reported")
    assert entry["other_finding"] == finding
    assert FIELDS["other_finding"].fullmatch(entry["other_finding"])
    assert "population" not in entry, "it follows from the age"
    assert "abnormal-other" in dcmread(workspace.output(job_id, "sr")).to_json()


def test_a_second_analysis_with_the_same_bundle_makes_the_same_bytes(workspace: Workspace) -> None:
    job_id = workspace.receive(make_cr())
    predictor = StandInPredictor(other=other_abnormality(Finding.PRESENT), population="adults")
    infer(workspace, predictor)
    first = workspace.outbox()
    assert len(first) == 4
    (job,) = (workspace.job(job_id),)
    for delivery in workspace.ledger.deliveries.lease("pacs", "test/", 9, lease_seconds=60):
        workspace.ledger.deliveries.delivered(delivery, status=0)
    workspace.clock.pass_seconds(1000)
    workspace.ledger.jobs.reanalyse(job_id)
    infer(workspace, predictor)
    assert workspace.outbox() == first
    assert workspace.job(job_id).other == job.other


def test_a_bundle_that_reads_pneumonia_alone_counts_none(workspace: Workspace) -> None:
    job_id = workspace.receive(make_cr())
    before = counted()
    infer(workspace, StandInPredictor())
    job = workspace.job(job_id)
    assert (job.other, job.population) == (None, None)
    assert counted() == before
