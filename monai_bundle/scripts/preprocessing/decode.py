"""Decode Pixel Data of any supported transfer syntax to an array of stored values."""

from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEGExtended12Bit, RLELossless

from scripts.preprocessing.codestream import check_codestream
from scripts.preprocessing.pixel_header import PixelHeader
from scripts.refusal import RadiographRefusedError, RefusalCode

gdcm.Trace.WarningOff()
gdcm.Trace.ErrorOff()


def decode(header: PixelHeader, pixel_data: bytes) -> tuple[NDArray[np.generic], str]:
    """Decode the single frame of Pixel Data.

    Returns:
        The stored values, rows x columns for greyscale and rows x columns x 3 for colour, and the
        photometric interpretation that they are in: colour is RGB or still YBR. Overlay bits are
        not masked, and signed values may have an unsigned type.

    Raises:
        RadiographRefusedError: the transfer syntax is not supported, or the codestream
            contradicts the header. A decoder may raise any other exception.
    """
    try:
        decoder = get_decoder(header.transfer_syntax)
    except NotImplementedError as error:
        raise RadiographRefusedError(RefusalCode.PIXEL_FORMAT, "transfer syntax") from error
    if header.transfer_syntax.is_encapsulated:
        frame = get_frame(pixel_data, 0, number_of_frames=1)
        if header.transfer_syntax != RLELossless:
            check_codestream(frame, header.rows, header.columns)
        if (
            header.transfer_syntax == JPEGExtended12Bit
            and header.bits_stored > np.iinfo(np.uint8).bits
        ):
            return _decode_extended(header, frame), header.photometric_interpretation
    values, properties = decoder.as_array(
        pixel_data,
        index=0,
        raw=True,
        **_decoder_options(header),
    )
    return values, str(properties["photometric_interpretation"])


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


def _decode_extended(header: PixelHeader, frame: bytes) -> NDArray[np.generic]:
    """Decode 12-bit JPEG Extended, which pydicom's plugins decline, with GDCM."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((header.columns, header.rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    )
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, header.bits_stored, header.bits_stored - 1, 0))
    content = image.GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(content, dtype="<u2").reshape(header.rows, header.columns)
