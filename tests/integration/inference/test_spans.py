"""The spans of receiving and analysing: what a refusal, a failure and a batch look like.

Ledger, spool and reports are the real ones; the predictor is a stand-in, whose number is a mean.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from support.inference_worker import PACS, Pixels, StandInPredictor, Workspace
from synthetic.objects import make_cr

from service.domain.job import JobState
from service.domain.reasons import Reason
from service.telemetry.tracing.spans import Span, Step, use_sink
from workers.prediction import NotAnalysable


@pytest.fixture
def spans() -> Iterator[list[Span]]:
    taken: list[Span] = []
    use_sink(taken.append)
    yield taken
    use_sink(None)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(tmp_path, destinations=(PACS,), infer={"overlap": False})
    yield workspace
    workspace.ledger.close()


def infer(workspace: Workspace, predictor: StandInPredictor | None = None) -> None:
    with ThreadPoolExecutor(2) as decoders:
        workspace.worker(decoders, predictor).infer_due()


def steps(spans: list[Span], job_id: str) -> list[Step]:
    return [each.step for each in spans if each.job_id == job_id]


def only(spans: list[Span], step: Step) -> Span:
    (span,) = (each for each in spans if each.step is step)
    return span


def test_a_batch_is_a_span_in_the_trace_of_each_of_its_instances(
    workspace: Workspace, spans: list[Span]
) -> None:
    jobs = [workspace.receive(make_cr(rows=64, columns=64)) for _ in range(2)]
    infer(workspace)
    for job_id in jobs:
        assert steps(spans, job_id) == list(Step)[: list(Step).index(Step.DELIVER)]
    predicting = [each for each in spans if each.step is Step.PREDICT]
    assert [each.fields["batch"] for each in predicting] == [2, 2]
    assert predicting[0].ended_at == predicting[1].ended_at
    assert [each.is_root for each in spans if each.step is Step.RECEIVE] == [True, True]
    assert not any(each.error for each in spans)


def test_what_cannot_be_read_names_its_reason_and_is_no_error(
    workspace: Workspace, spans: list[Span]
) -> None:
    def refuse(_: Dataset) -> None:
        raise NotAnalysable(Reason.PIXELS_UNREADABLE, "Doe^Jane")

    job_id = workspace.receive(make_cr(rows=64, columns=64))
    infer(workspace, StandInPredictor(on_read=refuse))
    assert workspace.job(job_id).state is JobState.NOT_ANALYSED
    decoding = only(spans, Step.DECODE)
    assert decoding.error is None
    assert decoding.fields["reason"] == Reason.PIXELS_UNREADABLE
    assert "Doe" not in str(spans)


def test_a_step_that_fails_is_an_error_by_the_type_of_what_was_raised(
    workspace: Workspace, spans: list[Span]
) -> None:
    def fail(_: Dataset) -> None:
        raise ValueError("Doe^Jane")

    workspace.receive(make_cr(rows=64, columns=64))
    infer(workspace, StandInPredictor(on_read=fail))
    decoding = only(spans, Step.DECODE)
    assert decoding.error == "builtins.ValueError"
    assert decoding.fields == {"attempt": 1}


def test_a_prediction_that_fails_is_an_error_in_each_trace(
    workspace: Workspace, spans: list[Span]
) -> None:
    def fail_together(prepared: list[Pixels]) -> None:
        if len(prepared) > 1:
            raise RuntimeError("Doe^Jane")

    jobs = [workspace.receive(make_cr(rows=64, columns=64)) for _ in range(2)]
    infer(workspace, StandInPredictor(on_predict=fail_together))
    for job_id in jobs:
        tried = [each for each in spans if each.step is Step.PREDICT and each.job_id == job_id]
        assert [each.error for each in tried] == ["builtins.RuntimeError", None]
        assert [each.fields["batch"] for each in tried] == [2, 1]


def test_a_rejected_instance_has_no_job_and_no_span(
    workspace: Workspace, spans: list[Span]
) -> None:
    dataset = make_cr(rows=64, columns=64)
    del dataset.StudyInstanceUID
    with pytest.raises(AssertionError, match="Rejection"):
        workspace.receive(dataset)
    assert spans == []
