"""The storage SOP classes and transfer syntaxes that the listener accepts and the sender uses."""

from typing import Final

import pydicom.uid
from pydicom import config
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    KeyObjectSelectionDocumentStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from service.domain.routing import OutputKind

VERIFICATION: Final = "1.2.840.10008.1.1"  # PS3.4 annex A

IMAGE_SOP_CLASSES: Final[tuple[str, ...]] = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

DOCUMENT_SOP_CLASSES: Final[tuple[str, ...]] = (
    # a PACS that routes whole studies also sends their reports and the like, Lobar's included
    BasicTextSRStorage,
    EnhancedSRStorage,
    ComprehensiveSRStorage,
    Comprehensive3DSRStorage,
    KeyObjectSelectionDocumentStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    EncapsulatedPDFStorage,
)

RESULT_SOP_CLASSES: Final[dict[str, OutputKind]] = {
    Comprehensive3DSRStorage: OutputKind.SR,
    ComprehensiveSRStorage: OutputKind.SR,
    SecondaryCaptureImageStorage: OutputKind.OVERLAY,
    GrayscaleSoftcopyPresentationStateStorage: OutputKind.GSPS,
    EncapsulatedPDFStorage: OutputKind.PDF,
}
"""The SOP classes of outputs, each with its kind of output."""

RESULT_SYNTAXES: Final[tuple[str, ...]] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)

DEFAULT_SOP_CLASSES: Final[tuple[str, ...]] = IMAGE_SOP_CLASSES + DOCUMENT_SOP_CLASSES

TRANSFER_SYNTAXES: Final[tuple[str, ...]] = (
    # in order of preference: the cheapest to read first
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    HTJ2K,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    RLELossless,
    DeflatedExplicitVRLittleEndian,
)


UNCOMPRESSED: Final[tuple[str, ...]] = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
)


def transfer_syntaxes(sop_class: str) -> tuple[str, ...]:
    """Return the transfer syntaxes accepted for a storage class; documents are never compressed."""
    return UNCOMPRESSED if sop_class in DOCUMENT_SOP_CLASSES else TRANSFER_SYNTAXES


def sop_class_uid(name_or_uid: str) -> str:
    """Return the UID of a storage class, given the UID or its keyword.

    Raises:
        ValueError: neither the UID nor the keyword of a storage class.
    """
    named = getattr(pydicom.uid, name_or_uid, name_or_uid) if name_or_uid.isidentifier() else None
    # no warning of pydicom's: the error below reports the same
    uid = UID(named if isinstance(named, str) else name_or_uid, config.IGNORE)
    if uid.type != "SOP Class" or "Storage" not in uid.name:
        raise ValueError(f"{name_or_uid!r} is not the UID or keyword of a storage SOP class")
    return str(uid)
