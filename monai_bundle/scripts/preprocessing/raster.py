"""The luminance of a PNG or JPEG radiograph."""

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from scripts.preprocessing.quiet_decoders import quiet
from scripts.refusal import Code, UnreadableRadiographError

SMALLEST_SIDE: Final = 64
LARGEST_SIDE: Final = 16384
LARGEST_AREA: Final = 100_000_000  # pixels; a 43x43 cm detector at 0.05 mm has 74 million

_SIXTEEN_BIT: Final = 65535.0
_EIGHT_BIT: Final = 255.0


def check_size(rows: int, columns: int) -> None:
    """Refuse a size that no radiograph has, before a byte of it is allocated."""
    sides_fit = all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (rows, columns))
    if not sides_fit or rows * columns > LARGEST_AREA:
        raise UnreadableRadiographError(Code.SIZE, f"{columns}x{rows} pixels")


def read_raster(content: bytes) -> NDArray[np.float32]:
    """Give the HxW luminance in [0, 1] of a PNG or JPEG, upright after its EXIF orientation.

    Transparency is laid on black, CMYK and palettes go through RGB (ITU-R 601-2 luma).
    Raises UnreadableRadiographError, and nothing else, for whatever is wrong with the bytes.
    """
    try:
        with quiet():  # check_size supersedes Pillow's own bomb warning
            return _luminance(content)
    except (UnreadableRadiographError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableRadiographError(Code.SIZE, "more pixels than Pillow allows") from error
    except Image.UnidentifiedImageError as error:
        raise UnreadableRadiographError(Code.PIXEL_FORMAT, "neither PNG nor JPEG") from error
    except Exception as error:  # a decoder fails in its own ways on damaged bytes
        raise UnreadableRadiographError(Code.PIXELS_UNREADABLE, "cannot be decoded") from error


def _luminance(content: bytes) -> NDArray[np.float32]:
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
        check_size(image.height, image.width)
        if getattr(image, "n_frames", 1) > 1:
            raise UnreadableRadiographError(Code.MULTI_FRAME, "an animated PNG")
        image.load()
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16-bit grey
            return np.asarray(upright, dtype=np.float32) / np.float32(_SIXTEEN_BIT)
        if upright.mode in {"LA", "PA", "RGBA", "La", "RGBa"} or "transparency" in upright.info:
            black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
            upright = Image.alpha_composite(black, upright.convert("RGBA")).convert("RGB")
        return np.asarray(upright.convert("L"), dtype=np.float32) / np.float32(_EIGHT_BIT)
