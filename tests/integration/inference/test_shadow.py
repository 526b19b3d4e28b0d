"""A shadow model on live instances: what it says is kept, and nothing of it is sent.

Ledger, spool and reports are the real ones; both predictors are stand-ins, whose number is a mean.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
from pydicom.dataset import Dataset
from support.inference_worker import Pixels, StandInPredictor, Workspace
from synthetic.objects import make_cr
from synthetic.report_sources import MODEL

from service.domain.job import JobState
from service.domain.monitoring.inputs import DriftInput
from service.domain.monitoring.shadow import Comparison
from service.domain.reasons import Reason
from service.domain.routing import Outcome
from service.settings import Settings
from service.storage.ledger.work.shadows import BYTES_GONE, EXHAUSTED, SAME_MODEL
from service.telemetry.metrics import SHADOW_READINGS
from workers.prediction import Model, NotAnalysable, OperatingPoint
from workers.tasks.shadow_worker import ShadowWorker

ALWAYS: Final = OperatingPoint(
    name="always", threshold=0, indeterminate_low=0, indeterminate_high=0
)
SHADOW: Final = replace(MODEL, name="candidate", version="9", operating_point=ALWAYS)


@dataclass
class RefusingPredictor(StandInPredictor):
    """The stand-in, which refuses every radiograph after its network."""

    def predict(
        self, prepared: list[Pixels], ages: list[float | None] | None = None
    ) -> list[Any]:  # refusals
        return [NotAnalysable(Reason.UNFAMILIAR) for _ in super().predict(prepared, ages)]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = Workspace(tmp_path / "state", shadow={"path": tmp_path})
    yield opened
    opened.ledger.close()


def cr(**values: str) -> Dataset:
    instance = make_cr()
    for keyword, value in values.items():
        setattr(instance, keyword, value)
    return instance


def report(workspace: Workspace, predictor: StandInPredictor | None = None) -> None:
    """Let the model that reports analyse what is due."""
    with ThreadPoolExecutor(2) as decoders:
        workspace.worker(decoders, predictor).infer_due()


def shadow(workspace: Workspace, predictor: StandInPredictor | None = None) -> ShadowWorker:
    fields: dict[str, Any] = {
        "settings": workspace.settings,
        "ledger": workspace.ledger,
        "spool": workspace.spool,
        "predictor": predictor or StandInPredictor(model=SHADOW),
        "holder": "test/shadow/1/",
    }
    return ShadowWorker(**fields)


def compared(workspace: Workspace, job_id: str) -> Comparison:
    found = workspace.ledger.comparisons.of(job_id)
    assert found is not None
    return found


def test_it_reads_what_was_reported_and_nothing_of_the_job_changes(workspace: Workspace) -> None:
    job_id = workspace.receive(make_cr())
    report(workspace)
    job, outputs = workspace.job(job_id), workspace.outbox()
    counts, names = workspace.ledger.queries.delivery_counts(), workspace.names(job_id)

    before = SHADOW_READINGS.labels(reported=str(job.finding), shadow=Outcome.PRESENT)._value.get()
    assert shadow(workspace).read_batch() == 1
    found = compared(workspace, job_id)
    assert found.reported.model == f"{MODEL.name} {MODEL.version}"
    assert (found.shadow.model, found.shadow.operating_point) == ("candidate 9", "always")
    assert found.shadow.probability == pytest.approx(job.probability)
    assert found.reported.outcome == job.finding
    assert found.shadow.outcome is Outcome.PRESENT

    assert (workspace.job(job_id), workspace.outbox()) == (job, outputs)
    assert workspace.ledger.queries.delivery_counts() == counts
    assert workspace.names(job_id) == names
    assert shadow(workspace).read_batch() == 0
    counted = SHADOW_READINGS.labels(reported=str(job.finding), shadow=Outcome.PRESENT)
    assert counted._value.get() == before + 1


def test_several_are_read_as_one_batch(workspace: Workspace) -> None:
    for _ in range(3):
        workspace.receive(make_cr())
    report(workspace)
    predictor = StandInPredictor(model=SHADOW)
    assert shadow(workspace, predictor).read_batch() == 3
    assert predictor.batches == [3]
    assert workspace.ledger.shadows.pending() == 0


def test_what_one_refuses_and_the_other_reads_would_be_a_change(workspace: Workspace) -> None:
    job_id = workspace.receive(make_cr())
    report(workspace)
    shadow(workspace, RefusingPredictor(model=SHADOW)).read_batch()
    found = compared(workspace, job_id)
    assert found.is_change
    assert (found.shadow.outcome, found.shadow.reason) == (
        Outcome.NOT_ANALYSED,
        Reason.UNFAMILIAR,
    )


def test_what_the_first_model_refuses_is_read_too(workspace: Workspace) -> None:
    job_id = workspace.receive(make_cr())
    report(workspace, RefusingPredictor())
    assert workspace.stands(job_id) == (JobState.NOT_ANALYSED, Reason.UNFAMILIAR)
    shadow(workspace).read_batch()
    found = compared(workspace, job_id)
    assert found.reported.reason is Reason.UNFAMILIAR
    assert found.shadow.outcome is Outcome.PRESENT
    assert workspace.stands(job_id) == (JobState.NOT_ANALYSED, Reason.UNFAMILIAR)


def test_an_instance_without_usable_pixels_is_refused_by_both(workspace: Workspace) -> None:
    bare = make_cr()
    del bare.PixelData
    job_id = workspace.receive(bare)
    report(workspace)
    shadow(workspace).read_batch()
    found = compared(workspace, job_id)
    assert found.reported.reason is found.shadow.reason is Reason.NO_PIXELS


def test_what_the_header_alone_excludes_is_nothing_for_a_shadow_model(
    workspace: Workspace,
) -> None:
    job_id = workspace.receive(cr(Modality="CT"))
    report(workspace)
    assert workspace.stands(job_id) == (JobState.NOT_ANALYSED, Reason.MODALITY)
    assert workspace.ledger.shadows.pending() == 0


def test_a_model_that_fails_on_one_instance_still_reads_the_others(workspace: Workspace) -> None:
    small, others = workspace.receive(make_cr(rows=64)), [workspace.receive(make_cr())]
    report(workspace)

    def fail(prepared: list[Pixels]) -> None:
        if any(each.shape[1] == 8 for each in prepared):
            raise RuntimeError("a fault of the bundle")

    worker = shadow(workspace, StandInPredictor(model=SHADOW, on_predict=fail))
    assert worker.read_batch() == 2
    assert compared(workspace, others[0]).shadow.finding == "present"
    assert workspace.ledger.comparisons.of(small) is None
    for _ in range(workspace.settings.infer.maximum_attempts):
        workspace.clock.pass_seconds(workspace.settings.infer.maximum_backoff_seconds)
        worker.read_batch()
    assert workspace.ledger.shadows.pending() == 0
    assert workspace.ledger.comparisons.failures(0, 9e9) == {EXHAUSTED: 1}
    assert workspace.stands(small)[0] is JobState.REPORTED, "and the report is not affected"


def test_a_process_that_ends_with_an_instance_each_time_gives_it_up(workspace: Workspace) -> None:
    workspace.receive(make_cr())
    report(workspace)
    maximum = workspace.settings.infer.maximum_attempts
    for _ in range(maximum):
        assert len(workspace.ledger.shadows.lease("h/shadow/1/", 9, lease_seconds=1)) == 1
        workspace.ledger.release("h/shadow/1/")
    predictor = StandInPredictor(model=SHADOW)
    assert shadow(workspace, predictor).read_batch() == 1
    assert predictor.batches == []
    assert workspace.ledger.comparisons.failures(0, 9e9) == {EXHAUSTED: 1}


def test_bytes_that_retention_took_are_given_up(workspace: Workspace) -> None:
    job_id = workspace.receive(make_cr())
    report(workspace)
    workspace.spool.inbox(job_id).unlink()
    shadow(workspace).read_batch()
    assert workspace.ledger.comparisons.failures(0, 9e9) == {BYTES_GONE: 1}


def test_one_that_is_analysed_again_meanwhile_spoils_no_other(workspace: Workspace) -> None:
    first, second = workspace.receive(make_cr()), workspace.receive(make_cr())
    report(workspace)

    def meanwhile(_: list[Pixels]) -> None:
        for each in workspace.ledger.deliveries.lease("pacs", "t/", 99, lease_seconds=60):
            workspace.ledger.deliveries.delivered(each, status=0)
        workspace.clock.pass_seconds(1)
        if workspace.job(first).state is JobState.DELIVERED:
            workspace.ledger.jobs.reanalyse(first)
            report(workspace)

    shadow(workspace, StandInPredictor(model=SHADOW, on_predict=meanwhile)).read_batch()
    assert compared(workspace, second).shadow.model == "candidate 9"
    assert workspace.ledger.comparisons.of(first) is None
    assert workspace.ledger.shadows.pending() == 1
    assert shadow(workspace).read_batch() == 1
    assert compared(workspace, first).shadow.model == "candidate 9"


def test_only_a_share_is_read_and_always_the_same_instances(tmp_path: Path) -> None:
    settings = Settings(shadow={"path": tmp_path, "share": 0.25})
    ids = [f"{n * 0x9E3779B1 % (1 << 32):08x}{n:024x}" for n in range(4000)]
    taken = [each for each in ids if settings.shadow.takes(each)]
    assert 900 < len(taken) < 1100
    assert taken == [each for each in ids if settings.shadow.takes(each)]
    assert not any(map(Settings().shadow.takes, ids))


def test_the_groups_of_each_instance_are_kept_with_its_job(workspace: Workspace) -> None:
    job_id = workspace.receive(cr(Manufacturer="SIEMENS", ViewPosition="PA", KVP="125"))
    report(workspace)
    groups = workspace.ledger.drift_inputs.of(job_id)
    assert groups is not None
    assert (groups.manufacturer, groups.view, groups.kvp) == ("siemens", "PA", "120 to 130")
    counts = workspace.ledger.drift.counts(0, 9e9)
    assert counts[DriftInput.MANUFACTURER] == {"siemens": 1}
    assert counts[DriftInput.REFUSAL] == {"none": 1}


def model_of(workspace: Workspace, job_id: str) -> str | None:
    return workspace.job(job_id).model


def test_promotion_and_rollback_lose_no_work_and_go_on_comparing(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The settings are exchanged by one of them; the predictors are exchanged with them here."""
    first = workspace.receive(make_cr())
    report(workspace)
    shadow(workspace).read_batch()
    waiting = workspace.receive(make_cr())  # received before, analysed after the promotion

    own, candidate = workspace.settings.bundle.path, tmp_path
    configured = workspace.settings.model_copy(
        update={"shadow": workspace.settings.shadow.model_copy(update={"promoted": True})}
    )
    workspace.settings = configured.with_promoted_bundle()
    assert workspace.settings.bundle.path == candidate
    assert workspace.settings.shadow.path == own
    report(workspace, StandInPredictor(model=SHADOW))
    shadow(workspace, StandInPredictor()).read_batch()
    assert model_of(workspace, waiting) == "candidate 9"
    found = compared(workspace, waiting)
    assert (found.reported.model, found.shadow.model) == (
        "candidate 9",
        f"{MODEL.name} {MODEL.version}",
    )

    back = configured.model_copy(
        update={"shadow": configured.shadow.model_copy(update={"promoted": False})}
    )
    workspace.settings = back.with_promoted_bundle()
    assert workspace.settings.bundle.path == own
    last = workspace.receive(make_cr())
    report(workspace)
    assert model_of(workspace, last) == model_of(workspace, first)
    assert compared(workspace, first).shadow.model == "candidate 9", "the first one stays"
    states = {workspace.stands(each)[0] for each in (first, waiting, last)}
    assert states == {JobState.REPORTED}
    assert workspace.ledger.queries.job_counts().balance == 0
    assert len(workspace.ledger.comparisons.pairs(0, 9e9)) == 2


