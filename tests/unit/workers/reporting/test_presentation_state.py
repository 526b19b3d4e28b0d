import dataclasses
import struct
from collections.abc import Iterable
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
)
from synthetic.report_sources import (
    MODEL,
    NAMES,
    NOW,
    element,
    item,
    predicted,
    radiograph,
    received,
    value_fields,
    values,
)

from service.dicom.implementation import is_own_result
from service.domain.reasons import Reason
from workers.prediction import Conclusion, Finding, NotAnalysed, Region
from workers.reporting.output import Output, ReportError
from workers.reporting.presentation_state.build import build_presentation_state
from workers.reporting.sr.report import build_report
from workers.reporting.uids import OutputIdentity

REGION = Region(top=0.25, left=0.125, bottom=0.5, right=0.375)
IN_A_REGION = dataclasses.replace(predicted(), region=REGION)
NOT_ANALYSED = NotAnalysed(reason=Reason.LATERAL, model=MODEL)
CONCLUSIONS: dict[str, Conclusion] = {
    "present": predicted(),
    "present, in a region": IN_A_REGION,
    "absent": predicted(Finding.ABSENT),
    "indeterminate": predicted(Finding.INDETERMINATE),
    "not analysed": NOT_ANALYSED,
}


def output_of(source: Dataset | None = None, conclusion: Conclusion = IN_A_REGION) -> Output:
    output = build_presentation_state(source or radiograph(), conclusion, now=NOW)
    assert output is not None
    return output


def state_of(source: Dataset | None = None, conclusion: Conclusion = IN_A_REGION) -> Dataset:
    return dcmread(BytesIO(output_of(source, conclusion).encode()))


def annotation_of(conclusion: Conclusion) -> Dataset:
    (annotation,) = state_of(conclusion=conclusion).GraphicAnnotationSequence
    assert isinstance(annotation, Dataset)
    return annotation


def edges(graphic_data: Iterable[float]) -> list[float]:
    """Return the left, top, right and bottom of points, in columns and rows."""
    points = np.reshape(list(graphic_data), (-1, 2))
    return [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]


def test_the_box_is_where_the_reports_region_is() -> None:
    (graphic,) = annotation_of(IN_A_REGION).GraphicObjectSequence
    report = build_report(radiograph(), IN_A_REGION, now=NOW).dataset
    (scoord,) = [each.value for each in report.iterall() if each.keyword == "GraphicData"]
    assert edges(graphic.GraphicData) == edges(scoord)
    assert graphic.GraphicAnnotationUnits == "PIXEL"


def test_the_box_lies_around_the_pixels_of_the_region() -> None:
    """As PS3.3 C.10.5 counts: 0, 0 is the outer corner of the first pixel, not its middle."""
    (graphic,) = annotation_of(IN_A_REGION).GraphicObjectSequence
    across, down = np.reshape(graphic.GraphicData, (-1, 2)).T
    middles_across, middles_down = np.arange(2048) + 0.5, np.arange(2500) + 0.5
    inside_across = (middles_across > across.min()) & (middles_across < across.max())
    inside_down = (middles_down > down.min()) & (middles_down < down.max())
    assert np.flatnonzero(inside_across)[[0, -1]].tolist() == [256, 767]
    assert np.flatnonzero(inside_down)[[0, -1]].tolist() == [625, 1249]


def test_the_box_is_a_closed_line_that_is_not_filled() -> None:
    (graphic,) = annotation_of(IN_A_REGION).GraphicObjectSequence
    points = np.reshape(graphic.GraphicData, (-1, 2)).tolist()
    assert points == [[256, 625], [768, 625], [768, 1250], [256, 1250], [256, 625]]
    assert (graphic.GraphicType, graphic.GraphicFilled) == ("POLYLINE", "N")
    assert graphic.NumberOfGraphicPoints == 5


def test_a_region_up_to_the_edges_stays_within_the_image() -> None:
    whole = dataclasses.replace(predicted(), region=Region(top=0, left=0, bottom=1, right=1))
    (graphic,) = annotation_of(whole).GraphicObjectSequence
    assert max(graphic.GraphicData) == 2500
    assert min(graphic.GraphicData) == 0


def test_the_box_says_that_it_is_no_outline_and_names_the_reports_finding() -> None:
    (graphic,) = annotation_of(IN_A_REGION).GraphicObjectSequence
    report = build_report(radiograph(), IN_A_REGION, now=NOW).dataset
    tracked = [each.value for each in report.iterall() if each.keyword == "UID"]
    assert "not a lesion outline" in graphic.TrackingID
    assert graphic.TrackingUID in tracked
    (layer,) = state_of().GraphicLayerSequence
    assert layer.GraphicLayer == annotation_of(IN_A_REGION).GraphicLayer
    assert "not a lesion outline" in layer.GraphicLayerDescription


