"""Decode the one frame of a DICOM file to stored values, for people to look at.

The workers read radiographs for the model, with rules of their own; this way decodes what a viewer
would. It runs in a decoder: the bytes may be anything.
"""

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from service.domain.reasons import Reason

Values = NDArray[np.generic]

LEAST_SIDE: Final = 64  # pixels, as the workers read
LARGEST_SIDE: Final = 16_384
LARGEST_PIXELS: Final = 100_000_000
MOST_PASSES: Final = 64  # of a JPEG; encoders write up to 12
_DEPTHS: Final = (8, 16)  # bits allocated
_LEAST_BITS: Final = 2
_ITEM: Final = b"\xfe\xff\x00\xe0"  # PS3.5 A.4
_CODESTREAMS: Final = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
_JPEG: Final = b"\xff\xd8"
_END: Final = b"\xff\xd9"  # EOI, and EOC of JPEG 2000
_TAIL_BYTES: Final = 128  # in which it is looked for: some write more behind it
_PIXEL_DATA: Final = b"\xe0\x7f\x10\x00"  # its tag
_ITEM_HEADER_BYTES: Final = 8  # the tag and the length
_JPEG_LS: Final = 0xF7  # SOF55, ISO/IEC 14495-1
_SOS: Final = 0xDA
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {_JPEG_LS}  # ISO/IEC 10918-1


class UnshowableError(Exception):
    """The pixels cannot be shown: the reason is coded."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The stored values of a frame, and the attributes that say how to read them.

    Attributes:
        dataset: everything but the pixels.
        values: rows x columns, or rows x columns x 3; of 8 or 16 bits, signed or not.
        photometric: the photometric interpretation of the values: colours are RGB or YBR_FULL.
        bits: of a stored value.
        is_signed: whether stored values are two's complement of so many bits.
        is_coded: whether they come from a codestream: their type says what they are. Others are
            whole words, in which other bits may be above or below those of the value.
    """

    dataset: Dataset
    values: Values
    photometric: str
    bits: int
    is_signed: bool
    is_coded: bool


def read_frame(path: Path, *, least_side: int = LEAST_SIDE) -> Frame:
    """Read and decode the frame of a DICOM file.

    Args:
        path: the file.
        least_side: a smaller image is refused.

    Raises:
        UnshowableError: it cannot be shown.
        OSError: the file cannot be read.
        MemoryError: it needs more memory than a decoder has.
    """
    content = path.read_bytes()  # whole: pydicom raises OSError for content too
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that nobody looks at
        try:
            dataset = _parse(content)
        except MemoryError:
            raise
        except Exception as error:
            raise UnshowableError(Reason.UNDECODABLE) from error
        del content
        try:
            return _frame(dataset, least_side)
        except (UnshowableError, MemoryError):
            raise
        except Exception as error:  # a decoder may raise anything
            raise UnshowableError(Reason.PIXELS_UNREADABLE) from error


def _parse(content: bytes) -> Dataset:
    """Parse a file; the pixels of one that lacks its sequence delimiter are all that follows."""
    dataset = dcmread(io.BytesIO(content), force=True)
    if "PixelData" in dataset:
        return dataset
    stream = io.BytesIO(content)
    dataset = dcmread(stream, force=True, stop_before_pixels=True)
    at = stream.tell()
    if content[at : at + len(_PIXEL_DATA)] == _PIXEL_DATA:
        first = content.find(_ITEM, at, at + 2 * _ITEM_HEADER_BYTES)
        dataset.PixelData = content[first:] if first >= 0 else b""
    return dataset


def _frame(dataset: Dataset, least_side: int) -> Frame:
    _require_readable(dataset, least_side)
    values, photometric, is_coded = _decode(dataset)
    rows_and_columns = int(dataset.Rows), int(dataset.Columns)
    samples = int(dataset.get("SamplesPerPixel", 1))
    if values.shape != (rows_and_columns if samples == 1 else (*rows_and_columns, samples)):
        raise UnshowableError(Reason.CODESTREAM)
    is_signed = bool(dataset.get("PixelRepresentation", 0))
    bits = int(dataset.BitsStored)
    del dataset.PixelData
    return Frame(
        dataset=dataset,
        values=values,
        photometric=photometric,
        bits=bits,
        is_signed=is_signed,
        is_coded=is_coded,
    )


def _require_readable(dataset: Dataset, least_side: int) -> None:
    """Refuse what is no single frame of greys or colours within the limits of reading."""
    if "PixelData" not in dataset and "SOPClassUID" not in dataset:
        raise UnshowableError(Reason.UNDECODABLE)  # whatever it is, pydicom found elements in it
    if "PixelData" not in dataset:
        is_real = "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset
        raise UnshowableError(Reason.PIXEL_FORMAT if is_real else Reason.NO_PIXELS)
    if not dataset.PixelData or not dataset.get("Rows") or not dataset.get("Columns"):
        raise UnshowableError(Reason.NO_PIXELS)
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise UnshowableError(Reason.MULTI_FRAME)
    sides = int(dataset.Rows), int(dataset.Columns)
    if min(sides) < least_side or max(sides) > LARGEST_SIDE:
        raise UnshowableError(Reason.SIZE)
    if sides[0] * sides[1] > LARGEST_PIXELS:
        raise UnshowableError(Reason.SIZE)
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if allocated not in _DEPTHS or not _LEAST_BITS <= stored <= allocated:
        raise UnshowableError(Reason.PIXEL_FORMAT)
    if int(dataset.get("SamplesPerPixel", 1)) not in {1, 3}:
        raise UnshowableError(Reason.PIXEL_FORMAT)


