"""A prediction as a DICOM Structured Report: what Lobar sends back about an instance."""

from datetime import datetime
from typing import Final

from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from service.domain.routing import OutputKind
from workers.prediction import Conclusion, NotAnalysed
from workers.reporting.codes import our_coding_scheme
from workers.reporting.header import Kind, begin_result, referenced_instance, request_items
from workers.reporting.output import Output, ReportError, as_comprehensive
from workers.reporting.raw_elements import carried, sequence_of
from workers.reporting.source import Source
from workers.reporting.sr.measurement_report import measurement_report
from workers.reporting.sr.not_analysed_report import refusal_report
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
    source: Dataset, conclusion: Conclusion, *, now: datetime, identity: OutputIdentity = FIRST
) -> Output:
    """Build the Comprehensive 3D SR (PS3.3 A.35.13) of what was concluded about a source instance.

    `source` is the header as received: read without pixels, best with its elements undecoded. Its
    patient and study elements reappear byte for byte, whatever they hold. `now` is aware and is
    written in the source's time zone where it names one. The same arguments give the same bytes.
    Raises ReportError if the source does not name its class, instance, series, study.
    """
    evidence = Source.read(source)
    finding = tracking_uid(
        source_uid=evidence.sop_instance_uid, conclusion=conclusion, identity=identity
    )
    with disable_value_validation():  # an accepted UID may begin a component with a zero
        report = begin_result(KIND, source, evidence, conclusion, now=now, identity=identity)
        _add_document(report, source, evidence)
        if identity.predecessor is not None:
            report.PredecessorDocumentsSequence = [_predecessor(evidence, identity.predecessor)]
        if isinstance(conclusion, NotAnalysed):
            report.CodingSchemeIdentificationSequence = [our_coding_scheme()]
            report.update(refusal_report(evidence, conclusion))
        else:
            report.update(measurement_report(evidence, conclusion, tracking_uid=finding))
    return Output.of(KIND.output, report)


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
    requests = carried(header, "ReferencedRequestSequence")
    if requests is None and (attributes := request_items(header, evidence)):
        requests = sequence_of("ReferencedRequestSequence", attributes)
    if requests is not None:
        report[requests.tag] = requests


def _predecessor(evidence: Source, report: Predecessor) -> Dataset:
    """Refer to the report whose place this one takes (PS3.3 C.17.2); it is of the same study."""
    item = Dataset()
    item.ReferencedSOPClassUID = report.sop_class_uid
    item.ReferencedSOPInstanceUID = report.sop_instance_uid
    return _in_study(evidence, report.series_instance_uid, item)


def _in_study(evidence: Source, series_instance_uid: str, instance: Dataset) -> Dataset:
    """Give a reference with the series and study that it lies in (PS3.3 table C.17-3)."""
    series = Dataset()
    series.SeriesInstanceUID = series_instance_uid
    series.ReferencedSOPSequence = [instance]
    study = Dataset()
    study.StudyInstanceUID = evidence.study_instance_uid
    study.ReferencedSeriesSequence = [series]
    return study
