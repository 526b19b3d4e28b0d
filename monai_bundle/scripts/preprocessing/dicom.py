"""Decode a DICOM radiograph to its luminance, for every transfer syntax and greyscale pipeline."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom.tag import Tag

from scripts.preprocessing.data_set import read_data_set
from scripts.preprocessing.decode import Decoded, decode
from scripts.preprocessing.greyscale import LUMA, Tones, luminance_table
from scripts.preprocessing.pixel_header import GREYSCALE, read_pixel_header
from scripts.preprocessing.quiet_decoders import suppress_warnings
from scripts.preprocessing.resampling import Weights, reduced_weights, resize_words
from scripts.preprocessing.shutter import read_shutter
from scripts.refusal import RadiographRefusedError, RefusalCode

_PREAMBLE_LENGTH: Final = 128
_FIRST_GROUPS: Final = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # little and big endian
_SAMPLING_STEP: Final = 7  # pixels; odd, so that it meets both halves of a checkerboard
_LEAST_REDUCTION: Final = 2.2  # samples of JPEG 2000 for each pixel of the network's input
# Padding is known by its exact value, and an edge of a shutter spreads over the samples around.
_NEED_ALL_PIXELS: Final = ("PixelPaddingValue", "ShutterShape")

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


def read_dicom(
    content: bytes, size: tuple[int, int] | None = None, *, is_whole: bool = True
) -> tuple[torch.Tensor, Tones | None]:
    """Decode the single frame of a DICOM object to its luminance in [0, 1], bone bright.

    Args:
        content: the file, or a data set.
        size: rows and columns of the network's input. The tones are those of an image of this size,
            so that a picture for people has the same.
        is_whole: return the image as it is, not resized.

    Returns:
        The luminance, 1 x rows x columns: colours and palettes are not resized. And the transforms
        that made it; None for a palette or colours.

    Raises:
        RadiographRefusedError: the bytes are not such an object, or are damaged. No other
            exception is raised for the content.
    """
    has_preamble = content[_PREAMBLE_LENGTH : _PREAMBLE_LENGTH + 4] == b"DICM"
    if not has_preamble and not content.startswith(_FIRST_GROUPS):
        raise RadiographRefusedError(RefusalCode.PIXEL_FORMAT, "neither DICOM, PNG nor JPEG")
    try:
        with suppress_warnings():
            return _luminance(content, size, is_whole=is_whole)
    except (RadiographRefusedError, MemoryError):
        raise
    except Exception as error:  # parsers and decoders raise anything on damaged bytes
        detail = type(error).__name__
        raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, detail) from error


def _luminance(
    content: bytes, size: tuple[int, int] | None, *, is_whole: bool
) -> tuple[torch.Tensor, Tones | None]:
    dataset = read_data_set(content, _TAGS)
    header = read_pixel_header(dataset)
    may_be_reduced = size is not None and not any(each in dataset for each in _NEED_ALL_PIXELS)
    least_side = round(_LEAST_REDUCTION * max(size)) if size and may_be_reduced else None
    decoded = decode(header, dataset.PixelData, least_side)
    shutter = read_shutter(dataset, header.rows, header.columns)
    hidden = None if shutter is None else shutter.hidden(header.rows, header.columns)
    if decoded.header.photometric_interpretation not in GREYSCALE:
        return _shuttered(_of_colours(decoded), hidden), None
    sample = _words(decoded)[:: _step(decoded), :: _step(decoded)]
    table, tones = luminance_table(decoded.header, dataset, sample)
    if is_whole and decoded.levels:
        decoded = decode(header, dataset.PixelData)
    if size is not None and not is_whole:
        return resize_words(table, _words(decoded), size, _weights(decoded, size), hidden), tones
    return _shuttered(table[_words(decoded)], hidden), tones


def _shuttered(luminance: NDArray[np.float32], hidden: NDArray[np.bool_] | None) -> torch.Tensor:
    if hidden is not None:
        luminance[hidden] = 0
    return torch.from_numpy(luminance)[None]


def _of_colours(decoded: Decoded) -> NDArray[np.float32]:
    is_rgb = decoded.photometric == "RGB"
    values = decoded.values if is_rgb else decoded.values[..., :1]  # the Y of every YBR
    largest = np.float32((1 << decoded.header.bits_stored) - 1)
    weights = LUMA if is_rgb else np.ones(1, dtype=np.float32)
    return _weighted(values, weights, largest)


def _weighted(
    values: NDArray[np.generic], weights: NDArray[np.float32], largest: np.float32
) -> NDArray[np.float32]:
    """Return the luminance of colours, row by row: three floats for each pixel take 1.2 GB."""
    luminance = np.empty(values.shape[:2], np.float32)
    for row, colours in zip(luminance, values, strict=True):
        np.clip((colours.astype(np.float32) @ weights) / largest, 0, 1, out=row)
    return luminance


def _words(decoded: Decoded) -> NDArray[np.generic]:
    """Return the stored values as unsigned words of the machine's own order."""
    words = decoded.values.view(decoded.values.dtype.str.replace("i", "u"))
    return words.astype(f"u{decoded.header.bits_allocated // 8}", copy=False)


def _step(decoded: Decoded) -> int:
    """Return how far apart the values of the sample are, in values of the reading."""
    return max(1, _SAMPLING_STEP >> decoded.levels)


def _weights(decoded: Decoded, size: tuple[int, int]) -> tuple[Weights, Weights] | None:
    if not decoded.levels:
        return None
    down, across = (
        reduced_weights(*sides, decoded.levels, is_reversible=decoded.is_reversible)
        for sides in zip((decoded.header.rows, decoded.header.columns), size, strict=True)
    )
    return down, across
