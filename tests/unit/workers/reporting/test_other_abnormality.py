"""What every output says of an abnormality other than pneumonia, beside each finding of that."""

import dataclasses
import itertools
import re
from io import BytesIO
from typing import Final, cast

import highdicom.sr
import numpy as np
import numpy.typing as npt
import pypdfium2
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from synthetic.report_sources import (
    BALANCED,
    MODEL,
    NOW,
    OTHER_BALANCED,
    OTHER_PROBABILITIES,
    PROBABILITIES,
    other_abnormality,
    predicted,
    radiograph,
)

from service.domain.reasons import Reason
from service.domain.routing import Outcome, OutputKind
from workers.prediction import Conclusion, Finding, NotAnalysed, Prediction, Region
from workers.reporting.codes import (
    CERTAINTY_OF_FINDING,
    CERTAINTY_OF_OTHER_ABNORMALITY,
    FINDING_CODES,
    OTHER_ABNORMALITY,
    PNEUMONIA,
)
from workers.reporting.output import Output
from workers.reporting.outputs import make_outputs
from workers.reporting.overlay.drawing import COLOUR, draw_overlay

REGION: Final = Region(top=0.25, left=0.125, bottom=0.5, right=0.375)
PIXELS: Final = np.full((500, 400), 0.5, dtype=np.float32)
EVERY_PAIR: Final = tuple(itertools.product(Finding, Finding))
each_pair = pytest.mark.parametrize(("pneumonia", "other"), EVERY_PAIR)
each_region = pytest.mark.parametrize("region", [None, REGION], ids=["whole", "region"])
WORDS: Final = {
    Finding.PRESENT: "PRESENT",
    Finding.ABSENT: "ABSENT",
    Finding.INDETERMINATE: "UNDETERMINED",
}
Group = (
    highdicom.sr.MeasurementsAndQualitativeEvaluations
    | highdicom.sr.PlanarROIMeasurementsAndQualitativeEvaluations
)
REASSURING: Final = re.compile(
    r"\bnormal\b|\bnothing\b|\bno (finding|abnormality)\b|\bunremarkable\b|\bhealthy\b",
    re.IGNORECASE,
)


def outputs_of(conclusion: Conclusion, source: Dataset | None = None) -> dict[OutputKind, Output]:
    made = make_outputs(
        source or radiograph("DX"), PIXELS, conclusion, kinds=list(OutputKind), now=NOW
    )
    return {output.kind: output for output in made}


def read_back(output: Output) -> Dataset:
    return dcmread(BytesIO(output.encode()))


def page_text(output: Output) -> str:
    document = output.dataset
    pdf = pypdfium2.PdfDocument(
        document.EncapsulatedDocument[: document.EncapsulatedDocumentLength]
    )
    try:
        assert len(pdf) == 1
        return " ".join(pdf[0].get_textpage().get_text_bounded().split())
    finally:
        pdf.close()


def the_group(output: Output) -> Group:
    content = highdicom.sr.srread(BytesIO(output.encode())).content
    assert isinstance(content, highdicom.sr.MeasurementReport)
    groups: list[Group] = [
        *content.get_image_measurement_groups(),
        *content.get_planar_roi_measurement_groups(),
    ]
    (group,) = groups
    return group


def parameters_of(output: Output) -> list[str]:
    """Return the texts named Algorithm Parameters, in the order of the tree."""

    def found(item: Dataset) -> list[str]:
        name = item.ConceptNameCodeSequence[0].CodeMeaning if item.ValueType == "TEXT" else ""
        own = [str(item.TextValue)] if name == "Algorithm Parameters" else []
        return own + [text for child in item.get("ContentSequence", ()) for text in found(child)]

    return found(read_back(output))


# --- the report -----------------------------------------------------------------------------


