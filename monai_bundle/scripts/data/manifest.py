"""Assign every radiograph to training, validation or test, and write the list as CSV.

Run `python -m scripts.data.manifest OUTPUT.CSV` from the bundle's folder. Every radiograph of all
sets (or of a hospital's own CSV) is listed with its SHA-256 and its part. Copies count once;
each patient is in one part only; each part has its share of every kind. The validation part
chooses epochs, weights, calibration and thresholds; the rest is five folds, each held out in turn;
nothing is chosen on the official test set, nor on the test split of RSNA. What else there is in
the sets of adults with an index: `scripts.data.joined_sets`. The shipped weights were trained on
`public_sets`, which a training without a manifest uses.
"""

import argparse
import csv
import math
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from scripts.checksum import sha256_of
from scripts.data.datasets import (
    COHORTS,
    LABELS,
    TEST,
    Radiograph,
    drop_copies,
    read_folder,
    read_list,
)
from scripts.data.joined_sets import EXCLUDED, MEASURING, join_sets, read_indexed_sets
from scripts.data.verdicts import judged_films, read_verdicts

SEED: Final = 20240611
VALIDATION_SHARE: Final = 0.15
FOLDS: Final = 5
UNTRAINED: Final = frozenset({EXCLUDED, MEASURING})  # parts that need not have both labels
PARTS: Final = ("validation", *(f"fold-{fold}" for fold in range(FOLDS)))
COLUMNS: Final = ("image", "label", "patient", "cohort", "kind", "sha256", "part")
DETAILS: Final = (
    *("source", "category", "basis", "findings", "film", "view", "sex", "age", "age_group"),
)


def assign_parts(
    rows: Iterable[Radiograph],
    *,
    seed: int = SEED,
    validation_share: float = VALIDATION_SHARE,
    folds: int = FOLDS,
) -> list[Radiograph]:
    """Return the radiographs with their part, "validation" or "fold-0" to "fold-4".

    Patients are drawn at random within their cohorts and kinds, so that each part has its share; a
    patient in two cohorts is one patient. The same seed gives the same parts in any order of rows.

    Args:
        rows: the radiographs, without copies.
        seed: of the random draw.
        validation_share: the share of the patients in the validation part, 0 to 1.
        folds: the number of folds.
    """
    by_patient: dict[str, list[Radiograph]] = defaultdict(list)
    for row in rows:
        by_patient[row["patient"]].append(row)
    parts: dict[str, str] = {}
    turn = 0
    for key, patients in sorted(_strata(by_patient).items()):
        random.Random(f"{seed} {key}").shuffle(patients)
        held_out = round(validation_share * len(patients))
        for index, patient in enumerate(patients):
            parts[patient] = "validation" if index < held_out else f"fold-{turn % folds}"
            turn += index >= held_out
    return [
        Radiograph(**{**row, "part": parts[patient]})
        for patient, images in by_patient.items()
        for row in images
    ]


def _strata(by_patient: Mapping[str, Iterable[Radiograph]]) -> dict[tuple[str, str], list[str]]:
    """Return the sorted patients of each combination of cohorts and kinds."""
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for patient, images in sorted(by_patient.items()):
        cohorts = "+".join(sorted({row.get("cohort", "") for row in images}))
        kinds = "+".join(sorted({row.get("kind", "") for row in images}))
        strata[cohorts, kinds].append(patient)
    return strata


def public_sets(data_dir: str | Path, *, seed: int = SEED) -> list[Radiograph]:
    """Return the radiographs of the public sets below `data_dir`; missing sets are left out.

    The official test set is complete, so that its figures compare with published ones; radiographs
    of the other sets that are byte-identical to one of its own are removed.
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
    in_test = {row["sha256"] for row in test}
    outside = [row for row in drop_copies(found) if row["sha256"] not in in_test]
    return assign_parts(outside, seed=seed) + [
        Radiograph(**{**row, "part": "test"}) for row in test
    ]


def all_sets(data_dir: str | Path, *, seed: int = SEED) -> list[Radiograph]:
    """Return the radiographs of every set below `data_dir`, see `scripts.data.joined_sets`.

    The radiographs of `public_sets` are among them, the children with the same parts.
    """
    indexed = read_indexed_sets(Path(data_dir))
    return join_sets(
        public_sets(data_dir, seed=seed), indexed, lambda rows: assign_parts(rows, seed=seed)
    )


def write_manifest(rows: Iterable[Radiograph], path: str | Path) -> None:
    """Write `rows` as CSV, with paths relative to the CSV's folder."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=(*COLUMNS, *DETAILS))
        writer.writeheader()
        for row in rows:
            image = os.path.relpath(row["image"], target.parent)
            label = int(row["label"]) if is_labelled(row) else ""
            writer.writerow({**row, "image": image, "label": label})


def read_manifest(path: str | Path) -> list[Radiograph]:
    """Read a CSV that `write_manifest` wrote.

    Raises:
        ValueError: a column is missing.
    """
    root = Path(path).parent
    with Path(path).open(newline="") as file:
        reader = csv.DictReader(file)
        if missing := set(COLUMNS) - set(reader.fieldnames or ()):
            raise ValueError(f"{path} is not a manifest: it has no column {min(missing)}")
        return [_read_row(row, root) for row in reader]


def _read_row(row: dict[str, str], root: Path) -> Radiograph:
    found: dict[str, Any] = {name: row[name] for name in COLUMNS}
    found |= {name: row[name] for name in DETAILS if row.get(name)}
    found["image"] = str(root / row["image"])
    found["label"] = float(row["label"]) if row["label"] else math.nan
    return cast("Radiograph", found)


def is_labelled(row: Radiograph) -> bool:
    """Return whether it is known if a radiograph shows pneumonia, or an opacity that may be one."""
    return not math.isnan(row["label"])


