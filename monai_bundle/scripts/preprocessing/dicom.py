"""Decode a DICOM radiograph to its luminance, for every transfer syntax and greyscale pipeline."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from scripts.preprocessing.data_set import read_data_set
from scripts.preprocessing.decode import decode
from scripts.preprocessing.greyscale import LUMA, Tones, luminance_table
from scripts.preprocessing.pixel_header import GREYSCALE, PixelHeader, read_pixel_header
from scripts.preprocessing.quiet_decoders import suppress_warnings
from scripts.preprocessing.shutter import read_shutter
from scripts.refusal import RadiographRefusedError, RefusalCode

_PREAMBLE_LENGTH: Final = 128
_FIRST_GROUPS: Final = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # little and big endian
_SAMPLING_STEP: Final = 7  # pixels; odd, so that it meets both halves of a checkerboard

# Only these are parsed: patient data and the rest of the header are not looked at.
_TAGS: Final[list[int]] = [
    int(Tag(keyword))
    for keyword in (
        *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
        *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
        *("PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleIntercept", "RescaleSlope"),
        *("ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth"),
        *("VOILUTFunction", "PresentationLUTShape", "PresentationLUTSequence", "PixelData"),
        *("ShutterShape", "ShutterOverlayGroup"),
        *(f"Shutter{side}VerticalEdge" for side in ("Left", "Right")),
        *(f"Shutter{side}HorizontalEdge" for side in ("Upper", "Lower")),
        *("CenterOfCircularShutter", "RadiusOfCircularShutter", "VerticesOfThePolygonalShutter"),
        *("FloatPixelData", "DoubleFloatPixelData"),
        *(f"{c}PaletteColorLookupTableDescriptor" for c in ("Red", "Green", "Blue")),
        *(f"{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")),
        *(f"Segmented{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")),
    )
] + [Tag(group, each) for group in range(0x6000, 0x6020, 2) for each in (0x10, 0x11, 0x3000)]


def read_dicom(content: bytes) -> NDArray[np.float32]:
    """Decode the single frame of a DICOM object to its luminance; see `read_dicom_with_tones`."""
    return read_dicom_with_tones(content)[0]


def read_dicom_with_tones(content: bytes) -> tuple[NDArray[np.float32], Tones | None]:
    """Decode the single frame of a DICOM object to its luminance, HxW in [0, 1], bone bright.

    Returns:
        The luminance, and the transforms that made it; None for a palette or colours.

    Raises:
        RadiographRefusedError: the bytes are not such an object, or are damaged. No other
            exception is raised for the content.
    """
    has_preamble = content[_PREAMBLE_LENGTH : _PREAMBLE_LENGTH + 4] == b"DICM"
    if not has_preamble and not content.startswith(_FIRST_GROUPS):
        raise RadiographRefusedError(RefusalCode.PIXEL_FORMAT, "neither DICOM, PNG nor JPEG")
    try:
        with suppress_warnings():
            return _luminance(content)
    except (RadiographRefusedError, MemoryError):
        raise
    except Exception as error:  # parsers and decoders raise anything on damaged bytes
        detail = type(error).__name__
        raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, detail) from error


def _luminance(content: bytes) -> tuple[NDArray[np.float32], Tones | None]:
    dataset = read_data_set(content, _TAGS)
    header = read_pixel_header(dataset)
    header, values, photometric = decode(header, dataset.PixelData)
    if header.photometric_interpretation in GREYSCALE:
        return _greyscale(header, dataset, values)
    if photometric != "RGB":
        values = values[..., :1]  # the Y of every YBR interpretation
    largest = np.float32((1 << header.bits_stored) - 1)
    weights = LUMA if photometric == "RGB" else np.ones(1, dtype=np.float32)
    return _weighted(values, weights, largest), None


def _weighted(
    values: NDArray[np.generic], weights: NDArray[np.float32], largest: np.float32
) -> NDArray[np.float32]:
    """Return the luminance of colours, row by row: three floats for each pixel take 1.2 GB."""
    luminance = np.empty(values.shape[:2], np.float32)
    for row, colours in zip(luminance, values, strict=True):
        np.clip((colours.astype(np.float32) @ weights) / largest, 0, 1, out=row)
    return luminance


def _greyscale(
    header: PixelHeader, dataset: Dataset, values: NDArray[np.generic]
) -> tuple[NDArray[np.float32], Tones | None]:
    words = np.asarray(values).view(values.dtype.str.replace("i", "u"))
    words = words.astype(f"u{header.bits_allocated // 8}", copy=False)
    table, tones = luminance_table(header, dataset, words[::_SAMPLING_STEP, ::_SAMPLING_STEP])
    luminance: NDArray[np.float32] = table[words]
    if (shutter := read_shutter(dataset, header.rows, header.columns)) is not None:
        luminance[shutter.hidden(*luminance.shape)] = 0
    return luminance, tones
