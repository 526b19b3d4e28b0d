"""Build the overlay of a conclusion: a Secondary Capture, whose text every viewer shows."""

from datetime import datetime
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pydicom.valuerep import format_number_as_ds

from service.domain.routing import OutputKind
from workers.prediction import Conclusion
from workers.reporting.header import (
    ANALYSED_BODY_PART,
    Kind,
    add_request_attributes,
    build_common_modules,
    code_item,
    referenced_instance,
)
from workers.reporting.output import Output
from workers.reporting.overlay.drawing import draw_overlay
from workers.reporting.picture import Pixels, require_two_dimensions
from workers.reporting.quiet_pydicom import NO_VALIDATION
from workers.reporting.source import Pair, Source
from workers.reporting.uids import FIRST, OutputIdentity
from workers.reporting.wording import CAUTION

KIND: Final = Kind(
    output=OutputKind.OVERLAY,
    sop_class_uid=SecondaryCaptureImageStorage,
    modality="OT",
    series_number=9802,
    series_description="Lobar AI pneumonia overlay (unverified)",
)


def build_overlay(
    source: Dataset,
    pixels: Pixels | None,
    conclusion: Conclusion,
    *,
    now: datetime,
    identity: OutputIdentity = FIRST,
) -> Output:
    """Build the Secondary Capture (PS3.3 A.8.1) that shows a conclusion above its radiograph.

    Args:
        source: The header as received, as `build_report` takes it.
        pixels: The source as displayed, rows x columns, 0 black to 1 white, MONOCHROME1 already
            inverted; None if the pixels could not be read, so that the overlay is text alone.
        conclusion: What was concluded about the source.
        now: When the overlay is dated, with a time zone.
        identity: Which overlay about the source this is.

    Raises:
        ReportError: as `build_report` does, and if `pixels` are not rows x columns.
    """
    require_two_dimensions(pixels)
    evidence = Source.read(source)
    with NO_VALIDATION:  # an accepted UID may begin a component with a zero
        overlay = build_common_modules(
            KIND, source, evidence, conclusion, now=now, identity=identity
        )
        add_request_attributes(overlay, source)
        _add_image(overlay, evidence)
        _add_pixels(overlay, evidence, pixels, conclusion)
    return Output.of(KIND.output, overlay)


def _add_image(overlay: Dataset, source: Source) -> None:
    """Add General Image, SC Equipment and SC Image (PS3.3 C.7.6.1, C.8.6.1, C.8.6.2)."""
    overlay.ImageType = ["DERIVED", "SECONDARY"]
    overlay.ConversionType = "WSD"
    overlay.DateOfSecondaryCapture = overlay.ContentDate
    overlay.TimeOfSecondaryCapture = overlay.ContentTime
    overlay.BodyPartExamined = source.body_part or ANALYSED_BODY_PART
    overlay.PatientOrientation = list(source.patient_orientation or ())
    overlay.DerivationDescription = f"{CAUTION} Reduced in size, with the result above it."
    origin = referenced_instance(source)
    origin.PurposeOfReferenceCodeSequence = [
        code_item("121322", "DCM", "Source of image processing operation")  # CID 7202
    ]
    overlay.SourceImageSequence = [origin]
    if source.burned_in_annotation in {"YES", "NO"}:
        # as for the source's own pixels: the strip adds nothing about the patient
        overlay.BurnedInAnnotation = source.burned_in_annotation
    if source.lossy:
        overlay.LossyImageCompression = "01"


def _add_pixels(
    overlay: Dataset, source: Source, pixels: Pixels | None, conclusion: Conclusion
) -> None:
    """Add Image Pixel (PS3.3 C.7.6.3) and the pixel spacing after the reduction in size."""
    image, shown = draw_overlay(pixels, conclusion)
    overlay.SamplesPerPixel = 3
    overlay.PhotometricInterpretation = "RGB"
    overlay.PlanarConfiguration = 0
    overlay.Rows, overlay.Columns = image.height, image.width
    overlay.BitsAllocated = overlay.BitsStored = 8
    overlay.HighBit = 7
    overlay.PixelRepresentation = 0
    data = image.tobytes()
    overlay.PixelData = data + bytes(len(data) % 2)
    overlay["PixelData"].VR = "OB"
    if pixels is None or shown is None:
        return
    taken = (source.rows or pixels.shape[0], source.columns or pixels.shape[1])
    for keyword, spacing in (
        ("PixelSpacing", source.pixel_spacing),
        ("ImagerPixelSpacing", source.imager_pixel_spacing),
    ):
        if spacing is not None:
            setattr(overlay, keyword, _scaled(spacing, taken, shown))


def _scaled(spacing: Pair, taken: tuple[int, int], shown: tuple[int, int]) -> list[str]:
    """Scale a spacing from an image of `taken` rows, columns to one of `shown`, as DS values."""
    return [
        format_number_as_ds(millimetres * before / after)
        for millimetres, before, after in zip(spacing, taken, shown, strict=True)
    ]
