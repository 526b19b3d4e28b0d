"""What the listener takes: the storage classes and transfer syntaxes, as tables."""

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
    # what a PACS that routes whole studies sends along: reports, ours and others', and their kin
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
"""What is sent, by the kind of output that it is."""

RESULT_SYNTAXES: Final[tuple[str, ...]] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)

DEFAULT_SOP_CLASSES: Final[tuple[str, ...]] = IMAGE_SOP_CLASSES + DOCUMENT_SOP_CLASSES

TRANSFER_SYNTAXES: Final[tuple[str, ...]] = (
    # the order is the listener's preference: what costs least to read comes first
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
    """Give what the listener takes of a storage class: what has no pixels is not compressed."""
    return UNCOMPRESSED if sop_class in DOCUMENT_SOP_CLASSES else TRANSFER_SYNTAXES


def sop_class_uid(name_or_uid: str) -> str:
    """Turn a storage class's UID or its keyword into the UID.

    Raises:
        ValueError: neither a UID of a storage class nor the keyword of one.
    """
    named = getattr(pydicom.uid, name_or_uid, name_or_uid) if name_or_uid.isidentifier() else None
    # pydicom need not warn of what is said below
    uid = UID(named if isinstance(named, str) else name_or_uid, config.IGNORE)
    if uid.type != "SOP Class" or "Storage" not in uid.name:
        raise ValueError(f"{name_or_uid!r} is not the UID or keyword of a storage SOP class")
    return str(uid)
