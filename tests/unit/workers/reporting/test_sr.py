import copy
import dataclasses
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from typing import Any, cast

import highdicom.sr
import hypothesis.strategies as st
import pydicom
import pytest
from hypothesis import assume, given, settings
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from synthetic.report_sources import (
    BALANCED,
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

from service.dicom.implementation import IMPLEMENTATION_CLASS_UID, is_own_result
from service.domain.reasons import EXPLANATIONS, LEFT_ALONE, Reason
from workers.prediction import Finding, Model, NotAnalysed, OperatingPoint, Prediction, Region
from workers.reporting.codes import PNEUMONIA
from workers.reporting.header import INHERITED, TYPE_2
from workers.reporting.sr.report import Output, ReportError, as_comprehensive, build_report
from workers.reporting.uids import OutputIdentity

ALL_FINDINGS = list(Finding)
SHARED = (*TYPE_2, *INHERITED)


def read_back(output: Output) -> Dataset:
    return dcmread(BytesIO(output.encode()))


def report_of(source: Dataset, finding: Finding = Finding.PRESENT) -> Dataset:
    return read_back(build_report(source, predicted(finding), now=NOW))


def measurement_report(output: Output) -> highdicom.sr.MeasurementReport:
    content = highdicom.sr.srread(BytesIO(output.encode())).content
    assert isinstance(content, highdicom.sr.MeasurementReport)
    return content


def the_group(output: Output) -> highdicom.sr.MeasurementsAndQualitativeEvaluations:
    (group,) = measurement_report(output).get_image_measurement_groups()
    return group


def texts(dataset: Dataset, meaning: str) -> list[str]:
    """Return every TEXT value with this concept name, in the order of the tree."""
    found = []
    for child in dataset.get("ContentSequence", ()):
        if child.ValueType == "TEXT" and child.ConceptNameCodeSequence[0].CodeMeaning == meaning:
            found.append(child.TextValue)
        found += texts(child, meaning)
    return found


def every_item(dataset: Dataset) -> list[Dataset]:
    children = list(dataset.get("ContentSequence", ()))
    return [dataset, *(nested for child in children for nested in every_item(child))]


# --- the content tree -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finding", "code"),
    [
        (Finding.PRESENT, "52101004"),
        (Finding.ABSENT, "272519000"),
        (Finding.INDETERMINATE, "373068000"),
    ],
)
def test_pneumonia_reads_present_absent_or_undetermined(finding: Finding, code: str) -> None:
    group = the_group(build_report(radiograph(), predicted(finding), now=NOW))
    (evaluation,) = group.get_qualitative_evaluations(PNEUMONIA)
    answer = cast("highdicom.sr.CodedConcept", evaluation.value)  # annotated as a number
    assert answer.value == code


def test_only_a_positive_carries_a_finding() -> None:
    carried = {
        finding: the_group(build_report(radiograph(), predicted(finding), now=NOW)).finding_type
        for finding in ALL_FINDINGS
    }
    present = carried[Finding.PRESENT]
    assert present is not None
    assert present.value == "233604007"
    assert carried[Finding.ABSENT] is None
    assert carried[Finding.INDETERMINATE] is None


@pytest.mark.parametrize(
    ("finding", "percent"),
    [(Finding.PRESENT, 87.3), (Finding.ABSENT, 3.2), (Finding.INDETERMINATE, 51.0)],
)
def test_the_certainty_is_the_probability_of_pneumonia_whatever_the_finding(
    finding: Finding, percent: float
) -> None:
    prediction = predicted(finding)
    output = build_report(radiograph(), prediction, now=NOW)
    (certainty,) = the_group(output).get_measurements()
    assert (certainty.name.value, certainty.unit.value) == ("111012", "%")
    assert certainty.value == percent
    parameters = texts(read_back(output), "Algorithm Parameters")
    assert f"Probability of pneumonia: {prediction.probability!r}" in parameters