def changed_files(rows: Iterable[Radiograph]) -> list[str]:
    """Return the paths that are missing or whose SHA-256 is not the manifest's."""
    return [
        row["image"]
        for row in rows
        if not Path(row["image"]).is_file() or sha256_of(Path(row["image"])) != row["sha256"]
    ]


def load_rows(
    data_dir: str | Path, manifest: str | Path | None = None, *, seed: int = SEED
) -> list[Radiograph]:
    """Return the rows of `manifest`, or without one those of the public sets in `data_dir`."""
    return read_manifest(manifest) if manifest else public_sets(data_dir, seed=seed)


def training_rows(
    rows: Iterable[Radiograph],
    *,
    cohorts: Sequence[str] = (),
    held_out: str | None = None,
    repeats: dict[str, int] | None = None,
) -> list[Radiograph]:
    """Return the radiographs to train on: every fold but the one held out.

    Args:
        rows: a manifest's rows.
        cohorts: those to use; all of them if empty.
        held_out: the fold to leave out, or None.
        repeats: by cohort, how often its radiographs are listed; once by default.

    Raises:
        ValueError: no radiograph is in the fold to hold out, or none is left.
    """
    folds = [
        row
        for row in rows
        if row["part"].startswith("fold-")
        and is_labelled(row)
        and (not cohorts or row["cohort"] in cohorts)
    ]
    if held_out is not None and held_out not in {row["part"] for row in folds}:
        raise ValueError(f"no radiograph is in {held_out}: it would hold nothing out")
    chosen = [row for row in folds if row["part"] != held_out]
    if not chosen:
        raise ValueError(f"no radiograph to train on of the cohorts {list(cohorts) or 'named'}")
    return [row for row in chosen for _ in range((repeats or {}).get(row["cohort"], 1))]


def rows_of_part(
    rows: Iterable[Radiograph], part: str, *, cohorts: Sequence[str] = ()
) -> list[Radiograph]:
    """Return the labelled radiographs of one part, of the cohorts named or of all."""
    return [
        row
        for row in rows
        if row["part"] == part and is_labelled(row) and (not cohorts or row["cohort"] in cohorts)
    ]


def count_parts(rows: Iterable[Radiograph]) -> list[str]:
    """Return one line for each part and cohort: images, images with pneumonia, patients."""
    groups: dict[tuple[str, str], list[Radiograph]] = defaultdict(list)
    for row in rows:
        groups[row["part"], row["cohort"]].append(row)
    return [
        f"{part} {cohort}: {len(group)} images, {sum(row['label'] == 1 for row in group)} with "
        f"pneumonia, {len({row['patient'] for row in group})} patients"
        for (part, cohort), group in sorted(groups.items())
    ]


def parts_with_one_label(rows: Iterable[Radiograph]) -> list[str]:
    """Return the parts that lack one of the two labels."""
    labels: dict[str, set[float]] = {part: set() for part in PARTS}
    for row in rows:
        if row["part"] not in UNTRAINED and is_labelled(row):
            labels.setdefault(row["part"], set()).add(row["label"])
    return [part for part, found in labels.items() if len(found) < len(LABELS)]


def with_judged(
    rows: Sequence[Radiograph], judged: Iterable[Radiograph], seed: int = SEED
) -> list[Radiograph]:
    """Return the radiographs of sets, and with parts of their own those that readers judged.

    A film of the sets keeps its label and its part. Patients of a hospital are none of the sets'.
    """
    known = {row["sha256"] for row in rows}
    new = [row for row in drop_copies(judged) if row["sha256"] not in known]
    return [*rows, *assign_parts(new, seed=seed)]


def _judged(options: argparse.Namespace) -> list[Radiograph]:
    if options.images is None:
        raise ValueError("--verdicts needs --images, the folder of the films that were judged")
    found = judged_films(read_verdicts(options.verdicts), options.images)
    print(
        f"{len(found.rows)} films with a verdict; {found.undecided} on which the readers do not "
        f"decide and {found.missing} not in {options.images} left out"
    )
    return found.rows


def _run(options: argparse.Namespace) -> None:
    if options.check:
        if changed := changed_files(read_manifest(options.output)):
            raise ValueError(
                f"{len(changed)} files are missing or changed, the first is {changed[0]}"
            )
        print(f"{options.output}: every file exists and is unchanged")
        return
    judged = _judged(options) if options.verdicts else []
    if options.list:
        listed = [*read_list(options.list), *judged]
        rows = assign_parts(drop_copies(listed), seed=options.seed)
        left_out = len(listed) - len(rows)
        print(f"{left_out} of {len(listed)} left out: copies, or copies with different labels")
    else:
        list_sets = public_sets if options.shipped else all_sets
        rows = with_judged(list_sets(options.data_dir, seed=options.seed), judged, options.seed)
    if lacking := parts_with_one_label(rows):
        raise ValueError(f"too few patients: {', '.join(lacking)} would lack one of the labels")
    write_manifest(rows, options.output)
    print("\n".join(count_parts(rows)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a manifest, or check the files of one; on an error print one line and exit with 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--data_dir", type=Path, default=Path("../../shared/data"))
    parser.add_argument("--list", type=Path, help="a CSV of image,label[,patient,cohort] instead")
    parser.add_argument("--verdicts", type=Path, help="a CSV of lobar verdicts, to add their films")
    parser.add_argument("--images", type=Path, help="the folder of the films with a verdict")
    parser.add_argument("--shipped", action="store_true", help="the sets of the shipped weights")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--check", action="store_true", help="write nothing, compare the hashes")
    try:
        _run(parser.parse_args(arguments))
    except (OSError, ValueError) as exc:
        parser.exit(1, f"{exc}\n")


if __name__ == "__main__":
    main()
