"""Decode Pixel Data of any supported transfer syntax to an array of stored values.

| What the codestream is | Decoder | Why |
|---|---|---|
| none, native | numpy, as pydicom reads it | no decoder |
| RLE | pydicom's own | Python: it raises an exception where GDCM aborts the process |
| JPEG with DCT, 8 and 12 bits | libjpeg-turbo, in imagecodecs | the one library for 8 and 12 bits |
| JPEG lossless, 2 to 16 bits | libjpeg-turbo, in imagecodecs | the fastest, and raises |
| JPEG-LS | CharLS, in imagecodecs | raises where an entropy-coded segment ends early |
| JPEG 2000 and HTJ2K, grey | OpenJPEG, in Pillow | kept up to date, reads both |
| JPEG 2000 and HTJ2K, colour | OpenJPEG, in pylibjpeg-openjpeg | Pillow reduces colours to 8 bits |
"""

import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import decode as decode_openjpeg
from PIL import Image
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from scripts.preprocessing.codestream import (
    Codestream,
    Coding,
    check_codestream,
    read_codestream,
    with_end_marker,
    with_filling,
)
from scripts.preprocessing.fragments import is_codestream, is_encapsulated, single_frame
from scripts.preprocessing.pixel_header import GREYSCALE, PixelHeader
from scripts.refusal import RadiographRefusedError, RefusalCode

_Words = NDArray[np.generic]
_BYTE: Final = 8  # bits
_SHADES: Final = GREYSCALE - {"PALETTE COLOR"}  # the mean of two numbers of colours is a third
_RLE_HEADER_LENGTH: Final = 64  # bytes, PS3.5 G.5
_ITEMS: Final = b"\xfe\xff\x00\xe0" + bytes(4) + b"\xfe\xff\x00\xe0"  # an empty offset table first


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """The single frame of Pixel Data.

    Attributes:
        header: with the bits and the sign that the values have where a codestream states others.
        values: the stored values, rows x columns for greyscale and rows x columns x 3 for colour.
            Overlay bits are not masked, and signed values may have an unsigned type.
        photometric: the photometric interpretation that they are in: colour is RGB or still YBR.
        levels: of the wavelet transform that were left out: the values are samples of the image.
        is_reversible: whether that transform is 5-3, not 9-7.
    """

    header: PixelHeader
    values: _Words
    photometric: str
    levels: int = 0
    is_reversible: bool = False


def decode(header: PixelHeader, pixel_data: bytes, least_side: int | None = None) -> Decoded:
    """Decode the single frame of Pixel Data.

    Args:
        header: the image's pixel header.
        pixel_data: the value of Pixel Data.
        least_side: decode grey JPEG 2000 at the lowest resolution that leaves each side so many
            samples, or twice as many less one; None decodes at the whole resolution. So does a
            codestream that contradicts the header, whose values may wrap between neighbours.

    Raises:
        RadiographRefusedError: the transfer syntax is not supported, the codestream contradicts
            the header, or it is not complete. A decoder may raise any other exception.
    """
    is_native = not _says_encapsulated(header)
    frame = single_frame(pixel_data) if is_encapsulated(pixel_data) else pixel_data
    if is_native and len(frame) >= _native_length(header):
        return _decode_native(header, frame)
    if is_codestream(frame):
        return _decode_codestream(header, bytes(frame), least_side)
    if is_native:
        return _decode_native(header, frame)
    if len(frame) - _native_length(header) in {0, 1}:  # some writers change the syntax alone
        return _decode_native(replace(header, transfer_syntax=ExplicitVRLittleEndian), frame)
    _decoder(header)
    if header.transfer_syntax != RLELossless or not is_encapsulated(pixel_data):
        raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, "no codestream")
    return _decode_rle(header, bytes(frame))


def _says_encapsulated(header: PixelHeader) -> bool:
    try:
        return header.transfer_syntax.is_encapsulated
    except ValueError:  # no transfer syntax that pydicom knows
        return False


def _decode_rle(header: PixelHeader, frame: bytes) -> Decoded:
    _check_rle(header, frame)
    items = _ITEMS + len(frame).to_bytes(4, "little") + frame
    options = _decoder_options(header) | {"decoding_plugin": "pydicom"}
    values, properties = _decoder(header).as_array(items, index=0, raw=True, **options)
    photometric = str(properties["photometric_interpretation"])
    return Decoded(header=header, values=values, photometric=photometric)


def _decode_native(header: PixelHeader, pixel_data: bytes | memoryview) -> Decoded:
    decoder, expected = _decoder(header), _native_length(header)
    if len(pixel_data) < expected:
        detail = f"{len(pixel_data)} of {expected} bytes"
        raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, detail)
    options = _decoder_options(header)
    values, properties = decoder.as_array(pixel_data, index=0, raw=True, **options)
    photometric = str(properties["photometric_interpretation"])
    return Decoded(header=header, values=values, photometric=photometric)