def test_the_algorithm_is_named_with_all_that_reproduces_its_number() -> None:
    report = report_of(radiograph())
    assert texts(report, "Algorithm Name") == [MODEL.name]
    assert texts(report, "Algorithm Version") == [MODEL.version]
    parameters = texts(report, "Algorithm Parameters")
    assert "Operating point balanced: threshold 0.5, undetermined between 0.4 and 0.6" in parameters
    assert "Calibrated: yes" in parameters
    assert f"Weights SHA-256: {MODEL.weights_sha256}" in parameters
    assert any(
        "whether pneumonia reads present, absent or undetermined" in each for each in parameters
    )


def test_an_uncalibrated_model_says_so() -> None:
    prediction = predicted(model=dataclasses.replace(MODEL, calibrated=False))
    report = read_back(build_report(radiograph(), prediction, now=NOW))
    parameters = " ".join(texts(report, "Algorithm Parameters"))
    assert "Calibrated: no" in parameters
    assert "uncalibrated probability" in parameters


def test_the_region_is_the_whole_image_of_the_source() -> None:
    report = report_of(radiograph())
    (region,) = (each for each in every_item(report) if each.ValueType == "SCOORD")
    assert region.GraphicType == "POLYLINE"
    assert region.GraphicData == [0, 0, 2048, 0, 2048, 2500, 0, 2500, 0, 0]
    reference = region.ContentSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == "1.2.826.0.1.3680043.8.498.1"


def test_a_source_without_rows_is_reported_without_a_region() -> None:
    report = report_of(radiograph(Rows=None))
    assert not any(each.ValueType == "SCOORD" for each in every_item(report))


def test_every_container_is_separate_because_ohif_hides_names_in_continuous_ones() -> None:
    containers = [
        each for each in every_item(report_of(radiograph())) if each.ValueType == "CONTAINER"
    ]
    assert len(containers) == 5
    assert {each.ContinuityOfContent for each in containers} == {"SEPARATE"}


def test_the_image_library_says_what_the_source_says() -> None:
    library = highdicom.sr.srread(
        BytesIO(build_report(radiograph(), predicted(), now=NOW).encode())
    )
    said = {
        each.ConceptNameCodeSequence[0].CodeMeaning
        for each in every_item(library)
        if each.get("RelationshipType") == "HAS ACQ CONTEXT"
    }
    assert said == {
        "Modality",
        "Pixel Data Rows",
        "Pixel Data Columns",
        "Patient Orientation Row",
        "Patient Orientation Column",
        "Horizontal Pixel Spacing",
        "Vertical Pixel Spacing",
    }


def test_spacings_and_orientations_that_are_none_are_left_out() -> None:
    source = radiograph(
        PixelSpacing=b"0.000\\0.000", ImagerPixelSpacing=b"a\\b", PatientOrientation=b"L"
    )
    said = " ".join(
        each.ConceptNameCodeSequence[0].CodeMeaning for each in every_item(report_of(source))
    )
    assert "Spacing" not in said
    assert "Orientation" not in said


REGION = Region(top=0.25, left=0.125, bottom=0.5, right=0.375)


def planar_group(output: Output) -> highdicom.sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    (group,) = measurement_report(output).get_planar_roi_measurement_groups()
    return group


def test_a_region_is_drawn_where_the_model_looked_and_says_that_it_is_no_outline() -> None:
    prediction = dataclasses.replace(predicted(), region=REGION)
    output = build_report(radiograph(), prediction, now=NOW)
    group = planar_group(output)
    assert group.roi is not None
    assert group.roi.graphic_type.value == "POLYLINE"
    corners = {tuple(point) for point in group.roi.value.tolist()}
    assert {(256, 625), (768, 625), (768, 1250), (256, 1250)} <= corners
    assert group.roi.value.tolist()[0] == group.roi.value.tolist()[-1]
    assert group.tracking_identifier == "AI attention region, not a lesion outline"
    assert group.method is not None
    assert group.method.value == "130402", "class activation"
    assert texts(read_back(output), "Tracking Identifier") == [group.tracking_identifier]