@each_region
@each_pair
def test_the_report_has_both_findings_and_both_certainties_in_one_group(
    pneumonia: Finding, other: Finding, region: Region | None
) -> None:
    prediction = dataclasses.replace(predicted(pneumonia, other=other), region=region)
    group = the_group(outputs_of(prediction)[OutputKind.SR])
    for name, finding in ((PNEUMONIA, pneumonia), (OTHER_ABNORMALITY, other)):
        (evaluation,) = group.get_qualitative_evaluations(name)
        value = cast("highdicom.sr.CodedConcept", evaluation.value)  # annotated as a number
        assert value == FINDING_CODES[finding]
    certainties = {each.name.value: each.value for each in group.get_measurements()}
    assert certainties == {
        "111012": round(100 * PROBABILITIES[pneumonia], 1),
        "certainty-other": round(100 * OTHER_PROBABILITIES[other], 1),
    }


@each_pair
def test_only_pneumonia_is_ever_a_finding_because_its_certainty_stands_beside_it(
    pneumonia: Finding, other: Finding
) -> None:
    finding = the_group(outputs_of(predicted(pneumonia, other=other))[OutputKind.SR]).finding_type
    assert finding == (PNEUMONIA if pneumonia is Finding.PRESENT else None)


def test_both_measurements_refer_to_the_image_because_ohif_reads_those_of_every_one() -> None:
    group = the_group(outputs_of(predicted(Finding.ABSENT, other=Finding.PRESENT))[OutputKind.SR])
    references = [
        [item.ValueType for item in each[0].ContentSequence] for each in group.get_measurements()
    ]
    assert references == [["SCOORD"], ["SCOORD"]]


@pytest.mark.parametrize(
    ("conclusion", "declared"),
    [
        (predicted(), False),
        (predicted(other=Finding.ABSENT), True),
        (NotAnalysed(reason=Reason.LATERAL, model=MODEL), True),
    ],
    ids=["no own code", "other abnormality", "not analysed"],
)
def test_the_scheme_of_our_own_codes_is_identified_where_one_is_used(
    conclusion: Conclusion,
    declared: bool,  # noqa: FBT001 -- a table's column
) -> None:
    report = read_back(outputs_of(conclusion)[OutputKind.SR])
    schemes = [each.CodingSchemeDesignator for each in report.get(SCHEMES, ())]
    assert schemes == (["99LOBAR"] if declared else [])


SCHEMES: Final = "CodingSchemeIdentificationSequence"


def test_the_second_number_is_shown_wherever_a_viewer_has_room_for_the_first() -> None:
    assert len(CERTAINTY_OF_OTHER_ABNORMALITY.meaning) <= len(CERTAINTY_OF_FINDING.meaning)


def test_the_report_says_what_reproduces_the_second_number() -> None:
    prediction = dataclasses.replace(
        predicted(Finding.ABSENT, other=Finding.PRESENT), population="children"
    )
    parameters = parameters_of(outputs_of(prediction)[OutputKind.SR])
    for said in (
        "Operating point balanced: threshold 0.5, undetermined between 0.4 and 0.6",
        (
            "Operating point of other abnormality balanced: threshold 0.62, "
            "undetermined between 0.55 and 0.7"
        ),
        "Probability of other abnormality: 0.9123456",
        "Both findings: pneumonia absent, another abnormality present",
        "Population: children",
    ):
        assert said in parameters


def test_a_population_alone_is_stated_too() -> None:
    outputs = outputs_of(dataclasses.replace(predicted(), population="adults"))
    assert "Population: adults" in parameters_of(outputs[OutputKind.SR])
    text = page_text(outputs[OutputKind.PDF])
    assert "Operating point balanced, population adults: from 50.0 %" in text
    assert "Population adults" in text
    assert "of the patient only the age" in text


# --- words ----------------------------------------------------------------------------------


