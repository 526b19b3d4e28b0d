"""Who is trained on and who is asked: python -m scripts.manifest OUTPUT.CSV.

Every radiograph of the public sets (or of a hospital's own CSV) with its SHA-256 and its part.
Copies count once; a patient is in one part only; each part has its share of every kind. The
validation part chooses epochs, weights, calibration and thresholds; five folds of the rest take
turns at being held out; the official test set is nobody's to choose on.
"""

import argparse
import csv
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from scripts.cohort import COHORTS, TEST, Radiograph, read_folder, read_list, without_copies

SEED: Final = 20240611
VALIDATION_SHARE: Final = 0.15
FOLDS: Final = 5
COLUMNS: Final = ("image", "label", "patient", "cohort", "kind", "sha256", "part")


def drawn(
    rows: Iterable[Radiograph],
    *,
    seed: int = SEED,
    validation_share: float = VALIDATION_SHARE,
    folds: int = FOLDS,
) -> list[Radiograph]:
    """Give each radiograph its part: "validation" or "fold-0" to "fold-4", drawn by patient.

    Patients are drawn within their cohort and their kinds, so that each part has its share; the
    same seed gives the same parts whatever the order of the rows.
    """
    owned: dict[tuple[str, str], list[Radiograph]] = defaultdict(list)
    for row in rows:
        owned[row.get("cohort", ""), row["patient"]].append(row)
    strata: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for owner, images in owned.items():
        kinds = "+".join(sorted({row.get("kind", "") for row in images}))
        strata[owner[0], kinds].append(owner)
    parts: dict[tuple[str, str], str] = {}
    turn = 0
    for key in sorted(strata):
        patients = sorted(strata[key])
        random.Random(f"{seed} {key}").shuffle(patients)
        held_out = round(validation_share * len(patients))
        for index, owner in enumerate(patients):
            parts[owner] = "validation" if index < held_out else f"fold-{turn % folds}"
            turn += index >= held_out
    return [
        Radiograph(**{**row, "part": parts[owner]})
        for owner, images in owned.items()
        for row in images
    ]


def public(data_dir: str | Path, *, seed: int = SEED) -> list[Radiograph]:
    """Give the parts of the public sets below `data_dir`; those that are not there are left out.

    The official test set comes whole, so that its figures compare with what others publish.
    """
    root = Path(data_dir)
    found = [
        row
        for cohort, folder in COHORTS.items()
        if (root / folder).is_dir()
        for row in read_folder(root / folder, cohort)
    ]
    if not found:
        raise FileNotFoundError(f"no radiographs in {root}: set data_dir to the unpacked sets")
    rows = drawn(without_copies(found), seed=seed)
    if (root / TEST).is_dir():
        test = read_folder(root / TEST, "pediatric")
        rows += [Radiograph(**{**row, "part": "test"}) for row in test]
    return rows


def write_manifest(rows: Iterable[Radiograph], path: str | Path) -> None:
    """Write `rows` as CSV, their paths as seen from the CSV's folder."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        for row in rows:
            image = os.path.relpath(row["image"], target.parent)
            writer.writerow({**row, "image": image, "label": int(row["label"])})


def read_manifest(path: str | Path) -> list[Radiograph]:
    """Give back what `write_manifest` wrote."""
    root = Path(path).parent
    with Path(path).open(newline="") as file:
        return [
            Radiograph(
                image=str(root / row["image"]),
                label=float(row["label"]),
                patient=row["patient"],
                cohort=row["cohort"],
                kind=row["kind"],
                sha256=row["sha256"],
                part=row["part"],
            )
            for row in csv.DictReader(file)
        ]


def parts_of(
    data_dir: str | Path, manifest: str | Path | None = None, *, seed: int = SEED
) -> list[Radiograph]:
    """Give the rows of `manifest`, or of the public sets in `data_dir` where there is none."""
    return read_manifest(manifest) if manifest else public(data_dir, seed=seed)


def to_train(
    rows: Iterable[Radiograph],
    *,
    cohorts: Sequence[str] = (),
    held_out: str | None = None,
    repeats: dict[str, int] | None = None,
) -> list[Radiograph]:
    """Give the radiographs to train on: every fold but `held_out`, of the cohorts named, or all.

    `repeats` shows the radiographs of a small cohort more than once an epoch.
    """
    chosen = [
        row
        for row in rows
        if row["part"].startswith("fold-")
        and row["part"] != held_out
        and (not cohorts or row["cohort"] in cohorts)
    ]
    return [row for row in chosen for _ in range((repeats or {}).get(row["cohort"], 1))]


def held_as(
    rows: Iterable[Radiograph], part: str, *, cohorts: Sequence[str] = ()
) -> list[Radiograph]:
    """Give the radiographs of one part, of the cohorts named, or of all."""
    return [
        row for row in rows if row["part"] == part and (not cohorts or row["cohort"] in cohorts)
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--data_dir", type=Path, default=Path("../../shared/data"))
    parser.add_argument("--list", type=Path, help="a CSV of image,label[,patient,cohort] instead")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    write_manifest(
        drawn(without_copies(read_list(given.list)), seed=given.seed)
        if given.list
        else public(given.data_dir, seed=given.seed),
        given.output,
    )
