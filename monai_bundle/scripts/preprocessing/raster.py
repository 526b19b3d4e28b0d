"""Decode a PNG or JPEG radiograph to its luminance."""

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from scripts.preprocessing.quiet_decoders import suppress_warnings
from scripts.refusal import RadiographRefusedError, RefusalCode

SMALLEST_SIDE: Final = 64  # pixels
LARGEST_SIDE: Final = 16384  # pixels
LARGEST_AREA: Final = 100_000_000  # pixels; a 43x43 cm detector at 0.05 mm has 74 million

_STRIP_ROWS: Final = 256  # converted at once: the largest picture alone takes 400 MB in colours
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
    grey = _upright_grey(content)
    luminance = grey.astype(np.float32)
    luminance /= _LARGEST_UINT8 if grey.dtype == np.uint8 else _LARGEST_UINT16
    return luminance


def _upright_grey(content: bytes) -> NDArray[np.generic]:
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
        check_size(image.height, image.width)
        if getattr(image, "n_frames", 1) > 1:
            raise RadiographRefusedError(RefusalCode.MULTI_FRAME, "an animated PNG")
        image.load()
        grey = _grey(image)
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    return grey if orientation is None else _upright(grey, orientation)


def _grey(image: Image.Image) -> NDArray[np.generic]:
    """Convert to grey in strips, so that no second picture in colours is held in memory."""
    kind = np.asarray(image.crop((0, 0, 1, 1))).dtype if image.mode.startswith("I") else np.uint8
    grey = np.empty((image.height, image.width), kind)
    for top in range(0, image.height, _STRIP_ROWS):
        rows = grey[top : top + _STRIP_ROWS]
        rows[:] = _grey_strip(image.crop((0, top, image.width, top + len(rows))))
    return grey


def _grey_strip(image: Image.Image) -> NDArray[np.generic]:
    if image.mode.startswith("I"):  # 16-bit grey
        return np.asarray(image)
    if image.mode in {"LA", "PA", "RGBA", "La", "RGBa"} or "transparency" in image.info:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")
    return np.asarray(image.convert("L"))


def _upright(grey: NDArray[np.generic], orientation: int) -> NDArray[np.generic]:
    """Turn and mirror as an EXIF orientation says; one that is none changes nothing."""
    turned = Image.fromarray(grey)
    turned.getexif()[ExifTags.Base.Orientation] = orientation
    return np.asarray(ImageOps.exif_transpose(turned))