@pytest.mark.parametrize(
    "conclusion",
    [
        predicted(),
        dataclasses.replace(predicted(Finding.ABSENT), region=REGION),
        dataclasses.replace(predicted(Finding.INDETERMINATE), region=REGION),
        NOT_ANALYSED,
    ],
    ids=["no region", "absent", "indeterminate", "not analysed"],
)
def test_what_is_not_present_in_a_region_has_no_box(conclusion: Conclusion) -> None:
    assert "GraphicObjectSequence" not in annotation_of(conclusion)


@pytest.mark.parametrize(
    ("conclusion", "line"),
    [
        ("present", "AI: Pneumonia PRESENT, probability 87.3 % (unverified)"),
        ("absent", "AI: Pneumonia ABSENT, probability 3.2 % (unverified)"),
        ("indeterminate", "AI: Pneumonia UNDETERMINED, probability 51.0 % (unverified)"),
        (
            "not analysed",
            (
                "AI: NOT ANALYSED for pneumonia. "
                "The pixels show a chest from the side, whatever the header says."
            ),
        ),
    ],
)
def test_one_line_says_the_result(conclusion: str, line: str) -> None:
    (text,) = annotation_of(CONCLUSIONS[conclusion]).TextObjectSequence
    assert text.UnformattedTextValue == line
    assert text.BoundingBoxAnnotationUnits == "DISPLAY"


def test_the_whole_image_is_shown_as_large_as_fits() -> None:
    """As PS3.3 C.10.4 counts, the first pixel is 1, 1 and the last Columns, Rows."""
    (area,) = state_of().DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaTopLeftHandCorner) == [1, 1]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [2048, 2500]
    assert area.PresentationSizeMode == "SCALE TO FIT"
    assert list(area.PresentationPixelSpacing) == [0.143, 0.143]


@pytest.mark.parametrize(
    ("stated", "ratio"), [(None, [1, 1]), (b"4\\3", [4, 3]), (b"0\\3", [1, 1]), (b"wide", [1, 1])]
)
def test_without_a_spacing_pixels_have_the_shape_that_the_source_says(
    stated: bytes | None, ratio: list[int]
) -> None:
    state = state_of(radiograph("SC", PixelAspectRatio=stated))
    (area,) = state.DisplayedAreaSelectionSequence
    assert list(area.PresentationPixelAspectRatio) == ratio
    assert "PresentationPixelSpacing" not in area


@pytest.mark.parametrize(
    ("photometric", "stated", "shape"),
    [
        (b"MONOCHROME2", None, "IDENTITY"),
        (b"MONOCHROME1", None, "INVERSE"),
        (b"MONOCHROME2", b"IDENTITY", "IDENTITY"),
        (b"MONOCHROME1", b"INVERSE", "INVERSE"),  # once, not twice
        (b"MONOCHROME2", b"INVERSE", "INVERSE"),
        (b"MONOCHROME1", b"upside down", "INVERSE"),
    ],
)
def test_what_the_source_shows_white_the_state_shows_white(
    photometric: bytes, stated: bytes | None, shape: str
) -> None:
    source = radiograph("DX", PhotometricInterpretation=photometric, PresentationLUTShape=stated)
    assert state_of(source).PresentationLUTShape == shape


@pytest.mark.parametrize(
    "changes",
    [
        {"PhotometricInterpretation": b"RGB"},
        {"PhotometricInterpretation": b"PALETTE COLOR"},
        {"PhotometricInterpretation": None},
        {"Rows": None},
        {"Columns": b"\x00\x00"},
    ],
    ids=["colour", "palette", "unsaid", "no rows", "no columns"],
)
def test_there_is_no_state_where_no_grayscale_state_can_be(
    changes: dict[str, Any],
) -> None:
    assert build_presentation_state(radiograph(**changes), IN_A_REGION, now=NOW) is None


def test_a_source_that_does_not_name_itself_is_an_error() -> None:
    with pytest.raises(ReportError, match="SOPInstanceUID"):
        build_presentation_state(radiograph(SOPInstanceUID=None), IN_A_REGION, now=NOW)


def test_the_window_is_the_sources_first() -> None:
    source = radiograph(
        WindowCenter=b"2047.5\\900", WindowWidth=b"4096\\300", VOILUTFunction=b"SIGMOID"
    )
    (voi,) = state_of(source).SoftcopyVOILUTSequence
    assert (voi.WindowCenter, voi.WindowWidth) == (2047.5, 4096)
    assert voi.VOILUTFunction == "SIGMOID"


