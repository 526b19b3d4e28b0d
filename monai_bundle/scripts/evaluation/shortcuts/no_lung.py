"""Describe a radiograph without its lungs: tone, coarse layout, border, file and header.

No description is finer than 16x16 pixels, so that a model that sees one of them cannot see an
opacity. Whatever it tells apart, a network can learn instead of the disease.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate
from tqdm import tqdm

from scripts.data.datasets import Radiograph
from scripts.data.predictions import FloatArray
from scripts.preprocessing.intensity import scale_percentiles
from scripts.preprocessing.raster import read_raster
from scripts.refusal import RadiographRefusedError

BINS: Final = 32
SIDE: Final = 16  # of the thumbnail
FRAME_SIDE: Final = 32  # of the thumbnail that the border is taken from
BORDER: Final = 3  # of its pixels: the outer tenth
CORNER: Final = 7  # of its pixels: the outer fifth
INPUT_SIDE: Final = 224  # of the network
LAYOUT_SIDE: Final = 56  # of the layout that the thorax is measured on
_KEPT: Final = "films.npz"
_AGE_SCALE: Final = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """Descriptions of radiographs, as parallel arrays of one row each."""

    sha256: NDArray[np.str_]
    mean_grey: FloatArray
    histogram: FloatArray
    thumbnail: FloatArray
    border: FloatArray
    file_facts: FloatArray
    seen_histogram: FloatArray  # of what the network is given
    layout: NDArray[np.float16]  # N x 56 x 56 of what the network is given

    def take(self, names: Sequence[str]) -> "Described":
        """Return the rows of these SHA-256, in their order."""
        place = {str(name): index for index, name in enumerate(self.sha256)}
        index = [place[name] for name in names]
        return Described(**{key: getattr(self, key)[index] for key in self.__slots__})


def border_mask() -> NDArray[np.bool_]:
    """Return the mask of the border and the corners in a thumbnail of `FRAME_SIDE`."""
    mask = np.ones((FRAME_SIDE, FRAME_SIDE), dtype=bool)
    mask[BORDER:-BORDER, BORDER:-BORDER] = False
    for rows in (slice(None, CORNER), slice(-CORNER, None)):
        for columns in (slice(None, CORNER), slice(-CORNER, None)):
            mask[rows, columns] = True
    return mask


def describe(path: str | Path) -> dict[str, FloatArray] | None:
    """Return all descriptions of one PNG or JPEG, or None for one that is refused."""
    content = Path(path).read_bytes()
    try:
        grey = torch.from_numpy(np.ascontiguousarray(read_raster(content)))[None, None]
        seen = interpolate(grey, (INPUT_SIDE, INPUT_SIDE), mode="bilinear", antialias=True)
        seen = scale_percentiles(seen)
    except RadiographRefusedError:
        return None
    small, frame = (
        interpolate(grey, (side, side), mode="area")[0, 0].numpy().astype(float)
        for side in (SIDE, FRAME_SIDE)
    )
    layout = interpolate(seen, (LAYOUT_SIDE, LAYOUT_SIDE), mode="area")[0, 0]
    return {
        "mean_grey": np.array([float(grey.mean())]),
        "histogram": _histogram(grey.numpy(), (0.0, 1.0)),
        "thumbnail": small.ravel(),
        "border": frame[border_mask()],
        "file_facts": file_facts(path, len(content)),
        "seen_histogram": _histogram(seen.numpy(), (-1.0, 1.0)),
        "layout": layout.numpy(),
    }


def _histogram(values: NDArray[Any], span: tuple[float, float]) -> FloatArray:
    counted = np.histogram(values, BINS, span)[0] / values.size
    return np.sqrt(counted)  # so that rare tones count too


def file_facts(path: str | Path, size: int) -> FloatArray:
    """Return what a file says without its pixels: size, shape, bytes, JPEG quality, colour."""
    with Image.open(path) as image:
        width, height = image.size
        tables: Mapping[int, Sequence[int]] = getattr(image, "quantization", {})
        colours = len(image.getbands())
    steps = np.mean(tables[0]) if tables else 0.0  # larger steps: lower quality
    facts = [math.log(width), math.log(height), math.log(width / height), math.log(size)]
    facts += [size / (width * height), float(steps), float(colours), float(bool(tables))]
    return np.array([*facts, *(fact**2 for fact in facts)])


def header_facts(rows: Sequence[Radiograph]) -> FloatArray:
    """Return view, sex and age as a header states them, each with whether it does."""
    found = []
    for row in rows:
        age = row.get("age", "")
        years = float(age) / _AGE_SCALE if age.isdigit() else 0.0
        view, sex = row.get("view", ""), row.get("sex", "")
        facts = [view == "AP", view == "PA", sex == "M", sex == "F", years > 0, years, years**2]
        found.append([float(fact) for fact in facts])
    return np.array(found).reshape(len(rows), -1)


def describe_all(rows: Sequence[Radiograph], folder: Path) -> Described:
    """Return the descriptions of those rows that are not refused, kept in `folder`.

    The kept ones are used if they cover all rows.
    """
    path = folder / _KEPT
    wanted = {row["sha256"] for row in rows}
    if path.exists():
        with np.load(path) as kept:
            if wanted <= {*map(str, kept["sha256"]), *map(str, kept["refused"])}:
                return Described(**{name: kept[name] for name in Described.__slots__})
    names: list[str] = []
    refused: list[str] = []
    each: list[dict[str, FloatArray]] = []
    for row in tqdm(rows, desc="descriptions", mininterval=10, ncols=80):
        found = describe(row["image"])
        if found is None:
            refused.append(row["sha256"])
            continue
        names.append(row["sha256"])
        each.append(found)
    columns: dict[str, Any] = {name: np.stack([found[name] for found in each]) for name in each[0]}
    columns |= {"sha256": np.array(names), "layout": columns["layout"].astype(np.float16)}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(path, refused=np.array(refused, dtype=str), **columns)
    return Described(**columns)
