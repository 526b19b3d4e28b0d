"""Findings of probabilities at operating points, and values that cannot exist."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from synthetic.report_sources import MODEL

from service.domain.reasons import Reason
from workers.prediction import Finding, NotAnalysable, OperatingPoint, Prediction, Region

BANDED = OperatingPoint(name="banded", threshold=0.5, indeterminate_low=0.4, indeterminate_high=0.6)
SHARP = OperatingPoint(name="sharp", threshold=0.5, indeterminate_low=0.5, indeterminate_high=0.5)


@pytest.mark.parametrize(
    ("point", "probability", "finding"),
    [
        (BANDED, 0.0, Finding.ABSENT),
        (BANDED, 0.4, Finding.ABSENT),
        (BANDED, 0.4000001, Finding.INDETERMINATE),
        (BANDED, 0.5, Finding.INDETERMINATE),
        (BANDED, 0.5999999, Finding.INDETERMINATE),
        (BANDED, 0.6, Finding.PRESENT),
        (BANDED, 1.0, Finding.PRESENT),
        (SHARP, 0.4999999, Finding.ABSENT),
        (SHARP, 0.5, Finding.PRESENT),
    ],
)
def test_a_probability_reads_as_the_band_says(
    point: OperatingPoint, probability: float, finding: Finding
) -> None:
    assert point.read(probability) is finding


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_probability_never_reads_as_less(
    band: list[float], one: float, other: float
) -> None:
    low, threshold, high = sorted(band)
    assume(low < threshold or low == high)  # else the threshold itself wins
    point = OperatingPoint(
        name="any", threshold=threshold, indeterminate_low=low, indeterminate_high=high
    )
    order = [Finding.ABSENT, Finding.INDETERMINATE, Finding.PRESENT]
    lower, higher = sorted((one, other))
    assert order.index(point.read(lower)) <= order.index(point.read(higher))


@pytest.mark.parametrize(
    ("low", "threshold", "high"),
    [(0.6, 0.5, 0.7), (0.3, 0.5, 0.4), (-0.1, 0.5, 0.6), (0.4, 0.5, 1.1), (0.4, float("nan"), 0.6)],
)
def test_a_band_that_does_not_hold_its_threshold_cannot_exist(
    low: float, threshold: float, high: float
) -> None:
    with pytest.raises(ValueError, match="operating point odd: the band must hold the threshold"):
        OperatingPoint(
            name="odd", threshold=threshold, indeterminate_low=low, indeterminate_high=high
        )


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -0.1, 1.1])
def test_a_number_that_is_no_probability_makes_no_prediction(number: float) -> None:
    with pytest.raises(ValueError, match="is not a probability"):
        Prediction(finding=Finding.ABSENT, probability=number, model=MODEL)


@pytest.mark.parametrize(
    ("top", "left", "bottom", "right"),
    [
        (0.5, 0, 0.5, 1),
        (0, 0.6, 1, 0.5),
        (-0.1, 0, 1, 1),
        (0, 0, 1.1, 1),
        (0, 0, 1, float("nan")),
        (0, float("nan"), 1, 1),
    ],
)
def test_a_region_that_is_not_within_the_radiograph_cannot_exist(
    top: float, left: float, bottom: float, right: float
) -> None:
    with pytest.raises(ValueError, match="is no region of a radiograph"):
        Region(top=top, left=left, bottom=bottom, right=right)


def test_a_region_may_be_the_whole_radiograph_and_a_prediction_need_not_name_one() -> None:
    whole = Region(top=0, left=0, bottom=1, right=1)
    found = Prediction(finding=Finding.PRESENT, probability=0.9, model=MODEL, region=whole)
    assert found.region == whole
    assert Prediction(finding=Finding.PRESENT, probability=0.9, model=MODEL).region is None


def test_a_refusal_carries_its_reason_and_its_detail() -> None:
    assert str(NotAnalysable(Reason.BLANK)) == "blank-image"
    refusal = NotAnalysable(Reason.SIZE, "12 rows")
    assert (str(refusal), refusal.reason, refusal.detail) == (
        "size-out-of-range: 12 rows",
        Reason.SIZE,
        "12 rows",
    )