@pytest.mark.parametrize(
    ("centre", "width", "function"),
    [
        (None, None, None),
        (b"2048", None, None),
        (b"", b"", None),
        (b"2048", b"0", None),
        (b"2048", b"-5", None),
        (b"2048", b"0.5", None),
        (b"middle", b"wide", None),
        (b"1e999", b"1", None),
        (b"2048", b"1e30", None),
    ],
)
def test_a_window_that_is_none_is_left_out(
    centre: bytes | None, width: bytes | None, function: bytes | None
) -> None:
    source = radiograph(WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
    assert "SoftcopyVOILUTSequence" not in state_of(source)


def test_a_rescaling_is_the_sources() -> None:
    state = state_of(radiograph(RescaleSlope=b"0.5", RescaleIntercept=b"-1024", RescaleType=b"OD"))
    assert (state.RescaleSlope, state.RescaleIntercept) == (0.5, -1024)
    assert state.RescaleType == "OD"


@pytest.mark.parametrize(
    "rescaling",
    [
        {},
        {"RescaleSlope": b"0", "RescaleIntercept": b"0"},
        {"RescaleSlope": b"1"},
        {"RescaleSlope": b"1", "RescaleIntercept": b"low"},
        {"RescaleSlope": b"1e400", "RescaleIntercept": b"0"},
    ],
)
def test_a_rescaling_that_is_none_is_left_out(rescaling: dict[str, Any]) -> None:
    state = state_of(radiograph(**rescaling))
    for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        assert keyword not in state


def lut(entries: list[int], first: int = 0, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Encode an item with a LUT of 12 bits."""
    order = ">" if transfer_syntax == ExplicitVRBigEndian else "<"
    descriptor = struct.pack(f"{order}3H", len(entries), first % 65536, 12)
    data = struct.pack(f"{order}{len(entries)}H", *entries)
    head = struct.pack(f"{order}HHL", 0xFFFE, 0xE000, 0)[:4]
    body = b"".join(
        (
            lut_element(0x3002, b"US", descriptor, transfer_syntax),
            lut_element(0x3006, b"US", data, transfer_syntax),
        )
    )
    return head + struct.pack(f"{order}L", len(body)) + body


def lut_element(number: int, vr: bytes, value: bytes, transfer_syntax: str) -> bytes:
    order = ">" if transfer_syntax == ExplicitVRBigEndian else "<"
    head = struct.pack(f"{order}HH", 0x0028, number)
    if transfer_syntax == ImplicitVRLittleEndian:
        return head + struct.pack("<L", len(value)) + value
    return head + vr + struct.pack(f"{order}H", len(value)) + value


@pytest.mark.parametrize(
    "transfer_syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_lut_is_the_sources_in_whatever_bytes_it_came(keyword: str, transfer_syntax: str) -> None:
    entries = [0, 7, 300, 4095]
    header = {**values(), keyword: lut(entries, 100, transfer_syntax)}
    state = state_of(received(header, transfer_syntax))
    if keyword == "VOILUTSequence":
        (softcopy,) = state.SoftcopyVOILUTSequence
        (found,) = softcopy.VOILUTSequence
    else:
        (found,) = state.ModalityLUTSequence
        assert found.ModalityLUTType == "US"
    assert list(found.LUTDescriptor) == [4, 100, 16]
    stretch = 65535 / 4095 if keyword == "VOILUTSequence" else 1  # brightness is kept
    assert list(np.frombuffer(found.LUTData, "<u2")) == [round(each * stretch) for each in entries]


def test_a_lut_may_have_two_entries_in_a_word() -> None:
    packed = item(
        lut_element(0x3002, b"US", struct.pack("<3H", 3, 0, 8), ExplicitVRLittleEndian),
        lut_element(0x3006, b"US", bytes([0, 1, 255, 0]), ExplicitVRLittleEndian),
    )
    (softcopy,) = state_of(radiograph(VOILUTSequence=packed)).SoftcopyVOILUTSequence
    (found,) = softcopy.VOILUTSequence
    assert list(np.frombuffer(found.LUTData, "<u2")) == [0, 257, 65535]


def test_a_lut_goes_before_a_window_and_before_a_rescaling() -> None:
    source = radiograph(
        ModalityLUTSequence=lut([1, 2]),
        RescaleSlope=b"1",
        RescaleIntercept=b"0",
        VOILUTSequence=lut([3, 4]),
        WindowCenter=b"1",
        WindowWidth=b"2",
    )
    state = state_of(source)
    assert "RescaleSlope" not in state
    (voi,) = state.SoftcopyVOILUTSequence
    assert "WindowCenter" not in voi


def test_a_lut_of_signed_pixels_may_begin_below_zero() -> None:
    source = radiograph(VOILUTSequence=lut([3, 4], -5), PixelRepresentation=b"\x01\x00")
    (softcopy,) = state_of(source).SoftcopyVOILUTSequence
    assert list(softcopy.VOILUTSequence[0].LUTDescriptor) == [2, -5, 16]


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"no item",
        lut([1, 2])[:-2],
        item(element("LUTExplanation", b"gone")),
        lut([1] * 2)[:20],
    ],
)
def test_a_lut_that_is_not_whole_is_left_out_and_the_window_holds(broken: bytes) -> None:
    source = radiograph(VOILUTSequence=broken, WindowCenter=b"10", WindowWidth=b"20")
    (voi,) = state_of(source).SoftcopyVOILUTSequence
    assert voi.WindowWidth == 20


def test_a_shutter_is_the_sources() -> None:
    source = radiograph(
        "DX",
        ShutterShape=b"RECTANGULAR\\CIRCULAR",
        ShutterLeftVerticalEdge=b"10",
        ShutterRightVerticalEdge=b"2000",
        ShutterUpperHorizontalEdge=b"20",
        ShutterLowerHorizontalEdge=b"2400",
        CenterOfCircularShutter=b"1250",  # one number too few: no circle
        RadiusOfCircularShutter=b"900",
    )
    state = state_of(source)
    assert state.ShutterShape == "RECTANGULAR"
    assert state.ShutterLowerHorizontalEdge == 2400
    assert state.ShutterPresentationValue == 0
    assert "RadiusOfCircularShutter" not in state


@pytest.mark.parametrize("shape", [None, b"", b"STAR", b"POLYGONAL"])
def test_without_a_whole_shutter_there_is_none(shape: bytes | None) -> None:
    state = state_of(radiograph(ShutterShape=shape, VerticesOfThePolygonalShutter=b"1\\2\\3\\4"))
    assert "ShutterShape" not in state
    assert "ShutterPresentationValue" not in state


def test_the_state_refers_to_its_source_in_its_series() -> None:
    state = state_of()
    (series,) = state.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "1.2.826.0.1.3680043.8.498.3"
    (image,) = series.ReferencedImageSequence
    assert image.ReferencedSOPInstanceUID == "1.2.826.0.1.3680043.8.498.1"
    assert state.Modality == "PR"
    assert (state.PresentationCreationDate, state.PresentationCreationTime) == (
        "20260504",
        "234506",
    )
    assert "(unverified)" in state.SeriesDescription


@pytest.mark.parametrize("names", NAMES)
def test_patient_and_study_elements_are_the_sources_byte_for_byte(names: str) -> None:
    header = values(names=names)
    written = value_fields(output_of(radiograph(names=names)).encode())
    for keyword in ("PatientName", "PatientID", "StudyDate", "AccessionNumber", "StudyID"):
        assert written[tag_for_keyword(keyword) or 0].rstrip() == header[keyword].rstrip()


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "AccessionNumber", "StudyDate"])
def test_nothing_about_the_patient_is_drawn(keyword: str) -> None:
    changed: dict[str, Any] = {keyword: b"20200202"}
    plain, other = state_of(), state_of(radiograph(**changed))
    assert plain.GraphicAnnotationSequence == other.GraphicAnnotationSequence
    assert plain.GraphicLayerSequence == other.GraphicLayerSequence


@pytest.mark.parametrize("conclusion", CONCLUSIONS)
def test_the_same_input_gives_the_same_bytes(conclusion: str) -> None:
    first, again = (output_of(conclusion=CONCLUSIONS[conclusion]).encode() for _ in range(2))
    assert first == again


def test_another_identity_is_another_object() -> None:
    other = build_presentation_state(
        radiograph(), IN_A_REGION, now=NOW, identity=OutputIdentity(digest="0" * 64)
    )
    assert other is not None
    assert other.sop_instance_uid != output_of().sop_instance_uid


def test_the_output_names_its_object_and_is_known_as_ours() -> None:
    output = output_of()
    state = dcmread(BytesIO(output.encode()))
    assert output.kind == "gsps"
    assert output.sop_class_uid == state.SOPClassUID == GrayscaleSoftcopyPresentationStateStorage
    assert output.sop_instance_uid == state.SOPInstanceUID
    assert is_own_result(state)


def test_dcmwrite_writes_the_bytes_that_encode_gives() -> None:
    output = output_of(radiograph(VOILUTSequence=lut([1, 2, 3])))
    written = BytesIO()
    pydicom.dcmwrite(written, output.dataset, enforce_file_format=True)
    assert written.getvalue() == output.encode()


def test_a_header_that_is_decoded_already_has_the_same_state() -> None:
    source = radiograph(
        VOILUTSequence=lut([0, 9, 4095], 7), RescaleSlope=b"1", RescaleIntercept=b"0"
    )
    fresh = output_of(source).encode()
    for each in source.iterall():
        assert each.value is not None
    assert output_of(source).encode() == fresh
