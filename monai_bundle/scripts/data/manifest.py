"""Who is trained on and who is asked: python -m scripts.data.manifest OUTPUT.CSV.

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

from scripts.data.datasets import (
    COHORTS,
    LABELS,
    TEST,
    Radiograph,
    read_folder,
    read_list,
    sha256_of,
    without_copies,
)

SEED: Final = 20240611
VALIDATION_SHARE: Final = 0.15
FOLDS: Final = 5
PARTS: Final = ("validation", *(f"fold-{fold}" for fold in range(FOLDS)))
COLUMNS: Final = ("image", "label", "patient", "cohort", "kind", "sha256", "part")


def drawn(
    rows: Iterable[Radiograph],
    *,
    seed: int = SEED,
    validation_share: float = VALIDATION_SHARE,
    folds: int = FOLDS,
) -> list[Radiograph]:
    """Give each radiograph its part: "validation" or "fold-0" to "fold-4", drawn by patient.

    Patients are drawn within their cohort and their kinds, so that each part has its share; one
    who is in two cohorts is one patient all the same. The same seed gives the same parts whatever
    the order of the rows.
    """
    owned: dict[str, list[Radiograph]] = defaultdict(list)
    for row in rows:
        owned[row["patient"]].append(row)
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for owner, images in owned.items():
        cohorts = "+".join(sorted({row.get("cohort", "") for row in images}))
        kinds = "+".join(sorted({row.get("kind", "") for row in images}))
        strata[cohorts, kinds].append(owner)
    parts: dict[str, str] = {}
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

    The official test set comes whole, so that its figures compare with what others publish; what
    it has in common with the other sets, byte for byte, leaves them.
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
    test = read_folder(root / TEST, "pediatric") if (root / TEST).is_dir() else []
    secret = {row["sha256"] for row in test}
    open_rows = [row for row in without_copies(found) if row["sha256"] not in secret]
    return drawn(open_rows, seed=seed) + [Radiograph(**{**row, "part": "test"}) for row in test]


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
    """Give back what `write_manifest` wrote; ValueError for a CSV that is something else."""
    root = Path(path).parent
    with Path(path).open(newline="") as file:
        reader = csv.DictReader(file)
        if missing := set(COLUMNS) - set(reader.fieldnames or ()):
            raise ValueError(f"{path} is no manifest: it has no column {min(missing)}")
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
            for row in reader
        ]


def changed_files(rows: Iterable[Radiograph]) -> list[str]:
    """Give the radiographs that are gone or no longer the bytes that the manifest names."""
    return [
        row["image"]
        for row in rows
        if not Path(row["image"]).is_file() or sha256_of(Path(row["image"])) != row["sha256"]
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
    Raises ValueError if nothing is held out where something should be, or if nothing is left.
    """
    folds = [
        row
        for row in rows
        if row["part"].startswith("fold-") and (not cohorts or row["cohort"] in cohorts)
    ]
    if held_out is not None and held_out not in {row["part"] for row in folds}:
        raise ValueError(f"no radiograph is in {held_out}: it would hold nothing out")
    chosen = [row for row in folds if row["part"] != held_out]
    if not chosen:
        raise ValueError(f"no radiograph to train on of the cohorts {list(cohorts) or 'named'}")
    return [row for row in chosen for _ in range((repeats or {}).get(row["cohort"], 1))]


def held_as(
    rows: Iterable[Radiograph], part: str, *, cohorts: Sequence[str] = ()
) -> list[Radiograph]:
    """Give the radiographs of one part, of the cohorts named, or of all."""
    return [
        row for row in rows if row["part"] == part and (not cohorts or row["cohort"] in cohorts)
    ]


def table(rows: Iterable[Radiograph]) -> list[str]:
    """Give one line for each part and cohort: images, of them with pneumonia, patients."""
    groups: dict[tuple[str, str], list[Radiograph]] = defaultdict(list)
    for row in rows:
        groups[row["part"], row["cohort"]].append(row)
    return [
        f"{part} {cohort}: {len(group)} images, {sum(row['label'] for row in group):.0f} with "
        f"pneumonia, {len({row['patient'] for row in group})} patients"
        for (part, cohort), group in sorted(groups.items())
    ]


def one_sided(rows: Iterable[Radiograph]) -> list[str]:
    """Give the parts, of those that must have both labels, that lack one."""
    labels: dict[str, set[float]] = {part: set() for part in PARTS}
    for row in rows:
        labels.setdefault(row["part"], set()).add(row["label"])
    return [part for part, found in labels.items() if len(found) < len(LABELS)]


def _write(given: argparse.Namespace) -> None:
    if given.check:
        if changed := changed_files(read_manifest(given.output)):
            raise ValueError(f"{len(changed)} files are gone or changed, the first is {changed[0]}")
        print(f"{given.output}: every file is there and unchanged")
        return
    if given.list:
        listed = read_list(given.list)
        rows = drawn(without_copies(listed), seed=given.seed)
        print(f"{len(listed) - len(rows)} of {len(listed)} left out: copies, or copies at odds")
    else:
        rows = public(given.data_dir, seed=given.seed)
    if lacking := one_sided(rows):
        raise ValueError(f"too few patients: {', '.join(lacking)} would lack one of the labels")
    write_manifest(rows, given.output)
    print("\n".join(table(rows)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a manifest, or check the files of one; exits with 1 and one line if it cannot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--data_dir", type=Path, default=Path("../../shared/data"))
    parser.add_argument("--list", type=Path, help="a CSV of image,label[,patient,cohort] instead")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--check", action="store_true", help="write nothing, compare the hashes")
    try:
        _write(parser.parse_args(arguments))
    except (OSError, ValueError) as exc:
        parser.exit(1, f"{exc}\n")


if __name__ == "__main__":
    main()
