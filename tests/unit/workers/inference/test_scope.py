"""Headers in and out of scope: a table, and arbitrary headers."""

from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping as snomed
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import ComputedRadiographyImageStorage, SecondaryCaptureImageStorage
from synthetic.objects import make_cr, make_dx, make_sc
from synthetic.report_sources import NOW, element, item, predicted, radiograph

from service.dicom.implementation import IMPLEMENTATION_CLASS_UID
from service.domain.reasons import Reason
from workers.inference.scope import OTHER_VIEW_CODES, out_of_scope
from workers.reporting.sr.report import build_report

# the service logs pydicom's warnings about odd values and goes on
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

CR, SC = ComputedRadiographyImageStorage.encode(), SecondaryCaptureImageStorage.encode()
Values = dict[str, bytes]


def header(values: Values, vr: str | None = None) -> Dataset:
    """Build a header as it comes from the wire, its value fields undecoded."""
    dataset = Dataset()
    for keyword, value in values.items():
        number = tag_for_keyword(keyword)
        assert number is not None
        tag = Tag(number)
        dataset._dict[tag] = RawDataElement(
            tag,
            vr or dictionary_VR(tag),
            len(value),
            value,
            0,
            is_implicit_VR=False,
            is_little_endian=True,
        )
    return dataset


def view(code: str) -> bytes:
    return item(
        element("CodeValue", code.encode()),
        element("CodingSchemeDesignator", b"SCT"),
        element("CodeMeaning", b"a view"),
    )


@pytest.mark.parametrize("made", [make_cr, make_dx, make_sc])
def test_a_chest_radiograph_passes(made: type[Dataset]) -> None:
    assert out_of_scope(made()) is None


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"Modality": b""},
        {"Modality": b"DX"},
        {"Modality": b"RG"},
        {"Modality": b"CR "},
        {"Modality": b"cr"},
        {"Modality": b"DR"},
        {"Modality": b"X-RAY"},
        {"Modality": b"RX", "SOPClassUID": SC},
        {"Modality": b"CR\\DX"},
        {"Modality": b"CR/DX", "SOPClassUID": SC},
        {"Modality": b"DX CR", "SOPClassUID": SC},
        {"Modality": b"OT", "SOPClassUID": CR},
        {"Modality": b"CHEST 1", "SOPClassUID": CR},
        {"Modality": b"OT", "SOPClassUID": SC},
        {"Modality": b"SC", "SOPClassUID": SC + b"\0"},
        {"SOPClassUID": SC},
        {"SOPClassUID": CR},
        {"BodyPartExamined": b""},
        {"BodyPartExamined": b"CHEST"},
        {"BodyPartExamined": b"Chest "},
        {"BodyPartExamined": b"CHESTABDOMEN"},
        {"BodyPartExamined": b"Brustkorb"},
        {"BodyPartExamined": "胸部".encode()},
        {"BodyPartExamined": b"CHEST\\ABDOMEN"},
        {"ViewPosition": b"AP"},
        {"ViewPosition": b"frontal"},
        {"ViewPosition": b""},
        {"ViewCodeSequence": view(codes.SCT.PosteroAnterior.value)},
        {"ViewCodeSequence": view(codes.SCT.AnteroPosterior.value)},
        {"ViewCodeSequence": view("R-10214")},  # postero-anterior, as it used to be
        {"ViewCodeSequence": b""},
        {"ViewCodeSequence": item()},
        {"NumberOfFrames": b""},
        {"NumberOfFrames": b"0"},
        {"NumberOfFrames": b"1 "},
        {"NumberOfFrames": b"01"},
        {"NumberOfFrames": b"+1"},
    ],
    ids=repr,
)
def test_a_header_that_names_a_frontal_chest_or_nothing_known_passes(values: Values) -> None:
    assert out_of_scope(header(values)) is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"Modality": b"MG"}, Reason.MODALITY),
        ({"Modality": b"MG", "SOPClassUID": CR}, Reason.MODALITY),
        ({"Modality": b"RF", "SOPClassUID": SC}, Reason.MODALITY),
        ({"Modality": b"CT\\OT", "SOPClassUID": SC}, Reason.MODALITY),
        ({"Modality": b"CT"}, Reason.MODALITY),
        ({"Modality": b"XA"}, Reason.MODALITY),
        ({"Modality": b"SR"}, Reason.MODALITY),
        ({"Modality": b"CT", "SOPClassUID": SC}, Reason.MODALITY),
        ({"BodyPartExamined": b"HAND"}, Reason.BODY_PART),
        ({"BodyPartExamined": b"hand "}, Reason.BODY_PART),
        ({"BodyPartExamined": b"L SPINE"}, Reason.BODY_PART),
        ({"BodyPartExamined": b"C-SPINE"}, Reason.BODY_PART),
        ({"ViewPosition": b"LL"}, Reason.VIEW),
        ({"ViewPosition": b"lateral"}, Reason.VIEW),
        ({"ViewPosition": b"L LAT"}, Reason.VIEW),
        ({"ViewPosition": b"LAO"}, Reason.VIEW),
        ({"ViewCodeSequence": view(codes.SCT.Lateral.value)}, Reason.VIEW),
        ({"ViewPosition": b"PA", "ViewCodeSequence": view("399173006")}, Reason.VIEW),
        ({"ViewCodeSequence": view("R-10236")}, Reason.VIEW),  # left lateral, as it used to be
        ({"NumberOfFrames": b"2"}, Reason.MULTI_FRAME),
        ({"NumberOfFrames": b"0040"}, Reason.MULTI_FRAME),
        ({"InstanceCreatorUID": IMPLEMENTATION_CLASS_UID.encode()}, Reason.OWN_RESULT),
        ({"Modality": b"CT", "BodyPartExamined": b"HAND"}, Reason.MODALITY),
    ],
    ids=repr,
)
def test_a_header_that_is_clearly_something_else_is_out_of_scope(
    values: Values, reason: Reason
) -> None:
    assert out_of_scope(header(values)) is reason


