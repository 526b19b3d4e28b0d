"""A conclusion as a page to read and print: an Encapsulated PDF."""

import dataclasses
from datetime import datetime
from typing import Final

from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from service.job import OutputKind
from workers.output import Output, ReportError
from workers.overlay_picture import Pixels, radiograph_with_region
from workers.pdf_page import TITLE, draw_page
from workers.prediction import Conclusion, Prediction
from workers.report_elements import carried
from workers.report_header import begin_result, code_item, referenced_instance
from workers.report_source import Source
from workers.report_uids import FIRST, Edition, result_uids

SERIES_NUMBER: Final = 9804
SERIES_DESCRIPTION: Final = "Lobar AI pneumonia page (unverified)"


def build_pdf(
    source: Dataset,
    pixels: Pixels | None,
    conclusion: Conclusion,
    *,
    now: datetime,
    edition: Edition = FIRST,
) -> Output:
    """Build the Encapsulated PDF (PS3.3 A.45.1) that tells a conclusion on one page.

    The arguments are those of `workers.overlay.build_overlay`: `pixels` is rows x columns of the
    source as displayed, or None. The same arguments give the same bytes.

    Raises:
        ReportError: as `build_overlay` does.
    """
    if pixels is not None and (pixels.ndim != 2 or pixels.size == 0):  # noqa: PLR2004 -- rows and columns
        raise ReportError(f"the pixels have the shape {pixels.shape}, not rows and columns")
    evidence = Source.read(source)
    uids = result_uids(
        kind=OutputKind.PDF,
        source_uid=evidence.sop_instance_uid,
        conclusion=conclusion,
        edition=edition,
    )
    with disable_value_validation():  # an accepted UID may begin a component with a zero
        document = begin_result(
            source,
            evidence,
            conclusion.model,
            sop_class_uid=EncapsulatedPDFStorage,
            uids=uids,
            modality="DOC",
            series_number=SERIES_NUMBER,
            series_description=SERIES_DESCRIPTION,
            now=now,
        )
        requests = carried(source, "RequestAttributesSequence")
        if requests is not None:
            document[requests.tag] = requests
        _add_document(document, evidence, shows_source=pixels is not None)
        _add_page(document, evidence, pixels, conclusion)
    return Output(
        kind=OutputKind.PDF,
        dataset=document,
        sop_class_uid=EncapsulatedPDFStorage,
        sop_instance_uid=uids.instance,
    )


def _add_document(document: Dataset, source: Source, *, shows_source: bool) -> None:
    """Add SC Equipment and Encapsulated Document (PS3.3 C.8.6.1, C.24.2), but for the page."""
    document.ConversionType = "WSD"
    document.AcquisitionDateTime = ""  # Type 2: of the document there was no acquisition
    # the page names nobody, so what the radiograph says of itself is true of the page
    identifies = shows_source and source.burned_in_annotation == "YES"
    document.BurnedInAnnotation = "YES" if identifies else "NO"
    document.SourceInstanceSequence = [referenced_instance(source)]
    document.DocumentTitle = TITLE
    document.ConceptNameCodeSequence = [
        code_item("18748-4", "LN", "Diagnostic Imaging Report")  # CID 7000
    ]
    document.VerificationFlag = "UNVERIFIED"
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"


def _add_page(
    document: Dataset, source: Source, pixels: Pixels | None, conclusion: Conclusion
) -> None:
    picture = None if pixels is None else radiograph_with_region(pixels, _without(conclusion))
    page = draw_page(picture, conclusion, source_uid=source.sop_instance_uid)
    document.EncapsulatedDocument = page + bytes(len(page) % 2)
    document["EncapsulatedDocument"].VR = "OB"
    document.EncapsulatedDocumentLength = len(page)  # without the padding


def _without(conclusion: Conclusion) -> Conclusion:
    """Leave the region to the page, which draws it in lines: they stay sharp on any paper."""
    if isinstance(conclusion, Prediction):
        return dataclasses.replace(conclusion, region=None)
    return conclusion
