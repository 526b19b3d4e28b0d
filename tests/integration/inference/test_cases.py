"""Odd radiographs that people reported in public are read as their plain reference, or refused.

The files of `../shared/data/cases` and their right outcomes are listed in its `index.csv`. No
probability is compared with a number: weights change, and only the reference is given.
"""

import csv
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from pydicom import dcmread
from support.open_gate import BUNDLE
from support.system.radiographs import FOLDER

from service.domain.reasons import Reason
from workers.inference.loading import read
from workers.inference.predictor import Predictor
from workers.prediction import NotAnalysable, Prediction

CASES: Final = FOLDER / "cases"
NEAR: Final = 0.02  # of a probability, as the cases' README says
MISLEADING: Final = frozenset(  # reasons of the picture or the scope, not of the pixel data
    {*list(Reason)[list(Reason).index(Reason.BLANK) :], Reason.NO_PIXELS, Reason.MODALITY}
)

# Its range names every value, so it is ignored, and anatomy shows where the reference of the index
# has a black border. It is compared with the same pixels without padding elements instead.
IGNORED_RANGE: Final = "padding__range-covers-all.dcm"

pytestmark = pytest.mark.data


def rows() -> list[dict[str, str]]:
    index = CASES / "index.csv"
    if not index.is_file():
        return []
    with index.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    # the files are of patients of any age, and this is about how they are read
    everybody = ("infants", "school_children", "adults")
    return Predictor(BUNDLE, device="cpu", report_populations=everybody)


@cache
def outcome(predictor: Predictor, path: Path) -> float | Reason:
    """Return the probability of a file, or the reason why there is none."""
    try:
        instance = read(predictor, path)
        [found] = predictor.predict([instance.prepared.tensor], [instance.age_years])
    except NotAnalysable as refusal:
        return refusal.reason
    return found.probability if isinstance(found, Prediction) else found.reason


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["file"])
def test_an_odd_file_is_read_as_its_reference_or_refused_by_name(
    predictor: Predictor, radiographs: Path, row: dict[str, str]
) -> None:
    found = outcome(predictor, radiographs / "cases" / row["file"])
    allowed = row["expected"].split(" or ")
    if "may be refused" in row["note"] and "missing" in row["file"]:
        allowed.append("refused")
    if isinstance(found, Reason):
        assert any(each.startswith("refused") for each in allowed), found
        assert found not in MISLEADING
        return
    assert allowed != ["refused"], f"analysed: {found}"
    if row["reference"] and row["file"] != IGNORED_RANGE:
        assert found == pytest.approx(
            outcome(predictor, radiographs / "cases" / row["reference"]), abs=NEAR
        )


def test_a_padding_range_that_covers_everything_is_ignored(
    predictor: Predictor, radiographs: Path, tmp_path: Path
) -> None:
    dataset = dcmread(radiographs / "cases" / IGNORED_RANGE)
    del dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit
    dataset.save_as(tmp_path / "plain.dcm")
    found = outcome(predictor, radiographs / "cases" / IGNORED_RANGE)
    assert isinstance(found, float)
    assert found == pytest.approx(outcome(predictor, tmp_path / "plain.dcm"), abs=NEAR)