def test_a_region_has_more_points_than_ohif_takes_for_a_rectangle_of_its_own() -> None:
    output = build_report(radiograph(), dataclasses.replace(predicted(), region=REGION), now=NOW)
    region = planar_group(output).roi
    assert region is not None
    points = region.value
    assert len(points) == 6
    left, top, right, bottom = 256, 625, 768, 1250
    assert all(x in {left, right} or y in {top, bottom} for x, y in points.tolist())


def test_the_method_of_a_region_modifies_the_group_as_its_template_has_it() -> None:
    report = read_back(
        build_report(radiograph(), dataclasses.replace(predicted(), region=REGION), now=NOW)
    )
    (method,) = (
        each
        for each in every_item(report)
        if each.ConceptNameCodeSequence[0].CodeMeaning == "Measurement Method"
    )
    assert method.RelationshipType == "HAS CONCEPT MOD"


@pytest.mark.parametrize("absent", ["Rows", "Columns"])
def test_a_region_of_an_image_of_unknown_size_is_left_out_and_the_rest_stays(absent: str) -> None:
    prediction = dataclasses.replace(predicted(), region=REGION)
    changes: dict[str, Any] = {absent: None}
    group = the_group(build_report(radiograph(**changes), prediction, now=NOW))
    assert group.get_measurements()[0].value == 87.3


def test_a_report_of_no_analysis_has_a_coded_reason_and_nothing_about_pneumonia() -> None:
    refusal = NotAnalysed(reason=Reason.LATERAL, model=MODEL)
    report = read_back(build_report(radiograph(), refusal, now=NOW))
    codes = {
        each.ConceptNameCodeSequence[0].CodeValue: each.ConceptCodeSequence[0]
        for each in every_item(report)
        if each.ValueType == "CODE"
    }
    assert codes["not-analysed"].CodeValue == "lateral-view"
    assert codes["not-analysed"].CodeMeaning == "Lateral view"
    assert codes["111017"].CodeValue == "111245", "no algorithms succeeded; without findings"
    assert PNEUMONIA.value not in codes
    assert {"NUM", "SCOORD"}.isdisjoint(each.ValueType for each in every_item(report))
    assert EXPLANATIONS[Reason.LATERAL] in " ".join(texts(report, "Conclusion"))
    assert texts(report, "Algorithm Name") == [MODEL.name]


@pytest.mark.parametrize("reason", [each for each in Reason if each not in LEFT_ALONE])
def test_every_reason_is_a_code_that_its_report_declares(reason: Reason) -> None:
    refusal = NotAnalysed(reason=reason, model=MODEL)
    report = read_back(build_report(radiograph(), refusal, now=NOW))
    (scheme,) = report.CodingSchemeIdentificationSequence
    (why,) = (
        each.ConceptCodeSequence[0]
        for each in every_item(report)
        if each.ConceptNameCodeSequence[0].get("CodeValue") == "not-analysed"
    )
    assert why.CodingSchemeDesignator == scheme.CodingSchemeDesignator == "99LOBAR"
    assert (why.get("CodeValue") or why.get("LongCodeValue")) == reason
    assert ("LongCodeValue" in why) == (len(reason) > 16), "SH holds sixteen characters"


def test_each_conclusion_about_a_source_has_a_name_of_its_own() -> None:
    conclusions: list[Prediction | NotAnalysed] = [
        predicted(),
        *(NotAnalysed(reason=each, model=MODEL) for each in (Reason.LATERAL, Reason.TURNED)),
    ]
    uids = {build_report(radiograph(), each, now=NOW).sop_instance_uid for each in conclusions}
    assert len(uids) == len(conclusions)


