"""The storage SOP classes and transfer syntaxes that the listener accepts and the sender uses."""

from typing import Final

from service.domain.routing import OutputKind

# pydicom has these names too, but takes a third of a second to import: each process reads the
# settings, and few need pydicom
BasicTextSRStorage: Final = "1.2.840.10008.5.1.4.1.1.88.11"
Comprehensive3DSRStorage: Final = "1.2.840.10008.5.1.4.1.1.88.34"
ComprehensiveSRStorage: Final = "1.2.840.10008.5.1.4.1.1.88.33"
ComputedRadiographyImageStorage: Final = "1.2.840.10008.5.1.4.1.1.1"
DigitalXRayImageStorageForPresentation: Final = "1.2.840.10008.5.1.4.1.1.1.1"
DigitalXRayImageStorageForProcessing: Final = "1.2.840.10008.5.1.4.1.1.1.1.1"
EncapsulatedPDFStorage: Final = "1.2.840.10008.5.1.4.1.1.104.1"
EnhancedSRStorage: Final = "1.2.840.10008.5.1.4.1.1.88.22"
GrayscaleSoftcopyPresentationStateStorage: Final = "1.2.840.10008.5.1.4.1.1.11.1"
KeyObjectSelectionDocumentStorage: Final = "1.2.840.10008.5.1.4.1.1.88.59"
SecondaryCaptureImageStorage: Final = "1.2.840.10008.5.1.4.1.1.7"

HTJ2K: Final = "1.2.840.10008.1.2.4.203"
JPEG2000: Final = "1.2.840.10008.1.2.4.91"
DeflatedExplicitVRLittleEndian: Final = "1.2.840.10008.1.2.1.99"
ExplicitVRLittleEndian: Final = "1.2.840.10008.1.2.1"
HTJ2KLossless: Final = "1.2.840.10008.1.2.4.201"
HTJ2KLosslessRPCL: Final = "1.2.840.10008.1.2.4.202"
ImplicitVRLittleEndian: Final = "1.2.840.10008.1.2"
JPEG2000Lossless: Final = "1.2.840.10008.1.2.4.90"
JPEGBaseline8Bit: Final = "1.2.840.10008.1.2.4.50"
JPEGExtended12Bit: Final = "1.2.840.10008.1.2.4.51"
JPEGLossless: Final = "1.2.840.10008.1.2.4.57"
JPEGLosslessSV1: Final = "1.2.840.10008.1.2.4.70"
JPEGLSLossless: Final = "1.2.840.10008.1.2.4.80"
JPEGLSNearLossless: Final = "1.2.840.10008.1.2.4.81"
RLELossless: Final = "1.2.840.10008.1.2.5"

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

_DEFAULTS: Final[dict[str, str]] = {
    **{uid: uid for uid in DEFAULT_SOP_CLASSES},
    "BasicTextSRStorage": BasicTextSRStorage,
    "Comprehensive3DSRStorage": Comprehensive3DSRStorage,
    "ComprehensiveSRStorage": ComprehensiveSRStorage,
    "ComputedRadiographyImageStorage": ComputedRadiographyImageStorage,
    "DigitalXRayImageStorageForPresentation": DigitalXRayImageStorageForPresentation,
    "DigitalXRayImageStorageForProcessing": DigitalXRayImageStorageForProcessing,
    "EncapsulatedPDFStorage": EncapsulatedPDFStorage,
    "EnhancedSRStorage": EnhancedSRStorage,
    "GrayscaleSoftcopyPresentationStateStorage": GrayscaleSoftcopyPresentationStateStorage,
    "KeyObjectSelectionDocumentStorage": KeyObjectSelectionDocumentStorage,
    "SecondaryCaptureImageStorage": SecondaryCaptureImageStorage,
}
"""The classes that a configuration is likely to name, by keyword and by UID."""

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
    uid = _DEFAULTS.get(name_or_uid.strip())
    return uid if uid is not None else _any_sop_class_uid(name_or_uid)


def _any_sop_class_uid(name_or_uid: str) -> str:
    """Do so for a storage class that pydicom knows."""
    import pydicom.uid  # noqa: PLC0415 -- see above
    from pydicom import config  # noqa: PLC0415

    named = getattr(pydicom.uid, name_or_uid, name_or_uid) if name_or_uid.isidentifier() else None
    # no warning of pydicom's: the error below reports the same
    uid = pydicom.uid.UID(named if isinstance(named, str) else name_or_uid, config.IGNORE)
    if uid.type != "SOP Class" or "Storage" not in uid.name:
        raise ValueError(f"{name_or_uid!r} is not the UID or keyword of a storage SOP class")
    return str(uid)
