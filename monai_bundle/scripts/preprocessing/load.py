"""The transform that opens a radiograph of any supported file format."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform
from numpy.typing import NDArray

from scripts.preprocessing.age import read_age
from scripts.preprocessing.codestream import check_scans
from scripts.preprocessing.dicom import read_dicom, read_dicom_twice
from scripts.preprocessing.greyscale import Tones
from scripts.preprocessing.raster import read_raster

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"


class LoadRadiographd(MapTransform):
    """Replace each keyed path by its radiograph: 1xHxW float32 in [0, 1], bone bright.

    The content decides how a file is read, not its name: PNG and JPEG are recognised by their
    signature, everything else is read as DICOM, with or without a preamble.

    With a `spatial_size`, grey DICOM comes at this size, as `ResizeToShaped` would resize it, for
    a fraction of the time. A picture for people is wanted instead where an item named like the key
    with "_for_people" after it is true: it comes in the same tones and as large as it is, or where
    the item is a number, with at least so many pixels on its longer side if it has them.

    Where an item named like the key with "_picture" after it is given, a number, the radiograph is
    opened once for both: the item is replaced by the picture for people that this number asks for.

    The share of the image that is padding or behind a shutter, which is black, becomes an item
    named like the key with "_hidden" after it.

    An item named like a key with "_tones" after it is replaced too, if it is given: by
    `Tones.described` of the image, or None where it has none. An item named like a key with
    "_age_years" after it is replaced by the patient's age, if it is given; without it nothing of
    the patient is read.

    Args:
        keys: the items to load.
        spatial_size: (rows, columns) of the network's input; None leaves every image as it is.

    Raises:
        RadiographRefusedError: the content is not an image that the network can be given.
        OSError: the path cannot be opened.
    """

    def __init__(self, keys: KeysCollection, spatial_size: tuple[int, int] | None = None) -> None:
        super().__init__(keys)
        self.spatial_size = spatial_size and (int(spatial_size[0]), int(spatial_size[1]))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with each keyed path replaced by its image."""
        result = dict(data)
        for key in self.key_iterator(result):
            for_people = result.get(f"{key}_for_people")
            is_whole = self.spatial_size is None or bool(for_people)
            least = None if isinstance(for_people, bool) else for_people
            content = Path(result[key]).read_bytes()
            if (beside := result.get(f"{key}_picture")) is None:
                result[key], tones = _read(
                    content, self.spatial_size, is_whole=is_whole, least_picture=least
                )
            else:
                result[key], picture, tones = _read_twice(content, self.spatial_size, beside)
                result[f"{key}_picture"] = picture
            result[f"{key}_hidden"] = tones.hidden if tones else 0.0
            if f"{key}_tones" in result:
                result[f"{key}_tones"] = tones.described() if tones else None
            if f"{key}_age_years" in result:
                result[f"{key}_age_years"] = None if _is_raster(content) else read_age(content)
        return result


def read_radiograph(content: bytes) -> NDArray[np.float32]:
    """Decode a DICOM, PNG or JPEG file to its luminance, HxW in [0, 1]."""
    return _read(content)[0][0].numpy()


def _read(
    content: bytes,
    size: tuple[int, int] | None = None,
    *,
    is_whole: bool = True,
    least_picture: int | None = None,
) -> tuple[torch.Tensor, Tones | None]:
    if content.startswith(_JPEG):
        check_scans(content)
    if _is_raster(content):
        return torch.from_numpy(np.ascontiguousarray(read_raster(content)))[None], None
    return read_dicom(content, size, is_whole=is_whole, least_picture=least_picture)


def _read_twice(
    content: bytes, size: tuple[int, int] | None, least_picture: int
) -> tuple[torch.Tensor, torch.Tensor, Tones | None]:
    if _is_raster(content):
        image, _ = _read(content)
        return image, image, None
    return read_dicom_twice(content, size, least_picture)


def _is_raster(content: bytes) -> bool:
    return content.startswith((_PNG, _JPEG))
