"""The shipped bundle on an exported engine: its network with heads, gate and attention map."""

from pathlib import Path

import pytest
from bench.forward import compare, exported, films
from support.open_gate import bundle_with_open_gate
from synthetic.objects import make_cr, make_dx

from service.settings import SHIPPED_BUNDLE
from workers.inference.engines.measure import LARGEST_DIFFERENCE
from workers.inference.engines.openvino_engine import OpenVinoEngine
from workers.inference.predictor import Predictor

EVERYBODY = ("infants", "school_children", "adults")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> OpenVinoEngine:
    return exported(Predictor(SHIPPED_BUNDLE, device="cpu"), tmp_path_factory.mktemp("engine"))


def test_drawn_radiographs_have_the_same_predictions(
    engine: OpenVinoEngine, tmp_path: Path
) -> None:
    bundle = bundle_with_open_gate(tmp_path)
    predictor = Predictor(bundle, device="cpu", report_populations=EVERYBODY)
    paths = [tmp_path / name for name in ("cr.dcm", "dx.dcm", "inverted.dcm")]
    for path, made in zip(
        paths, (make_cr(), make_dx(), make_cr(photometric="MONOCHROME1")), strict=True
    ):
        made.save_as(path, enforce_file_format=True)
    found = compare(predictor, engine, paths)
    assert found.films == 3
    assert max(found.pneumonia, found.other_abnormality) <= 1e-5
    assert (found.findings, found.refusals) == (0, 0)
    assert predictor.engine is engine


@pytest.mark.data
def test_films_have_the_same_predictions(engine: OpenVinoEngine, radiographs: Path) -> None:
    predictor = Predictor(SHIPPED_BUNDLE, device="cpu", report_populations=EVERYBODY)
    found = compare(predictor, engine, films(radiographs, 24))
    assert found.films >= 20
    assert max(found.pneumonia, found.other_abnormality) <= LARGEST_DIFFERENCE
    assert (found.findings, found.refusals) == (0, 0)