def _decoder(header: PixelHeader) -> Decoder:
    try:
        return get_decoder(header.transfer_syntax)
    except NotImplementedError as error:
        raise RadiographRefusedError(RefusalCode.PIXEL_FORMAT, "transfer syntax") from error


def _native_length(header: PixelHeader) -> int:
    samples = 2 if header.photometric_interpretation == "YBR_FULL_422" else header.samples_per_pixel
    return header.rows * header.columns * samples * header.bits_allocated // 8


def _decoder_options(header: PixelHeader) -> dict[str, Any]:
    """Return the options of pydicom's decoder; Any, because their annotation is of all at once."""
    return {
        "number_of_frames": 1,
        "rows": header.rows,
        "columns": header.columns,
        "samples_per_pixel": header.samples_per_pixel,
        "bits_allocated": header.bits_allocated,
        "bits_stored": header.bits_stored,
        "pixel_representation": header.pixel_representation,
        "planar_configuration": header.planar_configuration,
        "photometric_interpretation": header.photometric_interpretation,
        "pixel_keyword": "PixelData",
        "pixel_vr": header.value_representation,
        "correct_unused_bits": False,
        "view_only": True,
    }


def _check_rle(header: PixelHeader, frame: bytes) -> None:
    """Refuse RLE of another number of segments than the header's bytes per pixel (PS3.5 G.2)."""
    segments = int.from_bytes(frame[:4], "little")
    wanted = header.samples_per_pixel * header.bits_allocated // 8
    if len(frame) < _RLE_HEADER_LENGTH:
        raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, "truncated")
    if segments != wanted:
        detail = f"{segments} RLE segments, not {wanted}"
        raise RadiographRefusedError(RefusalCode.CODESTREAM, detail)


def _decode_codestream(header: PixelHeader, frame: bytes, least_side: int | None) -> Decoded:
    codestream = read_codestream(frame)
    check_codestream(codestream, header, frame)
    if levels := _levels_to_leave_out(codestream, header, least_side):
        with suppress(Exception):  # a tile may have fewer levels: the whole image decides
            samples = _decode_grey_jpeg_2000(codestream, frame, levels)
            return Decoded(
                header=header,
                values=_as_words(samples, header.bits_allocated),
                photometric=header.photometric_interpretation,
                levels=levels,
                is_reversible=codestream.is_reversible,
            )
    try:
        values = _DECODERS[codestream.coding](codestream, header, frame)
    except Exception:
        _require_memory(codestream, header)
        raise
    if header.samples_per_pixel > 1:
        as_coded = replace(header, bits_stored=codestream.precision, pixel_representation=0)
        photometric = _colour_space(codestream, header)
        return Decoded(header=as_coded, values=values, photometric=photometric)
    allocated = 16 if max(codestream.precision, header.bits_allocated) > _BYTE else 8
    words = _as_words(values, allocated)
    header = replace(header, bits_allocated=allocated)
    return Decoded(
        header=_header_of_values(codestream, header, words),
        values=words,
        photometric=header.photometric_interpretation,
    )


def _levels_to_leave_out(
    codestream: Codestream, header: PixelHeader, least_side: int | None
) -> int:
    stored = header.bits_stored, header.high_bit + 1, bool(header.pixel_representation)
    coded = codestream.precision, codestream.precision, bool(codestream.is_signed)
    is_grey = header.samples_per_pixel == 1 and header.photometric_interpretation in _SHADES
    if least_side is None or codestream.coding is not Coding.JPEG_2000 or not is_grey:
        return 0
    if codestream.tiles > 1:  # each has a transform of its own, with borders
        return 0
    fitting = min(header.rows, header.columns) // max(least_side, 1)
    return min(codestream.levels, max(fitting.bit_length() - 1, 0)) if stored == coded else 0


def _as_words(values: _Words, allocated: int) -> _Words:
    """Return values as unsigned words of so many bits, signed ones by their bits."""
    size = allocated // 8
    sized = values.astype(f"{values.dtype.kind}{size}", copy=False)
    return sized.view(f"u{size}")


def _colour_space(codestream: Codestream, header: PixelHeader) -> str:
    """Return the colour space of the decoded values: the codestream's, else the header's."""
    photometric = header.photometric_interpretation
    if codestream.is_rgb or photometric in {"YBR_RCT", "YBR_ICT"}:
        return "RGB"
    return "YBR_FULL" if codestream.is_rgb is False else photometric


