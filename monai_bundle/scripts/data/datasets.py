"""List the radiographs of the public sets, or those of a hospital's CSV."""

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Required, TypedDict

import pydicom

from scripts.checksum import sha256_of
from scripts.preprocessing.quiet_decoders import suppress_warnings

LABELS: Final = {"NORMAL": 0.0, "PNEUMONIA": 1.0}  # by folder
COHORTS: Final = {"pediatric": "pediatric/train", "adult": "adult"}
TEST: Final = "pediatric/test"
_PEDIATRIC_PNEUMONIA: Final = re.compile(r"^(person\d+)_")
_PEDIATRIC_NORMAL: Final = re.compile(r"(IM-\d+)-")
_ADULT: Final = re.compile(r"^(\d{8})_")
_KIND: Final = re.compile(r"_(bacteria|virus)_")


class Radiograph(TypedDict, total=False):
    """One row of a set."""

    image: Required[str]  # path of the file
    label: Required[float]  # 1.0 for pneumonia, 0.0 for none, NaN where that is not known
    patient: Required[str]
    cohort: str
    kind: str  # normal, bacteria, virus or pneumonia, as far as it is published
    sha256: str
    part: str  # validation, test, the fold that holds it out, or one of `scripts.data.all_sets`
    source: str  # the set, e.g. rsna2018; of the sets of folders the name of the folder
    category: str  # of `scripts.data.categories`
    basis: str  # of the category
    findings: str  # as published, joined by "|"
    film: str  # NIH's number of the film, which another source may have too
    view: str  # PA, AP or LATERAL; empty where it is not published
    sex: str  # M or F; empty where it is not published
    age: str  # in years; empty where it is not published
    age_group: str


def patient_of(name: str) -> str:
    """Return the patient number in a published file name, or the name's stem without one.

    `NORMAL2-IM-0385-0001` and `IM-0385-0001` count as one patient: whether they are is not
    published, and a split must not depend on it.
    """
    for pattern in (_PEDIATRIC_PNEUMONIA, _PEDIATRIC_NORMAL, _ADULT):
        if match := pattern.search(name):
            return match[1]
    return Path(name).stem


def kind_of(name: str, label: float) -> str:
    """Return the kind of pneumonia in a published file name, "pneumonia" or "normal"."""
    match = _KIND.search(name)
    return match[1] if match else "pneumonia" if label else "normal"


def read_folder(folder: str | Path, cohort: str) -> list[Radiograph]:
    """List `folder`/{NORMAL,PNEUMONIA} in the order of the names, without hidden files.

    Raises:
        FileNotFoundError: one of the two folders does not exist.
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


def merge_patients(rows: Iterable[Radiograph]) -> list[Radiograph]:
    """Assign all patients who share a byte-identical radiograph one number, the first of theirs.

    Two numbers on one file are one person, or a mistake that nobody can resolve: kept apart, the
    rest of their radiographs could be on both sides of a split.
    """
    rows = list(rows)
    merged_into: dict[str, str] = {}

    def root(patient: str) -> str:
        while (earlier := merged_into.get(patient, patient)) != patient:
            patient = earlier
        return patient

    owners: dict[str, str] = {}
    for row in rows:
        first, second = sorted(
            (root(row["patient"]), root(owners.setdefault(row["sha256"], row["patient"])))
        )
        merged_into[second] = first
    return [Radiograph(**{**row, "patient": root(row["patient"])}) for row in rows]


def drop_copies(rows: Iterable[Radiograph]) -> list[Radiograph]:
    """Keep byte-identical radiographs once, and none of those whose labels contradict each other.

    Patients who share a copy are merged, see `merge_patients`.
    """
    by_content: dict[str, list[Radiograph]] = defaultdict(list)
    for row in merge_patients(rows):
        by_content[row["sha256"]].append(row)
    return [
        copies[0] for copies in by_content.values() if len({row["label"] for row in copies}) == 1
    ]


def read_list(path: str | Path) -> list[Radiograph]:
    """Read a hospital's CSV with the columns image, label and, optionally, patient and cohort.

    Paths are relative to the folder of the CSV; labels are 0 and 1. Where the CSV names no patient,
    a digest of the DICOM header's Patient ID does; other images are patients of their own.

    Raises:
        ValueError: a row cannot be used; the message names its line.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:  # a spreadsheet's BOM
            rows = [
                _read_row(row, Path(path).parent, f"{path}, line {line}")
                for line, row in enumerate(csv.DictReader(file), start=2)
            ]
    except (UnicodeDecodeError, csv.Error) as exc:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {exc}") from exc
    if not rows:
        raise ValueError(f"{path} is empty: expected a header image,label and one line per file")
    return rows


def _read_row(row: dict[str, str | None], root: Path, where: str) -> Radiograph:
    cells = {
        name: (row.get(name) or "").strip() for name in ("image", "label", "patient", "cohort")
    }
    if cells["label"] not in {"0", "1"} or not cells["image"]:
        raise ValueError(f"{where}: expected image and label, and the label 0 or 1")
    image, label = root / cells["image"], float(cells["label"])
    if not image.is_file():
        raise ValueError(f"{where}: there is no file {image}")
    return Radiograph(
        image=str(image),
        label=label,
        patient=cells["patient"] or patient_in_header(image) or cells["image"],
        cohort=cells["cohort"] or "hospital",
        kind="pneumonia" if label else "normal",
        sha256=sha256_of(image),
    )


def patient_in_header(image: Path) -> str:
    """Return a digest of a DICOM file's Patient ID (0010,0020), so that the ID is not copied."""
    try:
        with suppress_warnings():
            header = pydicom.dcmread(
                image, force=True, specific_tags=["PatientID"], stop_before_pixels=True
            )
            patient_id = str(header.get("PatientID") or "")
    except Exception:  # noqa: BLE001 -- pydicom raises anything on PNG, JPEG and damaged headers
        return ""
    return hashlib.sha256(patient_id.encode()).hexdigest()[:16] if patient_id else ""
