"""A prediction as a DICOM Structured Report: what Lobar sends back about an instance."""

from datetime import datetime
from typing import Final

from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from workers.output import Output, ReportError, as_comprehensive
from workers.prediction import Prediction
from workers.report_content import measurement_report
from workers.report_elements import carried, sequence_of
from workers.report_header import begin_result, referenced_instance, request_items
from workers.report_source import Source
from workers.report_uids import result_uids, tracking_uid

__all__ = ["Output", "ReportError", "as_comprehensive", "build_report"]

SERIES_NUMBER: Final = 9801
SERIES_DESCRIPTION: Final = "Lobar AI pneumonia report (unverified)"


def build_report(
    source: Dataset, prediction: Prediction, *, now: datetime, digest: str | None = None
) -> Output:
    """Build the Comprehensive 3D SR (PS3.3 A.35.13) of a prediction about a source instance.

    `source` is the header as received: read without pixels, best with its elements undecoded. Its
    patient and study elements reappear byte for byte, whatever they hold. `now` is aware and is
    written in the source's time zone where it names one. `digest` is the sha256 of the source's
    bytes if other bytes came under the same SOP Instance UID before. The same arguments give the
    same bytes. Raises ReportError if the source does not name its class, instance, series, study.
    """
    evidence = Source.read(source)
    model = prediction.model
    uids = result_uids(kind="sr", source_uid=evidence.sop_instance_uid, model=model, digest=digest)
    tracking = tracking_uid(source_uid=evidence.sop_instance_uid, model=model, digest=digest)
    with disable_value_validation():  # an accepted UID may begin a component with a zero
        report = begin_result(
            source,
            evidence,
            model,
            sop_class_uid=Comprehensive3DSRStorage,
            uids=uids,
            modality="SR",
            series_number=SERIES_NUMBER,
            series_description=SERIES_DESCRIPTION,
            now=now,
        )
        _add_document(report, source, evidence)
        report.update(measurement_report(evidence, prediction, tracking_uid=tracking))
    return Output(
        kind="sr",
        dataset=report,
        sop_class_uid=Comprehensive3DSRStorage,
        sop_instance_uid=uids.instance,
    )


def _add_document(report: Dataset, header: Dataset, evidence: Source) -> None:
    """Add SR Document Series and General (PS3.3 C.17.1, C.17.2)."""
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = []
    report.CompletionFlag = "COMPLETE"
    report.VerificationFlag = "UNVERIFIED"
    report.PreliminaryFlag = "PRELIMINARY"
    series = Dataset()
    series.SeriesInstanceUID = evidence.series_instance_uid
    series.ReferencedSOPSequence = [referenced_instance(evidence)]
    study = Dataset()
    study.StudyInstanceUID = evidence.study_instance_uid
    study.ReferencedSeriesSequence = [series]
    report.CurrentRequestedProcedureEvidenceSequence = [study]
    requests = carried(header, "ReferencedRequestSequence")
    if requests is None and (attributes := request_items(header, evidence)):
        requests = sequence_of("ReferencedRequestSequence", attributes)
    if requests is not None:
        report[requests.tag] = requests