def _header_of_values(codestream: Codestream, header: PixelHeader, words: _Words) -> PixelHeader:
    """Return the header with the bits and the sign in which the words are to be read.

    A codestream's precision and sign count where they are stated. Encoders are known to write
    whole words, signed ones as unsigned, and overlays in the high bits. So where the two headers
    read the words differently, that reading is taken in which neighbouring pixels differ least:
    bits that are cut off, and a sign that is lost, tear a radiograph where its values wrap. The
    header's reading counts where all are the same.
    """
    stated = int(codestream.is_signed) if codestream.is_signed is not None else None
    if header.bits_allocated == codestream.precision and header.high_bit >= header.bits_stored:
        return header  # whole words, with the stored bits above others
    signs = dict.fromkeys(
        [header.pixel_representation, header.pixel_representation if stated is None else stated]
    )
    depths = dict.fromkeys([header.bits_stored, codestream.precision])
    readings = [
        replace(header, bits_stored=bits, high_bit=bits - 1, pixel_representation=sign)
        for bits, sign in product(depths, signs)
    ]
    if len(readings) == 1:
        return readings[0]
    return min(readings, key=lambda reading: _roughness(_read(words, reading)))


def _read(words: _Words, header: PixelHeader) -> NDArray[np.int32]:
    values = words.astype(np.int32) & ((1 << header.bits_stored) - 1)
    if header.pixel_representation:
        sign = 1 << (header.bits_stored - 1)
        values = (values ^ sign) - sign
    return values


def _roughness(values: NDArray[np.int32]) -> float:
    """Return the mean difference between neighbours in a row."""
    return float(np.abs(np.diff(values, axis=1)).mean())


def _decode_jpeg(codestream: Codestream, header: PixelHeader, frame: bytes) -> _Words:
    """Decode a JPEG, and refuse one whose entropy-coded data ends before its last pixel.

    libjpeg-turbo reports that as a warning only and repeats the last value, or fills with grey,
    as long as an end marker follows. So where the last values are flat, the frame is decoded again
    with further bytes before that marker: only missing pixels can change.
    """
    # the components as they are coded: `_colour_space` says which colours they are
    space = "YCBCR" if _colour_space(codestream, header) != "RGB" else "RGB"
    given = space if header.samples_per_pixel > 1 else None
    values = np.asarray(imagecodecs.jpeg8_decode(frame, colorspace=given, outcolorspace=given))
    may_be_cut = not codestream.repeats_when_cut or (values[-1, -1] == values[-1, -2]).any()
    if may_be_cut:
        filled = imagecodecs.jpeg8_decode(
            with_filling(codestream, frame), colorspace=given, outcolorspace=given
        )
        if not all(map(np.array_equal, values, filled)):  # by rows: it takes memory to compare
            raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, "truncated")
    return values


def _decode_jpeg_ls(codestream: Codestream, header: PixelHeader, frame: bytes) -> _Words:
    del codestream, header
    return np.asarray(imagecodecs.jpegls_decode(frame))


def _decode_jpeg_2000(codestream: Codestream, header: PixelHeader, frame: bytes) -> _Words:
    if header.samples_per_pixel > 1:
        return np.asarray(decode_openjpeg(with_end_marker(frame)))
    return _decode_grey_jpeg_2000(codestream, frame)


def _decode_grey_jpeg_2000(codestream: Codestream, frame: bytes, levels: int = 0) -> _Words:
    """Decode one component, without the details of so many levels."""
    with Image.open(io.BytesIO(with_end_marker(frame)), formats=("JPEG2000",)) as image:
        image.reduce = levels  # type: ignore[method-assign, assignment]  # Pillow's way to say it
        # OpenJPEG rounds a reduced side up; Pillow, to the nearest, and then refuses the picture
        width, height = (-(-side >> levels) << levels for side in image.size)
        image._size = width, height  # noqa: SLF001 -- which Pillow's loading begins with
        scaled = np.asarray(image)
    depth = 8 * scaled.dtype.itemsize
    # Pillow shifts the values to the top of the word and makes signed ones unsigned
    values = scaled >> (depth - codestream.precision)
    if not codestream.is_signed:
        return values.astype(np.uint16, copy=False)
    return (values.astype(np.int32) - (1 << (codestream.precision - 1))).astype(np.int16)


def _require_memory(codestream: Codestream, header: PixelHeader) -> None:
    """Allocate what a decoder takes: some call a codestream damaged where they lack memory.

    Raises:
        MemoryError: there is not so much.
    """
    sample_bytes = 8 if codestream.coding is Coding.JPEG_2000 else 3  # of a progressive JPEG
    np.empty((header.rows, header.columns, header.samples_per_pixel, sample_bytes), np.uint8)


_DECODERS: Final[dict[Coding, Callable[[Codestream, PixelHeader, bytes], _Words]]] = {
    Coding.JPEG_DCT: _decode_jpeg,
    Coding.JPEG_LOSSLESS: _decode_jpeg,
    Coding.JPEG_LS: _decode_jpeg_ls,
    Coding.JPEG_2000: _decode_jpeg_2000,
}
