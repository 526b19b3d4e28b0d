"""Which radiographs there are: the layouts of the public sets and a hospital's own list."""

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Required, TypedDict

import pydicom

from scripts.network.weights import sha256_of
from scripts.preprocessing.quiet_decoders import quiet

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
    """List `folder`/{NORMAL,PNEUMONIA} in the order of the names; hidden files are not of it.

    Raises FileNotFoundError for a folder that is not there.
    """
    root = Path(folder)
    if missing := [name for name in LABELS if not (root / name).is_dir()]:
        raise FileNotFoundError(
            f"no folder {root / missing[0]}: set data_dir to the unpacked radiographs"
        )
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
        if path.is_file() and not path.name.startswith(".")  # unpacking leaves .DS_Store and ._NAME
    ]


def tied(rows: Iterable[Radiograph]) -> list[Radiograph]:
    """Give the rows with one patient for all the patients that share a byte-identical radiograph.

    Two numbers on one file are one person, or a mistake that nobody can undo: parted, the rest of
    their radiographs could stand on both sides of a split. The first of their names stands for all.
    """
    rows = list(rows)
    first: dict[str, str] = {}

    def named(patient: str) -> str:
        while (earlier := first.get(patient, patient)) != patient:
            patient = earlier
        return patient

    owners: dict[str, str] = {}
    for row in rows:
        one, other = sorted(
            (named(row["patient"]), named(owners.setdefault(row["sha256"], row["patient"])))
        )
        first[other] = one
    return [Radiograph(**{**row, "patient": named(row["patient"])}) for row in rows]


def without_copies(rows: Iterable[Radiograph]) -> list[Radiograph]:
    """Give byte-identical radiographs once, and those whose labels contradict each other never.

    Who has a copy in common becomes one patient, as `tied` does it.
    """
    by_content: dict[str, list[Radiograph]] = defaultdict(list)
    for row in tied(rows):
        by_content[row["sha256"]].append(row)
    return [
        copies[0] for copies in by_content.values() if len({row["label"] for row in copies}) == 1
    ]


def read_list(path: str | Path) -> list[Radiograph]:
    """Read a hospital's CSV of `image,label` and, where it has them, `patient` and `cohort`.

    Paths count from the folder of the CSV; labels are 0 and 1. Where the CSV names no patient, the
    DICOM header does, as a digest; a picture of neither stands alone.
    Raises ValueError, with its line, for a row that says something else.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:  # a spreadsheet's BOM
            rows = [
                _listed(row, Path(path).parent, f"{path}, line {line}")
                for line, row in enumerate(csv.DictReader(file), start=2)
            ]
    except (UnicodeDecodeError, csv.Error) as exc:
        raise ValueError(f"{path} is no CSV in UTF-8: {exc}") from exc
    if not rows:
        raise ValueError(f"{path} lists nothing: wants a line image,label and one for each file")
    return rows


def _listed(row: dict[str, str | None], root: Path, where: str) -> Radiograph:
    said = {name: (row.get(name) or "").strip() for name in ("image", "label", "patient", "cohort")}
    if said["label"] not in {"0", "1"} or not said["image"]:
        raise ValueError(f"{where}: wants image and label, the label 0 or 1")
    image, label = root / said["image"], float(said["label"])
    if not image.is_file():
        raise ValueError(f"{where}: there is no file {image}")
    return Radiograph(
        image=str(image),
        label=label,
        patient=said["patient"] or _patient_in(image) or said["image"],
        cohort=said["cohort"] or "hospital",
        kind="pneumonia" if label else "normal",
        sha256=sha256_of(image),
    )


def _patient_in(image: Path) -> str:
    """Give a digest of a DICOM file's Patient ID (0010,0020), so that no list spreads the ID."""
    try:
        with quiet():
            header = pydicom.dcmread(
                image, force=True, specific_tags=["PatientID"], stop_before_pixels=True
            )
            known = str(header.get("PatientID") or "")
    except Exception:  # noqa: BLE001 -- pictures and damaged headers fail in their own ways
        return ""
    return hashlib.sha256(known.encode()).hexdigest()[:16] if known else ""