# --- patient and study ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "transfer_syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
@pytest.mark.parametrize("kind", ["CR", "DX", "DX for processing", "SC"])
@pytest.mark.parametrize("names", NAMES)
def test_patient_and_study_elements_are_the_sources_byte_for_byte(
    names: str, kind: str, transfer_syntax: str
) -> None:
    header = values(kind, names)
    output = build_report(received(header, transfer_syntax), predicted(), now=NOW)
    written = value_fields(output.encode())
    for keyword in SHARED:
        if keyword in header:
            padding = b"\x00" if dictionary_VR(keyword) == "UI" else b" "
            value = header[keyword] + padding * (len(header[keyword]) % 2)
            assert written[Tag(keyword)] == value
        else:
            assert written.get(Tag(keyword), b"") == b""
    assert written[0x00080060] == b"SR"


@pytest.mark.parametrize("names", NAMES)
def test_elements_that_are_decoded_already_are_the_same(names: str) -> None:
    header = values(names=names)
    source = received(header)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about character sets that pydicom does not know
        for decoded in source:
            assert decoded.value is not None
    written = value_fields(build_report(source, predicted(), now=NOW).encode())
    assert written[0x00100010].rstrip() == header["PatientName"].rstrip()
    assert written[0x00100020] == header["PatientID"]


def test_building_a_report_leaves_the_source_undecoded() -> None:
    source = radiograph()
    before = copy.deepcopy(dict(source._dict))
    build_report(source, predicted(), now=NOW)
    assert dict(source._dict) == before


def test_absent_type_2_elements_become_empty() -> None:
    changes: dict[str, Any] = dict.fromkeys(TYPE_2)
    report = report_of(radiograph(**changes))
    for keyword in TYPE_2:
        assert keyword in report
        assert report[keyword].is_empty


@pytest.mark.parametrize(
    "changes",
    [
        {"PatientSex": b"X"},
        {"PatientBirthDate": b"1970-01-02", "StudyDate": b"yesterday", "StudyTime": b"noon"},
        {"PatientName": b"N" * 200, "PatientID": b"I" * 200, "AccessionNumber": b"A" * 90},
        {"PatientName": b"", "PatientID": b"", "StudyTime": b""},
        {"PatientName": b"=" * 9, "PatientAge": b"old", "PatientSize": b"tall"},
        {"PatientName": b"\x00\x1b\xff\x0a\x5c", "PatientID": b"\xff"},
    ],
    ids=["sex", "dates", "long", "empty", "shapes", "bytes"],
)
def test_invalid_values_are_copied_unchanged(changes: dict[str, Any]) -> None:
    output = build_report(radiograph(**changes), predicted(), now=NOW)
    written = value_fields(output.encode())
    for keyword, value in changes.items():
        assert written[Tag(keyword)] == value + b" " * (len(value) % 2)


def test_a_value_too_long_for_its_vr_is_left_empty() -> None:
    source = received(
        values() | {"PatientName": b"N" * 70_000}, transfer_syntax=ImplicitVRLittleEndian
    )
    assert value_fields(build_report(source, predicted(), now=NOW).encode())[0x00100010] == b""


def test_a_sequence_is_copied_with_the_bytes_of_its_elements() -> None:
    name = NAMES["Japanese"][1]
    other = item(element("PatientID", b"OTHER"), element("PatientName", name))
    source = radiograph(names="Japanese", OtherPatientIDsSequence=other)
    report = report_of(source)
    (carried,) = report.OtherPatientIDsSequence
    assert carried.PatientID == "OTHER"
    assert carried.get_item("PatientName").value.strip() == name.strip()


@pytest.mark.parametrize(
    "damaged", [b"\x00", b"\xfe\xff\x00\xe0\xff\xff\x00\x00", b"not a sequence at all!"]
)
def test_a_damaged_sequence_is_left_out(damaged: bytes) -> None:
    report = report_of(
        radiograph(OtherPatientIDsSequence=damaged, RequestAttributesSequence=damaged)
    )
    assert "OtherPatientIDsSequence" not in report
    assert "ReferencedRequestSequence" not in report
    assert report.PatientID == "PID 0007"