@each_pair
def test_page_and_presentation_state_say_both_findings_in_words(
    pneumonia: Finding, other: Finding
) -> None:
    outputs = outputs_of(predicted(pneumonia, other=other))
    lines = (
        f"Pneumonia {WORDS[pneumonia]}, probability {100 * PROBABILITIES[pneumonia]:.1f} %",
        f"Other abnormality {WORDS[other]}, probability {100 * OTHER_PROBABILITIES[other]:.1f} %",
    )
    text = page_text(outputs[OutputKind.PDF])
    for line in lines:
        assert line in text
    together = f"pneumonia {WORDS[pneumonia]}, another abnormality {WORDS[other]}".lower()
    assert f"Read both results together: {together}." in text
    assert "Other abnormality, operating point balanced: from 62.0 %" in text
    assert "for pneumonia alone" not in text
    (annotation,) = read_back(outputs[OutputKind.GSPS]).GraphicAnnotationSequence
    shown = [each.UnformattedTextValue for each in annotation.TextObjectSequence]
    assert shown == [f"AI: {line} (unverified)" for line in lines]
    boxes = [
        (each.BoundingBoxTopLeftHandCorner[1], each.BoundingBoxBottomRightHandCorner[1])
        for each in annotation.TextObjectSequence
    ]
    assert boxes[0][1] <= boxes[1][0], "the lines do not lie over each other"


def words_of(prediction: Prediction) -> str:
    """Return the text of all outputs that have any, without the explanation that all pages have."""
    outputs = outputs_of(prediction)
    state = read_back(outputs[OutputKind.GSPS]).GraphicAnnotationSequence[0]
    texts = [
        page_text(outputs[OutputKind.PDF]).replace("and nothing of the patient", ""),
        *parameters_of(outputs[OutputKind.SR]),
        *(each.UnformattedTextValue for each in state.TextObjectSequence),
    ]
    return " ".join(texts)


@each_pair
def test_no_pair_of_findings_is_worded_as_a_normal_radiograph(
    pneumonia: Finding, other: Finding
) -> None:
    said = words_of(predicted(pneumonia, other=other)).replace(
        "the model calls no abnormality other than pneumonia", ""
    )
    assert REASSURING.findall(said) == []


def test_a_model_that_reads_pneumonia_alone_claims_nothing_of_anything_else() -> None:
    for finding in Finding:
        said = words_of(predicted(finding))
        assert "abnormality" not in said
        assert "for pneumonia alone" in said
    assert "says nothing of any other finding" in words_of(predicted(Finding.ABSENT))


def test_the_page_with_two_results_does_not_run_into_its_foot() -> None:
    point = dataclasses.replace(BALANCED, name="W" * 200)
    prediction = dataclasses.replace(
        predicted(
            Finding.INDETERMINATE,
            other=Finding.INDETERMINATE,
            model=dataclasses.replace(MODEL, operating_point=point),
        ),
        region=REGION,
        population="school_children",
    )
    document = outputs_of(prediction)[OutputKind.PDF].dataset
    pdf = pypdfium2.PdfDocument(
        document.EncapsulatedDocument[: document.EncapsulatedDocumentLength]
    )
    page = pdf[0].get_textpage()
    bottoms = {}
    for wanted in ("must not be used for diagnosis", "About the DICOM instance"):
        index, count = page.search(wanted).get_next()
        bottoms[wanted] = page.get_charbox(index)[1], page.get_charbox(index + count - 1)[3]
    pdf.close()
    assert bottoms["must not be used for diagnosis"][0] > bottoms["About the DICOM instance"][1]


# --- the overlay ----------------------------------------------------------------------------


Raster = npt.NDArray[np.uint8]


def strip_of(conclusion: Conclusion, rows: int = 600, columns: int = 550) -> Raster:
    pixels = np.zeros((rows, columns), dtype=np.float32)
    image, shown = draw_overlay(pixels, conclusion)
    assert shown == (rows, columns)
    return np.asarray(image)[:-rows]


COLOURS: Final = {COLOUR[Outcome(finding)] for finding in Finding}


def colours_in(strip: Raster) -> set[tuple[int, int, int]]:
    return {(int(r), int(g), int(b)) for r, g, b in strip.reshape(-1, 3)}


