"""The facts of a report are those that it was built of, whatever the header holds."""

from pathlib import Path

import pytest
from synthetic.report_sources import (
    MODEL,
    NAMES,
    NOW,
    OTHER_PROBABILITIES,
    PROBABILITIES,
    predicted,
    radiograph,
)

from service.dicom.output_elements import UnreadableOutputError
from service.domain.reasons import NOT_ANALYSED, Reason
from service.domain.routing import Outcome
from service.messages.facts import PersonName, ReportFacts
from service.messages.reading import read_report
from workers.prediction import Conclusion, Finding, NotAnalysed
from workers.reporting.output import as_comprehensive
from workers.reporting.sr.report import build_report
from workers.reporting.uids import OutputIdentity, Predecessor

JOB = "0123456789abcdef" * 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / f"{JOB}.sr.0123456789abcdef.dcm"


def facts(path: Path, conclusion: Conclusion, **header: bytes | None) -> ReportFacts:
    source = radiograph("CR", names="Latin", **header)
    path.write_bytes(build_report(source, conclusion, now=NOW).encode())
    return read_report(path)


@pytest.mark.parametrize("finding", Finding)
@pytest.mark.parametrize("other", [None, *Finding])
def test_findings_and_probabilities_are_read_as_they_were_computed(
    path: Path, finding: Finding, other: Finding | None
) -> None:
    report = facts(path, predicted(finding, other=other))
    assert report.outcome == finding
    assert report.pneumonia is not None
    assert report.pneumonia.probability == PROBABILITIES[finding]
    assert report.pneumonia.percent == f"{100 * PROBABILITIES[finding]:.1f}"
    assert report.pneumonia.operating_point.threshold == MODEL.operating_point.threshold
    assert (report.other_abnormality is None) == (other is None)
    if other is not None and report.other_abnormality is not None:
        assert report.other_abnormality.finding == other
        assert report.other_abnormality.probability == OTHER_PROBABILITIES[other]
        assert report.other_abnormality.operating_point.threshold == 0.62
    assert report.model.name == MODEL.name
    assert report.model.weights_sha256 == MODEL.weights_sha256
    assert report.job_id == JOB
    assert report.dated_at == NOW


@pytest.mark.parametrize("reason", NOT_ANALYSED)
def test_a_reason_not_to_analyse_is_read(path: Path, reason: Reason) -> None:
    report = facts(path, NotAnalysed(reason=reason, model=MODEL))
    assert (report.outcome, report.reason) == (Outcome.NOT_ANALYSED, reason)
    assert report.pneumonia is None
    assert report.explanation


@pytest.mark.parametrize("names", NAMES)
def test_names_are_read_in_any_character_set(path: Path, names: str) -> None:
    path.write_bytes(build_report(radiograph(names=names), predicted(), now=NOW).encode())
    report = read_report(path)
    expected = {"Latin": "Müller", "Cyrillic": "Иванова", "Chinese": "Wang", "UTF-8": "Łuczak"}
    if names in expected:
        assert report.patient.name.family == expected[names]
    assert report.patient.id == "PID 0007"


def test_the_study_and_the_instance_are_read(path: Path) -> None:
    report = facts(path, predicted(), StudyTime=b"101112.5")
    assert report.study.accession_number == "A-4711"
    assert (report.study.date, report.study.time) == ("20260503", "101112")
    assert report.study.referring_physician == PersonName(family="Referrer", given="Rita")
    assert report.study.uid == "1.2.826.0.1.3680043.8.498.2"
    assert report.instance.sop_instance_uid == "1.2.826.0.1.3680043.8.498.1"
    assert report.instance.series_instance_uid == "1.2.826.0.1.3680043.8.498.3"


@pytest.mark.parametrize(
    "header",
    [
        {"PatientName": None, "PatientID": None, "PatientBirthDate": None, "PatientSex": None},
        {"PatientSex": b"?", "PatientBirthDate": b"yesterday", "StudyTime": b"late"},
        {"StudyDate": b"2026", "AccessionNumber": b"\\\\", "ReferringPhysicianName": b"^^^^"},
    ],
)
def test_what_a_header_lacks_or_has_wrong_is_blank(
    path: Path, header: dict[str, bytes | None]
) -> None:
    report = facts(path, predicted(), **header)
    assert report.outcome is Outcome.PRESENT
    if "PatientSex" in header:
        assert (report.patient.sex, report.patient.birth_date) == ("", "")
    if "ReferringPhysicianName" in header:
        assert report.study.referring_physician.is_blank


def test_the_report_before_is_named_and_the_time_zone_kept(path: Path) -> None:
    before = Predecessor(
        sop_class_uid="1.2", sop_instance_uid="2.25.77", series_instance_uid="2.25.78"
    )
    built = build_report(
        radiograph(TimezoneOffsetFromUTC=b"-0330"),
        predicted(),
        now=NOW,
        identity=OutputIdentity(predecessor=before),
    )
    path.write_bytes(built.encode())
    report = read_report(path)
    assert report.replaces == "2.25.77"
    assert report.dated_at == NOW
    assert report.dated_at.isoformat().endswith("-03:30")


def test_a_comprehensive_report_says_the_same(path: Path) -> None:
    first = facts(path, predicted(other=Finding.PRESENT))
    built = build_report(radiograph(), predicted(other=Finding.PRESENT), now=NOW)
    path.write_bytes(as_comprehensive(built).encode())
    second = read_report(path)
    assert (second.pneumonia, second.patient) == (first.pneumonia, first.patient)
    assert second.sop_instance_uid != first.sop_instance_uid


def test_without_patient_nothing_is_left_but_findings_and_uids(path: Path) -> None:
    report = facts(path, predicted()).without_patient()
    text = repr(report)
    for secret in ("Müller", "0007", "19700102", "4711", "Thorax", "Referrer", "20260503"):
        assert secret not in text
    assert report.study.uid == "1.2.826.0.1.3680043.8.498.2"


@pytest.mark.parametrize("content", [b"", b"no DICOM", bytes(200)])
def test_a_damaged_file_is_no_report(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UnreadableOutputError):
        read_report(path)


def test_a_report_of_somebody_else_is_not_taken_for_one(path: Path) -> None:
    built = build_report(radiograph(), predicted(), now=NOW)
    built.dataset.ContentSequence = []
    path.write_bytes(built.encode())
    with pytest.raises(UnreadableOutputError):
        read_report(path)
