"""The transform that opens a radiograph of any supported file format."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform
from numpy.typing import NDArray

from scripts.preprocessing.dicom import read_dicom_with_tones
from scripts.preprocessing.greyscale import Tones
from scripts.preprocessing.raster import read_raster

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"


class LoadRadiographd(MapTransform):
    """Replace each keyed path by its radiograph: 1xHxW float32 in [0, 1], bone bright.

    The content decides how a file is read, not its name: PNG and JPEG are recognised by their
    signature, everything else is read as DICOM, with or without a preamble.

    The share of the image that is padding or behind a shutter, which is black, becomes an item
    named like the key with "_hidden" after it.

    An item named like a key with "_tones" after it is replaced too, if it is given: by
    `Tones.described` of the image, or None where it has none.

    Raises:
        RadiographRefusedError: the content is not an image that the network can be given.
        OSError: the path cannot be opened.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with each keyed path replaced by its image."""
        result = dict(data)
        for key in self.key_iterator(result):
            luminance, tones = _read(Path(result[key]).read_bytes())
            result[key] = torch.from_numpy(np.ascontiguousarray(luminance))[None]
            result[f"{key}_hidden"] = tones.hidden if tones else 0.0
            if f"{key}_tones" in result:
                result[f"{key}_tones"] = tones.described() if tones else None
        return result


def read_radiograph(content: bytes) -> NDArray[np.float32]:
    """Decode a DICOM, PNG or JPEG file to its luminance, HxW in [0, 1]."""
    return _read(content)[0]


def _read(content: bytes) -> tuple[NDArray[np.float32], Tones | None]:
    if content.startswith((_PNG, _JPEG)):
        return read_raster(content), None
    return read_dicom_with_tones(content)