READ_BY_US = (
    *SHARED,
    *("Modality", "Rows", "Columns", "PatientOrientation", "PixelSpacing", "ImagerPixelSpacing"),
    *("BodyPartExamined", "TimezoneOffsetFromUTC", "BurnedInAnnotation", "LossyImageCompression"),
    *("RequestAttributesSequence", "ReferencedRequestSequence", "ContributingEquipmentSequence"),
)


@pytest.mark.slow
@settings(deadline=None)
@given(
    changes=st.dictionaries(
        st.sampled_from([each for each in READ_BY_US if each != "StudyInstanceUID"]),
        st.binary(max_size=40) | st.none(),
        max_size=12,
    )
)
def test_no_header_of_an_accepted_instance_prevents_its_report(
    changes: dict[str, Any],
) -> None:
    assume(b"\0" not in (changes.get("SpecificCharacterSet") or b""))  # pydicom raises: undecodable
    source = radiograph(**changes)
    output = build_report(source, predicted(), now=NOW)
    assert value_fields(output.encode())[0x00080016].rstrip(b"\x00").decode() == (
        Comprehensive3DSRStorage
    )
    is_own_result(source)


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
@pytest.mark.parametrize("value", [None, b"", b"Doe^Jane", b"1..3", b"1.2\\1.3", b"1" * 65])
def test_a_source_that_does_not_name_itself_is_an_error_without_patient_data(
    keyword: str, value: bytes | None
) -> None:
    changes: dict[str, Any] = {keyword: value}
    with pytest.raises(ReportError, match=f"^the source has no valid {keyword}$"):
        build_report(radiograph(**changes), predicted(), now=NOW)


def test_the_text_that_lobar_adds_is_ascii_for_any_name_of_a_model() -> None:
    model = dataclasses.replace(
        MODEL,
        name="Lungenentzündung\\肺炎\n" + "x" * 80,
        version="1.0-β",
        operating_point=dataclasses.replace(BALANCED, name="empfindlich für Kinder"),
    )
    output = build_report(radiograph(names="Japanese"), predicted(model=model), now=NOW)
    fields = value_fields(output.encode())
    equipment = pydicom.dcmread(BytesIO(output.encode())).ContributingEquipmentSequence[0]
    assert equipment.ManufacturerModelName.startswith("Lungenentzundung/???xxx")
    assert len(equipment.ManufacturerModelName) <= 64
    assert b"empfindlich fur Kinder" in fields[0x0040A730]


# --- equipment, dates and requests -----------------------------------------------------------


def test_the_report_is_complete_unverified_and_preliminary() -> None:
    report = report_of(radiograph())
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert "(unverified)" in report.SeriesDescription


def test_the_evidence_is_the_source_in_its_study_and_series() -> None:
    (study,) = report_of(radiograph("DX")).CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == "1.2.826.0.1.3680043.8.498.2"
    assert series.SeriesInstanceUID == "1.2.826.0.1.3680043.8.498.3"
    assert instance.ReferencedSOPInstanceUID == "1.2.826.0.1.3680043.8.498.1"
    assert instance.ReferencedSOPClassUID.name.startswith("Digital X-Ray Image Storage")


@pytest.mark.parametrize(
    ("offset", "date", "time"),
    [
        (b"+0200", "20260505", "014506"),
        (b"-0330", "20260504", "201506"),
        (b"+1400", "20260505", "134506"),
    ],
)
def test_times_are_in_the_sources_time_zone(offset: bytes, date: str, time: str) -> None:
    report = report_of(radiograph(TimezoneOffsetFromUTC=offset))
    for event in ("InstanceCreation", "Series", "Content"):
        assert (report[f"{event}Date"].value, report[f"{event}Time"].value) == (date, time)
    assert report.TimezoneOffsetFromUTC == offset.decode()


@pytest.mark.parametrize(
    "offset", [None, b"", b"CET", b"+2500", b"-1300", b"+02:00", b"+0200\\+01"]
)
def test_without_a_time_zone_in_the_source_times_are_as_handed_in(offset: bytes | None) -> None:
    now = NOW.astimezone(timezone(timedelta(hours=-5)))
    source = radiograph(TimezoneOffsetFromUTC=offset)
    report = read_back(build_report(source, predicted(), now=now))
    assert (report.ContentDate, report.ContentTime) == ("20260504", "184506")
    assert "TimezoneOffsetFromUTC" not in report


