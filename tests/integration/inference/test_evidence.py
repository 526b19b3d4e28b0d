"""What the model saw reaches the ledger, in the coordinates of the radiograph."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray
from support.foreign_bundle import attentive, by_age, gated, make_bundle, populated
from support.inference_worker import Workspace
from synthetic.objects import make_cr

from service.domain.evidence import Evidence
from service.domain.job import JobState
from service.domain.reasons import Reason
from service.settings import BundleSettings
from workers.inference.predictor import load_predictor

# MONAI's readers warn about a missing orientation and a decoder that is not installed
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:PydicomReader", "ignore:NvImgCodecPydicomReader", "ignore:Divide by zero"
    ),
    pytest.mark.usefixtures("validation_mode_restored"),
]

ROWS: Final = 480
COLUMNS: Final = 240


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(tmp_path / "state", destinations=())
    yield workspace
    workspace.ledger.close()


def analyse(workspace: Workspace, bundle: Path, pixels: NDArray[np.uint16] | None = None) -> str:
    instance = make_cr(rows=ROWS, columns=COLUMNS)
    if pixels is not None:
        instance.PixelData = pixels.tobytes()
    job_id = workspace.receive(instance)
    predictor = load_predictor(BundleSettings(path=bundle, device="cpu"))
    with ThreadPoolExecutor(2) as decoders:
        workspace.worker(decoders, predictor).infer_due()
    assert workspace.stands(job_id) == (JobState.PARKED, Reason.NO_DESTINATION), "it is reported"
    return job_id


def evidence(workspace: Workspace, job_id: str) -> Evidence:
    found = workspace.ledger.evidence.of(job_id)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("top", "left"), [(0.0, 0.0), (0.0, 0.75), (0.75, 0.0), (0.75, 0.75), (0.5, 0.25)]
)
def test_a_bright_spot_is_found_again_where_it_is_in_the_radiograph(
    workspace: Workspace, tmp_path: Path, top: float, left: float
) -> None:
    pixels = np.full((ROWS, COLUMNS), 200, np.uint16)
    rows = slice(int(top * ROWS), int((top + 0.25) * ROWS))
    columns = slice(int(left * COLUMNS), int((left + 0.25) * COLUMNS))
    pixels[rows, columns] = 4000
    bundle = make_bundle(tmp_path / "bundle", configuration=attentive)
    attention = evidence(workspace, analyse(workspace, bundle, pixels)).attention
    assert attention is not None
    assert (attention.rows, attention.columns) == (6, 6)
    values = np.array(attention.values).reshape(attention.rows, attention.columns)
    row, column = np.unravel_index(values.argmax(), values.shape)
    centre = (row + 0.5) / attention.rows, (column + 0.5) / attention.columns
    assert top <= centre[0] <= top + 0.25
    assert left <= centre[1] <= left + 0.25
    assert values.max() > 0.9
    assert np.median(values) < 0.1


def test_a_bundle_without_a_map_leaves_the_rest_of_the_evidence(
    workspace: Workspace, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "bundle", populated, by_age)
    found = evidence(workspace, analyse(workspace, bundle))
    assert found.attention is None
    assert (found.other_threshold, found.other_indeterminate_low) == (0.5, 0.45)
    assert found.calibrated
    assert found.weights_sha256 is not None
    assert len(found.weights_sha256) == 64


def test_another_model_s_evidence_replaces_the_earlier_one(
    workspace: Workspace, tmp_path: Path
) -> None:
    with_map = make_bundle(tmp_path / "one", configuration=attentive)
    job_id = analyse(workspace, with_map)
    assert evidence(workspace, job_id).attention is not None
    workspace.clock.pass_seconds(60)
    workspace.ledger.jobs.reanalyse(job_id)
    without = make_bundle(tmp_path / "two", lambda it: it.update(version="4"), gated)
    predictor = load_predictor(BundleSettings(path=without, device="cpu"))
    with ThreadPoolExecutor(2) as decoders:
        workspace.worker(decoders, predictor).infer_due()
    assert evidence(workspace, job_id).attention is None
