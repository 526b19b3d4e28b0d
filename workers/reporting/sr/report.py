"""Build the DICOM Structured Report of a conclusion."""

from datetime import datetime
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from service.domain.routing import OutputKind
from workers.prediction import Conclusion, NotAnalysed
from workers.reporting.codes import lobar_coding_scheme
from workers.reporting.header import Kind, build_common_modules, referenced_instance, request_items
from workers.reporting.output import Output, ReportError, as_comprehensive
from workers.reporting.quiet_pydicom import NO_VALIDATION
from workers.reporting.raw_elements import build_sequence, copy_element
from workers.reporting.source import Source
from workers.reporting.sr.measurement_report import build_measurement_report
from workers.reporting.sr.not_analysed_report import build_not_analysed_report
from workers.reporting.sr.template import build_from_template
from workers.reporting.uids import FIRST, OutputIdentity, Predecessor, tracking_uid

__all__ = ["Output", "ReportError", "as_comprehensive", "build_report"]

KIND: Final = Kind(
    output=OutputKind.SR,
    sop_class_uid=Comprehensive3DSRStorage,
    modality="SR",
    series_number=9801,
    series_description="Lobar AI pneumonia report (unverified)",
)


def build_report(
    source: Dataset,
    conclusion: Conclusion,
    *,
    now: datetime,
    identity: OutputIdentity = FIRST,
    from_template: bool = True,
) -> Output:
    """Build the Comprehensive 3D SR (PS3.3 A.35.13) of a conclusion about a source instance.

    The same arguments have the same bytes as their result.

    Args:
        source: The header as received, without pixels, preferably with its elements undecoded. Its
            patient and study elements are copied byte for byte, valid or not.
        conclusion: What was concluded about the source.
        now: When the report is dated, with a time zone. It is written in the source's time zone
            where the source names one.
        identity: Which report about the source this is.
        from_template: Whether the content tree is filled into a template, which is faster; its
            bytes are the same.

    Raises:
        ReportError: the source lacks a valid class, instance, series or study UID.
    """
    evidence = Source.read(source)
    finding = tracking_uid(
        source_uid=evidence.sop_instance_uid, conclusion=conclusion, identity=identity
    )
    with NO_VALIDATION:  # an accepted UID may begin a component with a zero
        report = build_common_modules(
            KIND, source, evidence, conclusion, now=now, identity=identity
        )
        _add_document(report, source, evidence)
        if identity.predecessor is not None:
            report.PredecessorDocumentsSequence = [_predecessor(evidence, identity.predecessor)]
        if _has_own_codes(conclusion):
            report.CodingSchemeIdentificationSequence = [lobar_coding_scheme()]
        if isinstance(conclusion, NotAnalysed):
            report.update(build_not_analysed_report(evidence, conclusion))
        elif from_template:
            for element in build_from_template(evidence, conclusion, tracking_uid=finding):
                report[element.tag] = element
        else:
            report.update(build_measurement_report(evidence, conclusion, tracking_uid=finding))
    return Output.of(KIND.output, report)


def _has_own_codes(conclusion: Conclusion) -> bool:
    return isinstance(conclusion, NotAnalysed) or conclusion.other is not None


def _add_document(report: Dataset, header: Dataset, evidence: Source) -> None:
    """Add SR Document Series and General (PS3.3 C.17.1, C.17.2)."""
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = []
    report.CompletionFlag = "COMPLETE"
    report.VerificationFlag = "UNVERIFIED"
    report.PreliminaryFlag = "PRELIMINARY"
    report.CurrentRequestedProcedureEvidenceSequence = [
        _in_study(evidence, evidence.series_instance_uid, referenced_instance(evidence))
    ]
    requests = copy_element(header, "ReferencedRequestSequence")
    if requests is None and (attributes := request_items(header, evidence)):
        requests = build_sequence("ReferencedRequestSequence", attributes)
    if requests is not None:
        report[requests.tag] = requests


def _predecessor(evidence: Source, report: Predecessor) -> Dataset:
    """Reference the report that this one replaces (PS3.3 C.17.2); it is of the same study."""
    item = Dataset()
    item.ReferencedSOPClassUID = report.sop_class_uid
    item.ReferencedSOPInstanceUID = report.sop_instance_uid
    return _in_study(evidence, report.series_instance_uid, item)


def _in_study(evidence: Source, series_instance_uid: str, instance: Dataset) -> Dataset:
    """Build a reference to an instance within its series and study (PS3.3 table C.17-3)."""
    series = Dataset()
    series.SeriesInstanceUID = series_instance_uid
    series.ReferencedSOPSequence = [instance]
    study = Dataset()
    study.StudyInstanceUID = evidence.study_instance_uid
    study.ReferencedSeriesSequence = [series]
    return study
