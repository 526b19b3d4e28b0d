"""The map that the shipped bundle gives for the page of a job agrees with its region."""

from pathlib import Path
from typing import Final

import pytest

from workers.inference.predictor import Predictor
from workers.prediction import Finding, Prediction

pytestmark = pytest.mark.slow

REPOSITORY: Final = Path(__file__).resolve().parents[2]
SAMPLES: Final = REPOSITORY / "service" / "demo" / "samples"
CELLS: Final = 14  # a side: one for each 16 pixels of the network's input


def test_the_peak_of_the_map_is_in_the_region_and_an_absent_finding_has_a_pale_map(
    bundle: Path,
) -> None:
    predictor = Predictor(bundle, device="cpu")
    peaks: dict[Finding, float] = {}
    for path in sorted(SAMPLES.glob("*.dcm")):
        (found,) = predictor.predict([predictor.prepare(path)], [3.0])
        assert isinstance(found, Prediction)
        attention = found.attention
        assert attention is not None
        assert (attention.rows, attention.columns) == (CELLS, CELLS)
        highest = max(attention.values)
        peaks[found.finding] = max(highest, peaks.get(found.finding, 0))
        if found.region is not None:
            row, column = divmod(attention.values.index(highest), CELLS)
            assert found.region.top <= (row + 0.5) / CELLS <= found.region.bottom
            assert found.region.left <= (column + 0.5) / CELLS <= found.region.right
    assert peaks[Finding.ABSENT] < peaks[Finding.PRESENT]
    assert peaks[Finding.PRESENT] > 0.5
