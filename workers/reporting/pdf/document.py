"""Build the Encapsulated PDF of a conclusion: one page to read and print."""

from datetime import datetime
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from service.domain.routing import OutputKind
from workers.prediction import Conclusion
from workers.reporting.codes import DIAGNOSTIC_IMAGING_REPORT
from workers.reporting.header import (
    Kind,
    add_request_attributes,
    build_common_modules,
    code_item,
    referenced_instance,
)
from workers.reporting.output import Output
from workers.reporting.pdf.page import TITLE, draw_page
from workers.reporting.picture import Pixels, grey_image, require_two_dimensions
from workers.reporting.quiet_pydicom import NO_VALIDATION
from workers.reporting.source import Source
from workers.reporting.uids import FIRST, OutputIdentity

KIND: Final = Kind(
    output=OutputKind.PDF,
    sop_class_uid=EncapsulatedPDFStorage,
    modality="DOC",
    series_number=9804,
    series_description="Lobar AI pneumonia page (unverified)",
)


def build_pdf(
    source: Dataset,
    pixels: Pixels | None,
    conclusion: Conclusion,
    *,
    now: datetime,
    identity: OutputIdentity = FIRST,
) -> Output:
    """Build the Encapsulated PDF (PS3.3 A.45.1) that shows a conclusion on one page.

    The same arguments have the same bytes as their result.

    Args:
        source: The header as received, as `build_report` takes it.
        pixels: The source as displayed, rows x columns, as `build_overlay` takes it, or None.
        conclusion: What was concluded about the source.
        now: When the document is dated, with a time zone.
        identity: Which document about the source this is.

    Raises:
        ReportError: as `build_overlay` does.
    """
    require_two_dimensions(pixels)
    evidence = Source.read(source)
    with NO_VALIDATION:  # an accepted UID may begin a component with a zero
        document = build_common_modules(
            KIND, source, evidence, conclusion, now=now, identity=identity
        )
        add_request_attributes(document, source)
        _add_document(document, evidence, shows_source=pixels is not None)
        _add_page(document, evidence, pixels, conclusion)
    return Output.of(KIND.output, document)


def _add_document(document: Dataset, source: Source, *, shows_source: bool) -> None:
    """Add SC Equipment and Encapsulated Document (PS3.3 C.8.6.1, C.24.2), but for the page."""
    document.ConversionType = "WSD"
    document.AcquisitionDateTime = ""  # Type 2: the document was not acquired
    # the page names no patient, so it identifies one only if the radiograph does
    identifies = shows_source and source.burned_in_annotation == "YES"
    document.BurnedInAnnotation = "YES" if identifies else "NO"
    document.SourceInstanceSequence = [referenced_instance(source)]
    document.DocumentTitle = TITLE
    title = DIAGNOSTIC_IMAGING_REPORT
    document.ConceptNameCodeSequence = [
        code_item(title.value, title.scheme_designator, title.meaning)
    ]
    document.VerificationFlag = "UNVERIFIED"
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"


def _add_page(
    document: Dataset, source: Source, pixels: Pixels | None, conclusion: Conclusion
) -> None:
    # without the region: the page draws it as vector lines, which stay sharp in print
    picture = None if pixels is None else grey_image(pixels)
    page = draw_page(picture, conclusion, source_uid=source.sop_instance_uid)
    document.EncapsulatedDocument = page + bytes(len(page) % 2)
    document["EncapsulatedDocument"].VR = "OB"
    document.EncapsulatedDocumentLength = len(page)  # without the padding