def _decode(dataset: Dataset) -> tuple[Values, str, bool]:
    """Decode what the bytes are, whatever the transfer syntax says.

    Returns:
        The values, their photometric interpretation, and whether they come from a codestream.
    """
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    pixel_data = dataset.PixelData
    is_encapsulated = pixel_data.startswith(_ITEM)
    frame = b"".join(_fragments(pixel_data)) if is_encapsulated else pixel_data
    if frame.startswith(_CODESTREAMS):
        if _END not in frame[-_TAIL_BYTES:]:
            # some leave it out; a byte that fills the fragment (PS3.5 A.4) must not precede it
            frame = frame.removesuffix(b"\0") + _END
        return *_decode_codestream(frame, photometric), True
    syntax = _transfer_syntax(dataset)
    if not is_encapsulated and syntax.is_encapsulated:  # some writers change the syntax alone
        dataset.file_meta.TransferSyntaxUID = syntax = ExplicitVRLittleEndian
    if is_encapsulated and syntax != RLELossless:
        raise UnshowableError(Reason.PIXELS_UNREADABLE)
    options: dict[str, Any] = {"raw": True, "correct_unused_bits": False}  # see `greys_of`
    values, properties = get_decoder(syntax).as_array(dataset, index=0, **options)
    words = values.view(f"{values.dtype.byteorder}u{values.dtype.itemsize}")
    return words, str(properties["photometric_interpretation"]), False


def _fragments(pixel_data: bytes) -> Iterator[bytes]:
    """Yield the fragments of a single frame; the offset table before them is not needed."""
    at, is_table = 0, True
    while pixel_data[at : at + len(_ITEM)] == _ITEM:
        start = at + _ITEM_HEADER_BYTES
        at = start + int.from_bytes(pixel_data[at + len(_ITEM) : start], "little")
        fragment = pixel_data[start:at]
        if not is_table or fragment.startswith(_CODESTREAMS):  # some leave the table out
            yield fragment
        is_table = False


def _transfer_syntax(dataset: Dataset) -> UID:
    """Return the transfer syntax; one that is missing is as the elements are written."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, _ = dataset.original_encoding
        syntax = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax
    return dataset.file_meta.TransferSyntaxUID


def _decode_codestream(frame: bytes, photometric: str) -> tuple[Values, str]:
    if not frame.startswith(_JPEG):
        from openjpeg.utils import decode as decode_jpeg_2000  # noqa: PLC0415 -- see `load_decoders`

        return decode_jpeg_2000(frame), _without_transform(photometric)
    if frame.count(bytes((0xFF, _SOS))) > MOST_PASSES:
        raise UnshowableError(Reason.SIZE)  # each takes time
    import imagecodecs  # noqa: PLC0415 -- as above

    if _frame_marker(frame) == _JPEG_LS:
        return np.asarray(imagecodecs.jpegls_decode(frame)), photometric
    space = "RGB" if photometric == "RGB" else None  # else as the codestream says
    values = np.asarray(imagecodecs.jpeg8_decode(frame, colorspace=space, outcolorspace=space))
    return values, "RGB" if values.ndim > 2 else photometric  # noqa: PLR2004 -- rows and columns


def _without_transform(photometric: str) -> str:
    """Return the colours that OpenJPEG gives: it inverts a transform of the codestream's own."""
    return "RGB" if photometric in {"YBR_RCT", "YBR_ICT"} else photometric


def _frame_marker(frame: bytes) -> int:
    """Return the second byte of the SOF marker of a JPEG; 0 if none precedes SOS."""
    at = len(_JPEG)
    while at + 4 <= len(frame) and frame[at] == 0xFF and frame[at + 1] != _SOS:  # noqa: PLR2004 -- a marker and its length
        if frame[at + 1] in _FRAMES:
            return frame[at + 1]
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return 0


def load_decoders() -> None:
    """Import what decodes, in the process from which decoders are forked and in no other.

    pydicom's plugins are asked for native values and RLE alone: GDCM, which aborts on some
    codestreams, would be among those for the others.
    """
    import imagecodecs  # noqa: PLC0415 -- as this function says
    import openjpeg.utils  # noqa: F401, PLC0415 -- as above

    loaded: tuple[Any, ...] = (imagecodecs.jpeg8_decode, imagecodecs.jpegls_decode)
    if not all(loaded):  # they are loaded when they are first named
        raise ImportError("imagecodecs")
    get_decoder(RLELossless).available_plugins  # noqa: B018 -- imports them
