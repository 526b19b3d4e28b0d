"""What the listener takes: the storage classes and transfer syntaxes, as tables."""

from typing import Final

import pydicom.uid
from pydicom import config
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
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
    RLELossless,
    SecondaryCaptureImageStorage,
)

VERIFICATION: Final = "1.2.840.10008.1.1"  # PS3.4 annex A

DEFAULT_SOP_CLASSES: Final[tuple[str, ...]] = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

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