def test_a_model_does_not_read_what_it_reported_itself(workspace: Workspace) -> None:
    """So it is after a promotion, of what the other model had not read before."""
    workspace.receive(make_cr())
    report(workspace, StandInPredictor(model=SHADOW))
    predictor = StandInPredictor(model=SHADOW)
    assert shadow(workspace, predictor).read_batch() == 1
    assert predictor.batches == []
    assert workspace.ledger.comparisons.failures(0, 9e9) == {SAME_MODEL: 1}


def test_a_whole_model_is_named_in_the_comparison(workspace: Workspace) -> None:
    job_id = workspace.receive(make_cr())
    report(workspace)
    model = Model(
        name="x", version="1", weights_sha256="cd" * 32, calibrated=True, operating_point=ALWAYS
    )
    shadow(workspace, StandInPredictor(model=model)).read_batch()
    assert compared(workspace, job_id).shadow.weights_sha256 == "cd" * 32


def refuse_reading(_: Dataset) -> None:
    raise OSError(5, "Input/output error")


def test_a_disk_that_fails_is_tried_again_later(workspace: Workspace) -> None:
    workspace.receive(make_cr())
    report(workspace)
    worker = shadow(workspace, StandInPredictor(model=SHADOW, on_read=refuse_reading))
    assert worker.read_batch() == 1
    assert worker.read_batch() == 0, "it pauses"
    assert workspace.ledger.shadows.pending() == 1
