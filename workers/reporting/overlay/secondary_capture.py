"""A prediction as a picture: the one object that shows the answer in words in every viewer."""

from datetime import datetime
from typing import Final

import numpy as np
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pydicom.valuerep import format_number_as_ds

from service.domain.routing import OutputKind
from workers.prediction import Conclusion
from workers.reporting.header import (
    ANALYSED_BODY_PART,
    Kind,
    add_request_attributes,
    begin_result,
    code_item,
    referenced_instance,
)
from workers.reporting.output import Output
from workers.reporting.overlay.drawing import picture
from workers.reporting.picture import Pixels, require_picture
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

    `pixels` is rows x columns of the source as displayed, 0 black to 1 white, MONOCHROME1 already
    inverted; None where they could not be read: then the strip stands alone. The rest is as in
    `build_report`. Raises ReportError as it does, and if `pixels` is no picture.
    """
    require_picture(pixels)
    evidence = Source.read(source)
    with disable_value_validation():  # an accepted UID may begin a component with a zero
        overlay = begin_result(KIND, source, evidence, conclusion, now=now, identity=identity)
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
        # what the source says of its own pixels; the strip adds nothing about the patient
        overlay.BurnedInAnnotation = source.burned_in_annotation
    if source.lossy:
        overlay.LossyImageCompression = "01"


def _add_pixels(
    overlay: Dataset, source: Source, pixels: Pixels | None, conclusion: Conclusion
) -> None:
    """Add Image Pixel (PS3.3 C.7.6.3) and how large a pixel is now."""
    image, shown = picture(pixels, conclusion)
    overlay.SamplesPerPixel = 3
    overlay.PhotometricInterpretation = "RGB"
    overlay.PlanarConfiguration = 0
    overlay.Rows, overlay.Columns = image.height, image.width
    overlay.BitsAllocated = overlay.BitsStored = 8
    overlay.HighBit = 7
    overlay.PixelRepresentation = 0
    data = np.asarray(image).tobytes()
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
    """Give the spacing of `shown` pixels where `taken` pixels had this one, as DS values."""
    return [
        format_number_as_ds(millimetres * before / after)
        for millimetres, before, after in zip(spacing, taken, shown, strict=True)
    ]
