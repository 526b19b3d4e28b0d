"""The transform that opens a radiograph of any supported file format."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform
from numpy.typing import NDArray

from scripts.preprocessing.dicom import read_dicom
from scripts.preprocessing.raster import read_raster

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"


class LoadRadiographd(MapTransform):
    """Replace each keyed path by its radiograph: 1xHxW float32 in [0, 1], bone bright.

    The content decides how a file is read, not its name: PNG and JPEG are recognised by their
    signature, everything else is read as DICOM, with or without a preamble.

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
            luminance = read_radiograph(Path(result[key]).read_bytes())
            result[key] = torch.from_numpy(np.ascontiguousarray(luminance))[None]
        return result


def read_radiograph(content: bytes) -> NDArray[np.float32]:
    """Decode a DICOM, PNG or JPEG file to its luminance, HxW in [0, 1]."""
    is_raster = content.startswith((_PNG, _JPEG))
    return read_raster(content) if is_raster else read_dicom(content)
