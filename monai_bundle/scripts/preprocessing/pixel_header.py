"""The elements of a DICOM header that describe its pixels, checked before any is decoded."""

from dataclasses import dataclass
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from scripts.preprocessing.fragments import is_encapsulated
from scripts.preprocessing.raster import check_size
from scripts.refusal import RadiographRefusedError, RefusalCode

GREYSCALE: Final = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})
COLOUR: Final = frozenset(
    {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"}
)
_SAMPLES: Final = dict.fromkeys(GREYSCALE, 1) | dict.fromkeys(COLOUR, 3)
# as they are compared: writers vary capitals, spaces and underscores
_NAMES: Final = {"".join(filter(str.isalnum, name)): name for name in _SAMPLES}
_FLOAT_PIXELS: Final = ("FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelHeader:
    """The Image Pixel module (PS3.3 C.7.6.3) of one single-frame image that can be decoded."""

    transfer_syntax: UID
    photometric_interpretation: str
    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int  # 8 or 16
    bits_stored: int
    high_bit: int
    pixel_representation: int  # 1 when signed
    planar_configuration: int
    value_representation: str  # of Pixel Data: OB or OW; big-endian bytes depend on it


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Return an element's single integer, or None if it is absent, empty or not an integer."""
    try:
        return int(dataset[keyword].value)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def decimal(dataset: Dataset, keyword: str) -> float | None:
    """Return an element's first number, or None if it is absent, empty or not a number."""
    try:
        value = dataset[keyword].value
        return float(value[0] if isinstance(value, list | pydicom.multival.MultiValue) else value)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        return None


def read_pixel_header(dataset: Dataset) -> PixelHeader:
    """Read and check the pixel header.

    Raises:
        RadiographRefusedError: the header describes an image that is not supported.
    """
    _require_one_frame(dataset)
    rows, columns = integer(dataset, "Rows") or 0, integer(dataset, "Columns") or 0
    check_size(rows, columns)
    named = str(dataset.get("PhotometricInterpretation", "")).upper()
    photometric = _NAMES.get("".join(filter(str.isalnum, named)), "")
    samples = integer(dataset, "SamplesPerPixel") or 1
    allocated = integer(dataset, "BitsAllocated") or 0
    stored = integer(dataset, "BitsStored") or allocated
    if is_encapsulated(dataset.PixelData) and 0 < max(allocated, stored) <= 16:  # noqa: PLR2004 -- bits
        allocated = 8 if max(allocated, stored) <= 8 else 16  # noqa: PLR2004 -- of the decoded words
    if allocated not in {8, 16} or not 1 < stored <= allocated:
        raise RadiographRefusedError(RefusalCode.PIXEL_FORMAT, f"{stored} of {allocated} bits")
    if _SAMPLES.get(photometric) != samples:
        raise RadiographRefusedError(RefusalCode.PIXEL_FORMAT, "photometric interpretation")
    high_bit = integer(dataset, "HighBit")
    if high_bit is None or not stored - 1 <= high_bit < allocated:
        high_bit = stored - 1
    return PixelHeader(
        transfer_syntax=_transfer_syntax(dataset),
        photometric_interpretation=photometric,
        rows=rows,
        columns=columns,
        samples_per_pixel=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit,
        pixel_representation=int(integer(dataset, "PixelRepresentation") == 1),
        planar_configuration=int(integer(dataset, "PlanarConfiguration") == 1),
        value_representation=dataset["PixelData"].VR,
    )


def _require_one_frame(dataset: Dataset) -> None:
    if any(keyword in dataset for keyword in _FLOAT_PIXELS):
        raise RadiographRefusedError(RefusalCode.PIXEL_FORMAT, "floating-point pixels")
    if not dataset.get("PixelData"):
        raise RadiographRefusedError(RefusalCode.NO_PIXELS)
    frames = integer(dataset, "NumberOfFrames")
    if frames is not None and frames > 1:
        raise RadiographRefusedError(RefusalCode.MULTI_FRAME, f"{frames} frames")


def _transfer_syntax(dataset: Dataset) -> UID:
    """Return the stated transfer syntax, or the one that the bytes were parsed in."""
    stated = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    if stated:
        return UID(str(stated))
    is_implicit, is_little_endian = dataset.original_encoding
    if is_implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian
