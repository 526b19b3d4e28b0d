"""Decode a PNG or JPEG radiograph to its luminance."""

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from scripts.preprocessing.quiet_decoders import suppress_warnings
from scripts.refusal import RadiographRefusedError, RefusalCode

SMALLEST_SIDE: Final = 64  # pixels
LARGEST_SIDE: Final = 16384  # pixels
LARGEST_AREA: Final = 100_000_000  # pixels; a 43x43 cm detector at 0.05 mm has 74 million

_LARGEST_UINT16: Final = np.float32(np.iinfo(np.uint16).max)
_LARGEST_UINT8: Final = np.float32(np.iinfo(np.uint8).max)


def check_size(rows: int, columns: int) -> None:
    """Refuse a size that no radiograph has, before its pixels are allocated.

    Raises:
        RadiographRefusedError: size-out-of-range.
    """
    sides_fit = all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (rows, columns))
    if not sides_fit or rows * columns > LARGEST_AREA:
        raise RadiographRefusedError(RefusalCode.SIZE, f"{columns}x{rows} pixels")


def read_raster(content: bytes) -> NDArray[np.float32]:
    """Decode a PNG or JPEG to its luminance, HxW in [0, 1], rotated as its EXIF orientation says.

    Transparent pixels become black; CMYK and palettes are converted to RGB (ITU-R 601-2 luma).

    Raises:
        RadiographRefusedError: the bytes are not such an image, or are damaged. No other
            exception is raised for the content.
    """
    try:
        with suppress_warnings():  # check_size supersedes Pillow's own bomb warning
            return _luminance(content)
    except (RadiographRefusedError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise RadiographRefusedError(RefusalCode.SIZE, "more pixels than Pillow allows") from error
    except UnidentifiedImageError as error:
        raise RadiographRefusedError(RefusalCode.PIXEL_FORMAT, "neither PNG nor JPEG") from error
    except Exception as error:  # a decoder raises anything on damaged bytes
        raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, "cannot be decoded") from error


def _luminance(content: bytes) -> NDArray[np.float32]:
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
        check_size(image.height, image.width)
        if getattr(image, "n_frames", 1) > 1:
            raise RadiographRefusedError(RefusalCode.MULTI_FRAME, "an animated PNG")
        image.load()
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16-bit grey
            return np.asarray(upright, dtype=np.float32) / _LARGEST_UINT16
        if upright.mode in {"LA", "PA", "RGBA", "La", "RGBa"} or "transparency" in upright.info:
            black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
            upright = Image.alpha_composite(black, upright.convert("RGBA")).convert("RGB")
        return np.asarray(upright.convert("L"), dtype=np.float32) / _LARGEST_UINT8
