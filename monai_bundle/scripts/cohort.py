"""Which radiographs there are: the layouts of the public sets and a hospital's own list."""

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Required, TypedDict

LABELS: Final = {"NORMAL": 0.0, "PNEUMONIA": 1.0}
COHORTS: Final = {"pediatric": "pediatric/train", "adult": "adult"}
TEST: Final = "pediatric/test"
_PEDIATRIC_PNEUMONIA: Final = re.compile(r"^(person\d+)_")
_PEDIATRIC_NORMAL: Final = re.compile(r"(IM-\d+)-")
_ADULT: Final = re.compile(r"^(\d{8})_")
_KIND: Final = re.compile(r"_(bacteria|virus)_")


class Radiograph(TypedDict, total=False):
    """One row of a set: where the pixels are, 1.0 for pneumonia, and whose they are."""

    image: Required[str]
    label: Required[float]
    patient: Required[str]
    cohort: str
    kind: str  # normal, bacteria, virus or pneumonia, as far as it is published
    sha256: str
    part: str  # validation, test, or the fold that holds it out


def patient_of(name: str) -> str:
    """Give the patient that a published file name carries; without one, the name stands alone.

    `NORMAL2-IM-0385-0001` and `IM-0385-0001` count as one patient: whether they are is not
    published, and a split must not depend on it.
    """
    for pattern in (_PEDIATRIC_PNEUMONIA, _PEDIATRIC_NORMAL, _ADULT):
        if match := pattern.search(name):
            return match[1]
    return Path(name).stem


def kind_of(name: str, label: float) -> str:
    """Give what kind of pneumonia a published file name tells of."""
    match = _KIND.search(name)
    return match[1] if match else "pneumonia" if label else "normal"


def read_folder(folder: str | Path, cohort: str) -> list[Radiograph]:
    """List `folder`/{NORMAL,PNEUMONIA} in the order of the names."""
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: set data_dir to the unpacked radiographs")
    return [
        Radiograph(
            image=str(path),
            label=label,
            patient=patient_of(path.name),
            cohort=cohort,
            kind=kind_of(path.name, label),
            sha256=sha256_of(path),
        )
        for name, label in LABELS.items()
        for path in sorted((root / name).iterdir())
    ]


def sha256_of(path: Path) -> str:
    """Give a file's SHA-256 as 64 lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def without_copies(rows: Iterable[Radiograph]) -> list[Radiograph]:
    """Give byte-identical radiographs once, and those whose labels contradict each other never."""
    by_content: dict[str, list[Radiograph]] = defaultdict(list)
    for row in rows:
        by_content[row["sha256"]].append(row)
    return [
        copies[0] for copies in by_content.values() if len({row["label"] for row in copies}) == 1
    ]


def read_list(path: str | Path) -> list[Radiograph]:
    """Read a hospital's CSV of `image,label` and, where it has them, `patient` and `cohort`.

    Paths count from the folder of the CSV; labels are 0 and 1. Without a patient each radiograph
    stands alone. Raises ValueError, with its line, for a row that says something else.
    """
    root = Path(path).parent
    rows = []
    with Path(path).open(newline="") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            if row.get("label") not in {"0", "1"} or not row.get("image"):
                raise ValueError(f"{path}, line {line}: wants image and label, the label 0 or 1")
            image, label = root / row["image"], float(row["label"])
            if not image.is_file():
                raise ValueError(f"{path}, line {line}: there is no file {image}")
            rows.append(
                Radiograph(
                    image=str(image),
                    label=label,
                    patient=row.get("patient") or image.stem,
                    cohort=row.get("cohort") or "hospital",
                    kind="pneumonia" if label else "normal",
                    sha256=sha256_of(image),
                )
            )
    return rows