def test_the_request_that_the_image_answers_is_referred_to() -> None:
    request = item(
        element("RequestedProcedureID", b"RP-1"),
        element("RequestedProcedureDescription", NAMES["Latin"][1]),
        element("ScheduledProcedureStepID", b"SPS-1"),
    )
    (answered,) = report_of(radiograph(RequestAttributesSequence=request)).ReferencedRequestSequence
    assert answered.StudyInstanceUID == "1.2.826.0.1.3680043.8.498.2"
    assert answered.AccessionNumber == "A-4711"
    assert answered.RequestedProcedureID == "RP-1"
    assert answered.RequestedProcedureDescription == "Müller^Jörg"
    assert answered["FillerOrderNumberImagingServiceRequest"].is_empty
    assert answered["ReferencedStudySequence"].is_empty
    assert "ScheduledProcedureStepID" not in answered


def test_without_a_request_none_is_made_up() -> None:
    report = report_of(radiograph())
    assert "ReferencedRequestSequence" not in report
    assert report.AccessionNumber == "A-4711"


def test_the_algorithm_is_contributing_equipment_with_a_device_uid() -> None:
    (equipment,) = report_of(radiograph()).ContributingEquipmentSequence
    assert equipment.Manufacturer == "Lobar"
    assert equipment.ManufacturerModelName == MODEL.name
    assert equipment.SoftwareVersions == MODEL.version
    assert UID(equipment.DeviceUID).is_valid


def other_models() -> list[Model]:
    point = MODEL.operating_point
    return [
        dataclasses.replace(MODEL, name="another"),
        dataclasses.replace(MODEL, version="1.2.4"),
        dataclasses.replace(MODEL, weights_sha256="f" * 64),
        dataclasses.replace(MODEL, operating_point=dataclasses.replace(point, name="sensitive")),
        dataclasses.replace(MODEL, operating_point=dataclasses.replace(point, threshold=0.45)),
        dataclasses.replace(
            MODEL, operating_point=dataclasses.replace(point, indeterminate_low=0.3)
        ),
        dataclasses.replace(
            MODEL, operating_point=dataclasses.replace(point, indeterminate_high=0.7)
        ),
    ]


def test_the_device_uid_changes_with_the_model_and_not_with_the_operating_point() -> None:
    def device(model: Model) -> str:
        report = read_back(build_report(radiograph(), predicted(model=model), now=NOW))
        return str(report.ContributingEquipmentSequence[0].DeviceUID)

    ours = device(MODEL)
    assert [device(model) == ours for model in other_models()] == [False] * 3 + [True] * 4


def test_the_same_input_gives_the_same_bytes() -> None:
    first = build_report(radiograph("DX"), predicted(), now=NOW).encode()
    again = build_report(radiograph("DX"), predicted(), now=NOW).encode()
    assert first == again


def test_every_difference_in_the_input_gives_another_object_in_another_series() -> None:
    outputs = [
        build_report(radiograph(), predicted(), now=NOW),
        build_report(radiograph(), predicted(), now=NOW, identity=OutputIdentity(digest="0" * 64)),
        build_report(radiograph(), predicted(), now=NOW, identity=OutputIdentity(digest="1" * 64)),
        build_report(radiograph(SOPInstanceUID=b"1.2.9"), predicted(), now=NOW),
        *(build_report(radiograph(), predicted(model=each), now=NOW) for each in other_models()),
    ]
    uids = [each.sop_instance_uid for each in outputs]
    uids += [each.dataset.SeriesInstanceUID for each in outputs]
    assert len(set(uids)) == 2 * len(outputs)
    assert all(UID(uid).is_valid and uid.startswith("2.25.") for uid in uids)


