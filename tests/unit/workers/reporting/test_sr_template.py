"""A report that is filled into a template has the bytes that highdicom gives it."""

import dataclasses
import random
from collections.abc import Iterator
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.report_matrix import CONCLUSIONS, KINDS, Selection, cases
from synthetic.report_sources import MODEL, NOW, other_abnormality, predicted, received, values

from workers.prediction import Finding, OperatingPoint, Prediction, Region
from workers.reporting.sr.report import as_comprehensive, build_report

RANDOM_SOURCES = 40


@pytest.mark.parametrize(
    "selection", [Selection.PAIRWISE, pytest.param(Selection.WHOLE, marks=pytest.mark.full)]
)
@pytest.mark.parametrize("conclusion", CONCLUSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_are_those_of_highdicom_over_the_report_matrix(
    selection: Selection, kind: str, conclusion: str
) -> None:
    for case in cases(selection, kind, conclusion):
        filled, built = (
            build_report(case.source, CONCLUSIONS[conclusion], now=NOW, from_template=each)
            for each in (True, False)
        )
        assert filled.encode() == built.encode(), case
        assert as_comprehensive(filled).encode() == as_comprehensive(built).encode(), case


def sources() -> Iterator[tuple[dict[str, bytes], Prediction]]:
    """Yield headers and predictions of any numbers, seeded."""
    chance = random.Random(15)
    for number in range(RANDOM_SOURCES):
        header = values("DX") | {
            "SOPInstanceUID": f"1.2.{chance.randrange(10 ** chance.randrange(1, 40))}".encode(),
            "Rows": chance.randrange(1, 1 << 16).to_bytes(2, "little"),
            "Columns": chance.randrange(1, 1 << 16).to_bytes(2, "little"),
        }
        spacing = "PixelSpacing" if chance.random() < 0.5 else "ImagerPixelSpacing"
        rows, columns = f"{chance.random():.{number % 14 + 1}f}1", f"{chance.uniform(0, 9)!r}"[:16]
        header[spacing] = f"{rows}\\{columns}".encode()
        yield header, prediction(chance)


def prediction(chance: random.Random) -> Prediction:
    top, left = chance.random() / 2, chance.random() / 2
    region = Region(top=top, left=left, bottom=top + 0.3, right=left + chance.random() / 3 + 0.01)
    other = other_abnormality(chance.choice(list(Finding)))
    points = OperatingPoint(
        name="any", threshold=0.5, indeterminate_low=0.4, indeterminate_high=0.6
    )
    return Prediction(
        finding=chance.choice(list(Finding)),
        probability=chance.choice([0, 1, chance.random(), chance.random() / 1e5]),
        model=dataclasses.replace(MODEL, operating_point=points, calibrated=chance.random() < 0.5),
        region=chance.choice([None, region]),
        other=chance.choice([None, dataclasses.replace(other, probability=chance.random())]),
        population=chance.choice([None, "children"]),
    )


@pytest.mark.parametrize("number", range(RANDOM_SOURCES))
def test_the_bytes_are_those_of_highdicom_for_any_numbers(number: int) -> None:
    header, conclusion = list(sources())[number]
    filled, built = (
        build_report(received(header), conclusion, now=NOW, from_template=each).encode()
        for each in (True, False)
    )
    assert filled == built


def test_no_value_of_the_stand_ins_is_left_in_a_report() -> None:
    """Two reports of one template differ in their values, and hold none of each other's."""
    first, second = (
        read(received(values("CR") | {"SOPInstanceUID": uid}), predicted(), probability)
        for uid, probability in ((b"1.2.77.3", 0.71), (b"1.2.77.4", 0.82))
    )
    assert ("71.0" in first, "82.0" in first, "1.2.77.4" in first) == (True, False, False)
    assert ("82.0" in second, "71.0" in second, "1.2.77.3" in second) == (True, False, False)
    assert "2.25.3165" not in first + second


def read(source: Dataset, prediction: Prediction, probability: float) -> str:
    conclusion = dataclasses.replace(prediction, probability=probability)
    report = build_report(source, conclusion, now=NOW)
    return str(dcmread(BytesIO(report.encode())).ContentSequence)
