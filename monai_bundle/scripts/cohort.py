"""Which radiographs belong to which set: by patient, each once, the same for the same seed."""

import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypedDict

LABELS: Final = {"NORMAL": 0.0, "PNEUMONIA": 1.0}
_PEDIATRIC_PNEUMONIA: Final = re.compile(r"^(person\d+)_")
_PEDIATRIC_NORMAL: Final = re.compile(r"(IM-\d+)-")
_ADULT: Final = re.compile(r"^(\d{8})_")


class Radiograph(TypedDict):
    """One row of a set: where the pixels are, 1.0 for pneumonia, and whose they are."""

    image: str
    label: float
    patient: str


def patient_of(name: str) -> str:
    """Give the patient that a published file name carries; without one, the name stands alone.

    `NORMAL2-IM-0385-0001` and `IM-0385-0001` count as one patient: whether they are is not
    published, and a split must not depend on it.
    """
    for pattern in (_PEDIATRIC_PNEUMONIA, _PEDIATRIC_NORMAL, _ADULT):
        if match := pattern.search(name):
            return match[1]
    return Path(name).stem


def read_cohort(folder: str | Path) -> list[Radiograph]:
    """List `folder`/{NORMAL,PNEUMONIA} in the order of the names."""
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: set data_dir to the unpacked radiographs")
    return [
        Radiograph(image=str(path), label=label, patient=patient_of(path.name))
        for kind, label in LABELS.items()
        for path in sorted((root / kind).iterdir())
    ]


def without_copies(rows: Iterable[Radiograph]) -> list[Radiograph]:
    """Give byte-identical radiographs once, and those whose labels contradict each other never."""
    by_content: dict[str, list[Radiograph]] = defaultdict(list)
    for row in rows:
        by_content[hashlib.sha256(Path(row["image"]).read_bytes()).hexdigest()].append(row)
    return [
        copies[0] for copies in by_content.values() if len({row["label"] for row in copies}) == 1
    ]


def split(
    rows: Iterable[Radiograph], part: str, *, validation_share: float, seed: int
) -> list[Radiograph]:
    """Give the "train" or the "validation" part of `rows`, drawn by patient within each label."""
    if part not in {"train", "validation"}:
        raise ValueError(f"part must be train or validation, not {part}")
    chosen: list[Radiograph] = []
    rows = list(rows)
    for label in sorted({row["label"] for row in rows}):
        of_label = [row for row in rows if row["label"] == label]
        patients = sorted({row["patient"] for row in of_label})
        random.Random(seed).shuffle(patients)
        held_out = set(patients[: round(validation_share * len(patients))])
        chosen += [row for row in of_label if (row["patient"] in held_out) == (part != "train")]
    return chosen


def cohort(
    data_dir: str | Path, part: str, *, validation_share: float = 0.15, seed: int = 0
) -> list[Radiograph]:
    """Give one set by name: train, validation (both of pediatric/train), test or adult.

    Copies are dropped from what is trained and chosen on; test and adult are given whole, so that
    their figures compare with what others publish.
    """
    root = Path(data_dir)
    if part == "test":
        return read_cohort(root / "pediatric" / "test")
    if part == "adult":
        return read_cohort(root / "adult")
    rows = without_copies(read_cohort(root / "pediatric" / "train"))
    return split(rows, part, validation_share=validation_share, seed=seed)