def test_a_later_run_changes_times_only() -> None:
    first = build_report(radiograph(), predicted(), now=NOW)
    later = build_report(radiograph(), predicted(), now=datetime(2027, 1, 1, tzinfo=UTC))
    assert first.sop_instance_uid == later.sop_instance_uid
    assert first.encode() != later.encode()


def test_a_report_is_known_as_our_own_by_each_of_its_marks() -> None:
    report = report_of(radiograph())
    assert is_own_result(report)
    assert is_own_result(report.file_meta)
    assert report.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    del report.InstanceCreatorUID
    assert is_own_result(report)
    assert not is_own_result(radiograph())


# --- the object as a file ---------------------------------------------------------------------


@pytest.mark.parametrize("names", [each for each in NAMES if "no" not in each.split()[0:2]])
def test_dcmwrite_writes_the_bytes_that_encode_gives(names: str) -> None:
    output = build_report(radiograph(names=names), predicted(), now=NOW)
    written = BytesIO()
    with warnings.catch_warnings():
        if "nobody" in names:
            warnings.simplefilter("ignore")
        pydicom.dcmwrite(written, output.dataset, enforce_file_format=True)
    assert written.getvalue() == output.encode()


def test_the_output_names_its_object() -> None:
    output = build_report(radiograph(), predicted(), now=NOW)
    written = read_back(output)
    assert output.kind == "sr"
    assert output.sop_class_uid == written.SOPClassUID == Comprehensive3DSRStorage
    assert output.sop_instance_uid == written.SOPInstanceUID
    assert written.file_meta.MediaStorageSOPInstanceUID == output.sop_instance_uid
    assert written.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


@pytest.mark.parametrize("finding", ALL_FINDINGS)
def test_the_comprehensive_sr_has_the_same_content_and_uids_of_its_own(finding: Finding) -> None:
    output = build_report(radiograph(names="Korean"), predicted(finding), now=NOW)
    comprehensive = as_comprehensive(output)
    before, after = value_fields(output.encode()), value_fields(comprehensive.encode())
    changed = {tag for tag in before.keys() | after.keys() if before.get(tag) != after.get(tag)}
    assert changed - {0x00020000} == {0x00020002, 0x00020003, 0x00080016, 0x00080018, 0x0020000E}
    assert comprehensive.sop_class_uid == ComprehensiveSRStorage
    read = highdicom.sr.srread(BytesIO(comprehensive.encode()))
    assert isinstance(read, highdicom.sr.ComprehensiveSR)
    assert output.dataset.SOPClassUID == Comprehensive3DSRStorage


def test_the_comprehensive_sr_of_a_report_from_the_outbox_is_the_same() -> None:
    output = build_report(radiograph(names="Chinese"), predicted(), now=NOW)
    stored = dataclasses.replace(output, dataset=read_back(output))
    assert as_comprehensive(stored).encode() == as_comprehensive(output).encode()


def test_an_operating_point_without_a_band_is_reported() -> None:
    point = OperatingPoint(
        name="sharp", threshold=0.5, indeterminate_low=0.5, indeterminate_high=0.5
    )
    prediction = predicted(model=dataclasses.replace(MODEL, operating_point=point))
    report = read_back(build_report(radiograph(), prediction, now=NOW))
    assert any("sharp" in each for each in texts(report, "Algorithm Parameters"))


def test_delivery_needs_no_highdicom_and_no_torch() -> None:
    code = (
        "import sys, workers.reporting.output, workers.reporting.overlay.secondary_capture;"
        "import service.dicom.implementation;"
        "print({'highdicom', 'torch', 'monai'} & set(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == "set()"


def test_a_uid_whose_component_begins_with_a_zero_is_accepted_and_reported() -> None:
    source = radiograph(SOPInstanceUID=b"1.02.3", StudyInstanceUID=b"1.2.003")
    fields = value_fields(build_report(source, predicted(), now=NOW).encode())
    assert fields[0x0020000D].rstrip(b"\x00") == b"1.2.003"
    assert b"1.02.3" in fields[0x0040A730]
