"""Decode a DICOM radiograph to its luminance, for every transfer syntax and greyscale pipeline."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom.tag import Tag

from scripts.preprocessing.data_set import read_data_set
from scripts.preprocessing.decode import Decoded, decode
from scripts.preprocessing.greyscale import LUMA, Tones, luminance_table
from scripts.preprocessing.look_up import LookUp
from scripts.preprocessing.pixel_header import GREYSCALE, PixelHeader, read_pixel_header
from scripts.preprocessing.quiet_decoders import suppress_warnings
from scripts.preprocessing.resampling import Show, Weights, reduced_weights, resize_words
from scripts.preprocessing.shutter import read_shutter
from scripts.refusal import RadiographRefusedError, RefusalCode

_PREAMBLE_LENGTH: Final = 128
_FIRST_GROUPS: Final = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # little and big endian
_STRIP_ROWS: Final = 16  # of a look-up at once; even
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
    content: bytes,
    size: tuple[int, int] | None = None,
    *,
    is_whole: bool = True,
    least_picture: int | None = None,
) -> tuple[torch.Tensor, Tones | None]:
    """Decode the single frame of a DICOM object to its luminance in [0, 1], bone bright.

    Args:
        content: the file, or a data set.
        size: rows and columns of the network's input. The tones are those of an image of this size,
            so that a picture for people has the same.
        is_whole: return the image as it is, not resized.
        least_picture: pixels that the longer side of the whole image needs: JPEG 2000 of more is
            decoded at the lowest resolution that has them, and an image of twice as many comes as
            the means of squares of two by two. None for all of them.

    Returns:
        The luminance, 1 x rows x columns: colours and palettes are not resized. And the transforms
        that made it; None for a palette or colours.

    Raises:
        RadiographRefusedError: the bytes are not such an object, or are damaged. No other
            exception is raised for the content.
    """
    with _refusing(content):
        opened = _Opened.of(content, size)
        image = opened.whole(least_picture) if is_whole else opened.resized()
        return image, opened.tones


def read_dicom_twice(
    content: bytes, size: tuple[int, int] | None, least_picture: int | None
) -> tuple[torch.Tensor, torch.Tensor, Tones | None]:
    """Decode a DICOM object once, for the network and for people.

    Returns:
        What `read_dicom` returns with `is_whole` false, then with it true, and the transforms.

    Raises:
        RadiographRefusedError: as `read_dicom` does.
    """
    with _refusing(content):
        opened = _Opened.of(content, size)
        return *opened.both(least_picture), opened.tones


@contextmanager
def _refusing(content: bytes) -> Iterator[None]:
    """Refuse what is no DICOM, and what a parser or decoder fails on."""
    has_preamble = content[_PREAMBLE_LENGTH : _PREAMBLE_LENGTH + 4] == b"DICM"
    if not has_preamble and not content.startswith(_FIRST_GROUPS):
        raise RadiographRefusedError(RefusalCode.PIXEL_FORMAT, "neither DICOM, PNG nor JPEG")
    try:
        with suppress_warnings():
            yield
    except (RadiographRefusedError, MemoryError):
        raise
    except Exception as error:  # parsers and decoders raise anything on damaged bytes
        detail = type(error).__name__
        raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, detail) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A frame that is decoded as far as the network needs it, and what its values show.

    Attributes:
        header: of the pixels.
        pixel_data: the value of Pixel Data.
        size: rows and columns of the network's input, if it is resized.
        decoded: the frame.
        hidden: which pixels of the image a shutter hides.
        table: the luminance of each word that can occur; None for colours.
        tones: the transforms that the table holds; None for a palette or colours.
    """

    header: PixelHeader
    pixel_data: bytes
    size: tuple[int, int] | None
    decoded: Decoded
    hidden: NDArray[np.bool_] | None
    table: NDArray[np.float32] | None
    tones: Tones | None

    @classmethod
    def of(cls, content: bytes, size: tuple[int, int] | None) -> Self:
        """Decode the frame of an object."""
        dataset = read_data_set(content, _TAGS)
        header = read_pixel_header(dataset)
        may_be_reduced = size is not None and not any(each in dataset for each in _NEED_ALL_PIXELS)
        least_side = round(_LEAST_REDUCTION * max(size)) if size and may_be_reduced else None
        decoded = decode(header, dataset.PixelData, least_side)
        shutter = read_shutter(dataset, header.rows, header.columns)
        table, tones = None, None
        if decoded.header.photometric_interpretation in GREYSCALE:
            words = _words(decoded)
            sample = words[:: _step(decoded), :: _step(decoded)]
            largest = None if decoded.levels else int(words.max())  # else others may come later
            table, tones = luminance_table(decoded.header, dataset, sample, largest)
        return cls(
            header=header,
            pixel_data=dataset.PixelData,
            size=size,
            decoded=decoded,
            hidden=None if shutter is None else shutter.hidden(header.rows, header.columns),
            table=table,
            tones=tones,
        )

    def resized(self, show: Show | None = None) -> torch.Tensor:
        """Return the luminance at the size of the network's input, but for colours.

        What is looked up of a grey image is given to `show`.
        """
        if self.table is None or self.size is None:
            return self.whole(None)
        words, weights = _words(self.decoded), _weights(self.decoded, self.size)
        return resize_words(self.table, words, self.size, weights, self.hidden, show)

    def whole(self, least_picture: int | None) -> torch.Tensor:
        """Return the luminance of the image as it is, or with so many pixels on its longer side."""
        if self.table is None:
            return _shuttered(_of_colours(self.decoded), self.hidden)
        decoded = self._decoded_for(_least_side(self.header, least_picture))
        words = _words(decoded)
        if not self._is_halved(decoded, least_picture):
            return _shuttered(_looked_up(self.table, words), self.hidden)
        halved, look_up = _Halved(words.shape), LookUp(self.table, words)
        strip = np.empty((_STRIP_ROWS, words.shape[1]), np.float32)
        for top in range(0, len(words), _STRIP_ROWS):
            rows = words[top : top + _STRIP_ROWS]
            look_up.write(rows, strip[: len(rows)])
            halved.add(strip[: len(rows)])
        return torch.from_numpy(halved.luminance)[None]

    def both(self, least_picture: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `resized` and `whole` return; of one decoding each word is looked up once."""
        decoded = self._decoded_for(_least_side(self.header, least_picture))
        if self.table is None or self.size is None or decoded is not self.decoded:
            return self.resized(), self.whole(least_picture)
        kind = _Halved if self._is_halved(decoded, least_picture) else _Whole
        picture = kind(decoded.values.shape)
        return self.resized(picture.add), torch.from_numpy(picture.luminance)[None]

    def _is_halved(self, decoded: Decoded, longer: int | None) -> bool:
        """Return whether the image is exactly twice as large as it needs to be, and all is seen."""
        rows, columns = decoded.values.shape[:2]
        is_even = rows % 2 == columns % 2 == 0
        is_twice = longer is not None and max(rows, columns) == 2 * longer
        return self.hidden is None and is_even and is_twice

    def _decoded_for(self, least_side: int | None) -> Decoded:
        """Return the frame with so many pixels on its shorter side, decoded again if it must be."""
        decoded = self.decoded
        if not decoded.levels or (least_side and min(decoded.values.shape) >= least_side):
            return decoded
        return decode(self.header, self.pixel_data, least_side)


def _least_side(header: PixelHeader, longer: int | None) -> int | None:
    """Return how many pixels the shorter side has where the longer one has so many."""
    if longer is None:
        return None
    sides = header.rows, header.columns
    return -(-longer * min(sides) // max(sides))


def _looked_up(table: NDArray[np.float32], words: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return the luminance of each word, a few rows at a time: what they need fits in a cache."""
    luminance, look_up = np.empty(words.shape, np.float32), LookUp(table, words)
    for top in range(0, len(words), _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        look_up.write(words[rows], luminance[rows])
    return luminance


class _Whole:
    """The luminance of an image, put together of its rows from the top down."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.luminance = np.empty(shape, np.float32)
        self._next = 0

    def add(self, rows: NDArray[np.float32]) -> None:
        """Put further rows below."""
        self.luminance[self._next : self._next + len(rows)] = rows
        self._next += len(rows)


class _Halved:
    """The mean luminance of each square of two by two words, put together likewise."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        rows, columns = shape
        self.luminance = np.empty((rows // 2, columns // 2), np.float32)
        self._next = 0
        self._odd = np.empty((0, columns), np.float32)  # a row without the one below

    def add(self, rows: NDArray[np.float32]) -> None:
        """Put further rows below."""
        if len(self._odd):
            self._add_pairs(np.concatenate((self._odd, rows[:1])))
            rows = rows[1:]
        paired = len(rows) // 2 * 2
        self._odd = rows[paired:].copy()
        for top in range(0, paired, _STRIP_ROWS):  # what they need fits in a cache
            self._add_pairs(rows[top : min(top + _STRIP_ROWS, paired)])

    def _add_pairs(self, rows: NDArray[np.float32]) -> None:
        upper, lower = rows[0::2], rows[1::2]
        sums = upper[:, 0::2] + upper[:, 1::2] + lower[:, 0::2] + lower[:, 1::2]
        below = self._next + len(sums)
        np.multiply(sums, np.float32(0.25), out=self.luminance[self._next : below])
        self._next = below


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