@each_pair
def test_the_strip_has_a_line_in_the_colour_of_each_finding(
    pneumonia: Finding, other: Finding
) -> None:
    prediction = predicted(pneumonia, other=other)
    strip = strip_of(prediction)
    colours = [COLOUR[Outcome(finding)] for finding in (pneumonia, other)]
    size = round(strip.shape[0] * 0.16)
    tops = (strip.shape[0] // 10, strip.shape[0] // 10 + round(size * 1.3))  # of the two lines
    for top, colour in zip(tops, colours, strict=True):
        line = strip[top : top + size]
        assert colours_in(line) & COLOURS == {colour}, "in words and in the symbol"
        assert (line[:, size * 2 :] == colour).all(axis=2).any(), "in words"


@each_pair
def test_the_pair_is_distinguishable_from_every_other_without_colour(
    pneumonia: Finding, other: Finding
) -> None:
    def symbols(prediction: Prediction) -> npt.NDArray[np.bool_]:
        strip = strip_of(prediction)
        shown: npt.NDArray[np.bool_] = strip[:, : strip.shape[0] // 3].mean(axis=2) > 60
        return shown

    own = symbols(predicted(pneumonia, other=other))
    for pair in EVERY_PAIR:
        if pair != (pneumonia, other):
            assert (own != symbols(predicted(pair[0], other=pair[1]))).mean() > 0.005


def test_a_positive_of_either_kind_is_written_as_large_as_one_alone() -> None:
    alone = strip_of(predicted(Finding.PRESENT))
    both = strip_of(predicted(Finding.ABSENT, other=Finding.PRESENT))
    heights = [
        np.ptp(np.flatnonzero((strip[:, 120:] == COLOUR[predicted().outcome]).all(axis=2).any(1)))
        for strip in (alone, both)
    ]
    assert heights[1] >= 0.9 * heights[0]


@pytest.mark.parametrize(("rows", "columns"), [(300, 200), (900, 700), (1600, 1600), (500, 4000)])
def test_the_last_line_of_the_strip_is_whole(rows: int, columns: int) -> None:
    prediction = dataclasses.replace(
        predicted(Finding.ABSENT, other=Finding.PRESENT), region=REGION, population="adults"
    )
    image, shown = draw_overlay(np.zeros((rows, columns), dtype=np.float32), prediction)
    assert shown is not None
    assert max(image.size) <= 1024
    strip = np.asarray(image)[: image.height - shown[0]]
    assert (strip[-2:] == strip[-1, -1]).all(), "the lowest rows of the strip are empty"


# --- identity -------------------------------------------------------------------------------


def uids_of(conclusion: Conclusion) -> set[str]:
    return {output.sop_instance_uid for output in outputs_of(conclusion).values()}


def test_the_second_operating_point_enters_the_uids_and_the_second_finding_does_not() -> None:
    absent, present = (predicted(other=finding) for finding in (Finding.ABSENT, Finding.PRESENT))
    assert uids_of(absent) == uids_of(present), "the model determines the finding"
    another = dataclasses.replace(
        other_abnormality(Finding.ABSENT),
        operating_point=dataclasses.replace(OTHER_BALANCED, threshold=0.63),
    )
    assert uids_of(absent).isdisjoint(uids_of(dataclasses.replace(absent, other=another)))
    assert uids_of(absent).isdisjoint(uids_of(predicted()))


def test_the_population_does_not_enter_the_uids_because_the_sources_age_determines_it() -> None:
    of_children = dataclasses.replace(predicted(), population="children")
    assert uids_of(of_children) == uids_of(predicted())


@each_region
def test_the_same_prediction_has_the_same_bytes(region: Region | None) -> None:
    prediction = dataclasses.replace(
        predicted(Finding.ABSENT, other=Finding.PRESENT), region=region, population="adults"
    )
    first, again = (
        [output.encode() for output in outputs_of(prediction).values()] for _ in range(2)
    )
    assert first == again
