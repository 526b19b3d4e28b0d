"""Ages from headers decide what is reported: through the infer worker, with a real bundle."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from structlog.testing import capture_logs
from support.foreign_bundle import by_age, make_bundle, populated
from support.inference_worker import PACS, Pixels, StandInPredictor, Workspace
from synthetic.objects import make_cr

from service.domain.job import JobState
from service.domain.reasons import Reason
from service.settings import BundleSettings
from service.telemetry.metrics import NOT_ANALYSED, POPULATIONS
from workers.inference.predictor import Predictor, load_predictor

# MONAI's readers warn about a missing orientation and a decoder that is not installed
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:PydicomReader", "ignore:NvImgCodecPydicomReader", "ignore:Divide by zero"
    ),
    pytest.mark.usefixtures("validation_mode_restored"),
]

EVERYTHING = ["present", "absent", "indeterminate", "not_analysed"]
BORN = {"young": "20220615", "old": "19700101", "unknown": ""}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "aged", populated, by_age)


@pytest.fixture
def workspace(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    infer = getattr(request, "param", {})
    destinations = ({**PACS, "outcomes": EVERYTHING},)
    workspace = Workspace(tmp_path, destinations=destinations, infer=infer)
    yield workspace
    workspace.ledger.close()


@pytest.fixture
def decoders() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def work(workspace: Workspace, decoders: ThreadPoolExecutor) -> Callable[..., None]:
    """Infer all due jobs with a predictor."""

    def infer(
        predictor: StandInPredictor | Predictor,
        **more: Any,  # noqa: ANN401 -- any field of the worker
    ) -> None:
        workspace.worker(decoders, predictor, **more).infer_due()

    return infer


def of(bundle: Path, *report: str) -> Predictor:
    return load_predictor(BundleSettings(path=bundle, device="cpu", report_populations=report))


def texts(dataset: Dataset) -> str:
    return "\n".join(str(each.value) for each in dataset.iterall() if each.keyword == "TextValue")


def test_each_instance_of_a_batch_is_concluded_by_the_age_in_its_header(
    workspace: Workspace, work: Callable[..., None], bundle: Path
) -> None:
    old = POPULATIONS.labels(population="old", outcome="not_analysed")
    refused, reported = old._value.get(), NOT_ANALYSED.labels(reason=Reason.POPULATION)._value.get()
    jobs = {name: workspace.receive(make_cr(birth_date=born)) for name, born in BORN.items()}
    with capture_logs() as logged:
        work(of(bundle))
    fields = {key for line in logged for key in line}
    assert not fields & {"age", "age_years", "population"}, "a log says nothing of a patient"
    assert workspace.job(jobs["young"]).finding == "indeterminate"
    assert workspace.job(jobs["unknown"]).finding in {"present", "absent"}
    job = workspace.job(jobs["old"])
    assert (job.state, job.not_analysed_reason, job.finding) == (
        JobState.REPORTED,
        Reason.POPULATION,
        None,
    )
    assert old._value.get() == refused + 1
    assert NOT_ANALYSED.labels(reason=Reason.POPULATION)._value.get() == reported + 1
    report = dcmread(workspace.output(jobs["old"], "sr"))
    assert "population-not-validated" in report.to_json()
    assert "Pneumonia PRESENT" not in texts(report)
    assert "threshold 0.4," in texts(dcmread(workspace.output(jobs["young"], "sr")))


def test_where_no_destination_wants_it_the_job_ends_not_analysed(
    tmp_path: Path, decoders: ThreadPoolExecutor, bundle: Path
) -> None:
    workspace = Workspace(tmp_path)
    job_id = workspace.receive(make_cr(birth_date=BORN["old"]))
    workspace.worker(decoders, of(bundle)).infer_due()
    assert workspace.stands(job_id) == (JobState.NOT_ANALYSED, Reason.POPULATION)
    workspace.ledger.close()


def test_a_setting_has_them_reported_and_a_job_from_before_is_reported_when_reanalysed(
    workspace: Workspace, work: Callable[..., None], bundle: Path
) -> None:
    job_id = workspace.receive(make_cr(birth_date=BORN["old"]))
    work(of(bundle))
    first = dcmread(workspace.output(job_id, "sr"))
    for each in workspace.ledger.deliveries.lease("pacs", "w/", 9, lease_seconds=60):
        workspace.ledger.deliveries.delivered(each, status=0)
    assert workspace.stands(job_id) == (JobState.NOT_ANALYSED, Reason.POPULATION)
    workspace.ledger.jobs.reanalyse(job_id)
    work(of(bundle, "old"))
    job = workspace.job(job_id)
    assert job.finding in {"present", "absent", "indeterminate"}
    second = dcmread(workspace.output(job_id, "sr"))
    assert first.SOPInstanceUID in second.to_json(), "it names the report that it replaces"


@pytest.mark.parametrize(
    "workspace", [pytest.param({"overlap": False}, id="batchwise")], indirect=True
)
def test_an_instance_that_is_predicted_alone_keeps_its_age(
    workspace: Workspace, work: Callable[..., None]
) -> None:
    rows = {"young": 200, "old": 320, "unknown": 400}
    for name, born in BORN.items():
        workspace.receive(make_cr(birth_date=born, rows=rows[name]))
    alone: list[int] = []

    def fail_together(inputs: list[Pixels]) -> None:
        if len(inputs) > 1:
            raise RuntimeError("as a library might")
        alone.append(8 * inputs[0].shape[1])

    predictor = StandInPredictor(on_predict=fail_together)
    work(predictor)
    assert predictor.batches == [3, 1, 1, 1]
    ages = [age and int(age) for age in predictor.ages[3:]]
    assert dict(zip(alone, ages, strict=True)) == {200: 3, 320: 56, 400: None}


def test_a_job_that_met_a_fault_is_tried_again_with_its_age(
    workspace: Workspace, work: Callable[..., None]
) -> None:
    def lose_memory(_: object) -> None:
        raise MemoryError

    workspace.receive(make_cr(birth_date=BORN["old"]))
    work(StandInPredictor(on_predict=lose_memory))
    workspace.clock.pass_seconds(3600)
    predictor = StandInPredictor()
    work(predictor)
    assert [age and int(age) for age in predictor.ages] == [None, 56], "a blank input goes first"
