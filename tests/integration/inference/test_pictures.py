"""A picture for people is decoded only for outputs that show it, and its failure has a reason.

Ledger, spool and reports are the real ones; the predictor is a stand-in, whose number is a mean.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.inference_worker import PACS, Pixels, StandInPredictor, Workspace
from synthetic.objects import make_cr

from service.decoding import DecodersBusyError, DecodersLostError
from service.domain.job import JobState
from service.domain.reasons import Reason
from workers.prediction import NotAnalysable
from workers.tasks.inference_worker import InferenceWorker

Place = Callable[..., Workspace]
ALL = ["present", "absent", "indeterminate", "not_analysed"]


class GatedPredictor(StandInPredictor):
    """The stand-in, with a gate that refuses everything."""

    def predict(self, prepared: list[Pixels], ages: list[float | None] | None = None) -> list[Any]:
        return [NotAnalysable(Reason.NOT_CHEST) for _ in super().predict(prepared, ages)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made: list[Workspace] = []

    def make(*destinations: dict[str, object]) -> Workspace:
        made.append(Workspace(tmp_path, destinations=destinations))
        return made[0]

    yield make
    made[0].ledger.close()


def infer(workspace: Workspace, predictor: StandInPredictor) -> InferenceWorker:
    with ThreadPoolExecutor(2) as decoders:
        worker = workspace.worker(decoders, predictor)
        worker.infer_due()
    return worker


def failing(error: Exception) -> Callable[[Dataset], None]:
    def fail(_: Dataset) -> None:
        raise error

    return fail


def toned(value: bytes) -> Dataset:
    """Return an instance of one brightness: the stand-in finds pneumonia in a bright one."""
    dataset = make_cr(rows=64)
    dataset.PixelData = value * (len(dataset.PixelData) // 2)
    return dataset


DARK, BRIGHT = b"\0\0", b"\xff\x0f"


@pytest.mark.parametrize(
    ("outputs", "outcomes", "pictures"),
    [
        (["sr"], ALL, 0),
        (["sr", "gsps"], ALL, 0),
        (["sr", "overlay"], ["present"], 1),
        (["pdf"], ALL, 2),
        (["sr", "overlay", "pdf"], ALL, 2),
    ],
)
def test_a_picture_is_decoded_only_for_an_output_that_shows_it(
    place: Place, outputs: Sequence[str], outcomes: Sequence[str], pictures: int
) -> None:
    workspace = place({**PACS, "outputs": outputs, "outcomes": outcomes})
    jobs = [workspace.receive(toned(value)) for value in (DARK, BRIGHT)]
    predictor = StandInPredictor()
    infer(workspace, predictor)
    assert [workspace.job(each).finding for each in jobs] == ["absent", "present"]
    assert len(predictor.pictures) == pictures
    kinds = {each.kind for each in workspace.ledger.queries.outputs(jobs[1])}
    assert kinds == {"sr", *outputs}


def test_a_picture_that_cannot_be_decoded_closes_the_job_with_the_reason(place: Place) -> None:
    workspace = place({**PACS, "outcomes": ALL})
    predictor = StandInPredictor(on_picture=failing(NotAnalysable(Reason.DECODER_TIMEOUT)))
    job_id = workspace.receive(make_cr())
    infer(workspace, predictor)
    job = workspace.job(job_id)
    assert (job.state, job.not_analysed_reason) == (JobState.REPORTED, Reason.DECODER_TIMEOUT)
    assert str(Reason.DECODER_TIMEOUT) in dcmread(workspace.output(job_id, "sr")).to_json()


def test_a_report_of_a_refusal_does_without_a_picture_that_cannot_be_decoded(place: Place) -> None:
    workspace = place({**PACS, "outcomes": ALL})
    predictor = GatedPredictor(on_picture=failing(NotAnalysable(Reason.DECODER_CRASHED)))
    job_id = workspace.receive(make_cr())
    infer(workspace, predictor)
    job = workspace.job(job_id)
    assert (job.state, job.not_analysed_reason) == (JobState.REPORTED, Reason.NOT_CHEST)
    assert len(predictor.pictures) == 1
    assert {each.kind for each in workspace.ledger.queries.outputs(job_id)} == {"sr", "overlay"}


def test_a_picture_for_which_no_decoder_has_time_uses_up_no_try(place: Place) -> None:
    workspace = place({**PACS, "outputs": ["sr", "overlay"]})
    job_id = workspace.receive(make_cr())
    infer(workspace, StandInPredictor(on_picture=failing(DecodersBusyError())))
    job = workspace.job(job_id)
    assert (job.state, job.tries) == (JobState.RECEIVED, 0)
    workspace.clock.pass_seconds(3600)
    infer(workspace, StandInPredictor())
    assert workspace.stands(job_id) == (JobState.REPORTED, None)


def test_lost_decoders_are_noticed_while_a_picture_is_decoded(place: Place) -> None:
    workspace = place(PACS)
    job_id = workspace.receive(make_cr())
    with pytest.raises(DecodersLostError):
        infer(workspace, StandInPredictor(on_picture=failing(DecodersLostError())))
    job = workspace.job(job_id)
    assert (job.state, job.tries, job.holder) == (JobState.RECEIVED, 0, None)