def test_a_result_of_our_own_that_comes_back_is_recognised_before_any_other_rule() -> None:
    report = build_report(radiograph(), predicted(), now=NOW)
    assert out_of_scope(dcmread(BytesIO(report.encode()))) is Reason.OWN_RESULT


@pytest.mark.parametrize(
    ("keyword", "value", "vr", "reason"),
    [
        ("NumberOfFrames", b"1.0", None, None),
        ("NumberOfFrames", b"one", None, None),
        ("NumberOfFrames", b"1\\2", None, None),
        ("NumberOfFrames", b"nan", None, None),
        ("NumberOfFrames", b"2.0", None, Reason.MULTI_FRAME),
        ("NumberOfFrames", b"\x02\x00", "US", Reason.MULTI_FRAME),
        ("NumberOfFrames", b"\x02", "US", None),
        ("BodyPartExamined", b"\xff\xfe\x00", None, None),
        ("ViewPosition", b"LL\x00", None, Reason.VIEW),
        ("ViewCodeSequence", b"no items", "LO", None),
        ("ViewCodeSequence", b"\xfe\xff\x00\xe0\xff\xff", None, None),
        ("SOPClassUID", b"\x80\x81", None, None),
    ],
)
def test_a_value_of_the_wrong_form_is_read_as_far_as_it_can_be(
    keyword: str, value: bytes, vr: str | None, reason: Reason | None
) -> None:
    assert out_of_scope(header({keyword: value}, vr)) is reason


def test_the_view_codes_are_the_same_in_both_snomeds_and_name_no_frontal_view() -> None:
    old = {code for code in OTHER_VIEW_CODES if "-" in code}
    assert {snomed["SRT"][code] for code in old} == OTHER_VIEW_CODES - old
    snomed_ct: dict[str, Any] = concepts["SCT"]
    meanings = {
        code: meaning.lower()
        for named in snomed_ct.values()
        for code, (meaning, _) in named.items()
        if code in OTHER_VIEW_CODES
    }
    assert meanings.keys() == OTHER_VIEW_CODES - old
    for meaning in meanings.values():
        assert any(word in meaning for word in ("lateral", "oblique", "sagittal")), meaning


WORDS = (
    *(b"CR", b"DX", b"OT", b"HAND", b"LL", b"2", b"ISO_IR 100", b"\\", b"\0", view("399067008")),
    *(item(), b"\xfe\xff\x00\xe0\xff\xff\xff\xff", IMPLEMENTATION_CLASS_UID.encode()),
)
KEYWORDS = (
    *("SOPClassUID", "Modality", "BodyPartExamined", "ViewPosition", "NumberOfFrames"),
    *("ViewCodeSequence", "ContributingEquipmentSequence", "InstanceCreatorUID"),
    "SpecificCharacterSet",
)
VALUES = st.dictionaries(
    st.sampled_from(KEYWORDS), st.one_of(st.binary(max_size=24), st.sampled_from(WORDS))
)
VRS = st.sampled_from([None, "LO", "UN", "US", "DS", "SQ", "AT", "FD", "PN", "ZZ"])


@settings(max_examples=3 * settings().max_examples, deadline=None)
@given(VALUES, VRS)
def test_any_header_is_in_scope_or_has_a_reason(values: Values, vr: str | None) -> None:
    conclusion = out_of_scope(header(values, vr))
    assert conclusion is None or conclusion in Reason
