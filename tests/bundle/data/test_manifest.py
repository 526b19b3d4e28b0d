"""Parts are split by patient, stratified by kind, and determined by the seed."""

import csv
import random
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scripts.data.datasets import COHORTS, Radiograph, read_folder
from scripts.data.manifest import (
    PARTS,
    all_sets,
    assign_parts,
    changed_files,
    load_rows,
    public_sets,
    read_manifest,
    rows_of_part,
    training_rows,
    write_manifest,
)
from synthetic.objects import make_cr, make_dx


def rows_of(patients: int, images: int, cohorts: tuple[str, ...] = ("a",)) -> list[Radiograph]:
    """`patients` of each kind and cohort with `images` each, none of them alike."""
    return [
        Radiograph(
            image=f"{cohort}-{kind}-{patient}-{image}",
            label=float(kind != "normal"),
            patient=f"{cohort}-{kind}-{patient}",
            cohort=cohort,
            kind=kind,
            sha256=f"{cohort}-{kind}-{patient}-{image}",
        )
        for cohort in cohorts
        for kind in ("normal", "bacteria", "virus")
        for patient in range(patients)
        for image in range(images)
    ]


def parts_by_patient(rows: list[Radiograph]) -> dict[str, set[str]]:
    parts = defaultdict(set)
    for row in rows:
        parts[row["patient"]].add(row["part"])
    return parts


def test_no_patient_is_in_two_parts_and_every_radiograph_is_in_one() -> None:
    rows = rows_of(patients=40, images=3, cohorts=("a", "b"))
    found = assign_parts(rows, seed=5)
    assert all(len(parts) == 1 for parts in parts_by_patient(found).values())
    assert sorted(row["image"] for row in found) == sorted(row["image"] for row in rows)
    assert {row["part"] for row in found} == set(PARTS)


def test_a_patient_of_two_kinds_labels_and_cohorts_is_one_patient() -> None:
    rows = rows_of(patients=20, images=2, cohorts=("a", "b"))
    for row in rows:
        row["patient"] = row["patient"].split("-")[-1]  # 20 numbers, each in both and all of them
    found = parts_by_patient(assign_parts(rows, seed=5))
    assert len(found) == 20
    assert all(len(parts) == 1 for parts in found.values())


def test_each_part_has_its_share_of_every_kind_in_every_cohort() -> None:
    found = assign_parts(rows_of(patients=100, images=1, cohorts=("a", "b")), seed=5)
    counted = Counter((row["part"], row["cohort"], row["kind"]) for row in found)
    for cohort in ("a", "b"):
        for kind in ("normal", "bacteria", "virus"):
            assert counted["validation", cohort, kind] == 15
            assert [counted[part, cohort, kind] for part in PARTS[1:]] == [17] * 5


def test_few_patients_are_distributed_evenly_over_the_folds() -> None:
    found = assign_parts(rows_of(patients=7, images=1), seed=5)
    counted = Counter(row["part"] for row in found if row["part"] != "validation")
    assert max(counted.values()) - min(counted.values()) <= 1


def test_the_parts_depend_on_the_seed_and_not_on_the_order() -> None:
    rows = rows_of(patients=40, images=2)
    mixed = random.Random(1).sample(rows, len(rows))
    by_image = [
        {row["image"]: row["part"] for row in assign_parts(given, seed=5)}
        for given in (rows, mixed)
    ]
    assert by_image[0] == by_image[1]
    assert by_image[0] != {row["image"]: row["part"] for row in assign_parts(rows, seed=6)}


def test_a_manifest_is_written_and_read_unchanged(tmp_path: Path) -> None:
    rows = assign_parts(rows_of(patients=10, images=1), seed=5)
    for row in rows:
        row["image"] = str(tmp_path / "pictures" / f'{row["image"]}, "quoted".png')
    write_manifest(rows, tmp_path / "deep" / "manifest.csv")
    found = load_rows("no folder", tmp_path / "deep" / "manifest.csv")
    assert [Path(row["image"]).resolve() for row in found] == [Path(row["image"]) for row in rows]
    assert [{**row, "image": ""} for row in found] == [{**row, "image": ""} for row in rows]
    assert str(tmp_path) not in (tmp_path / "deep" / "manifest.csv").read_text()


def test_a_csv_that_is_not_a_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("image,label\na,1\n")
    with pytest.raises(ValueError, match="is not a manifest: it has no column cohort"):
        read_manifest(tmp_path / "list.csv")


def test_training_uses_every_fold_but_the_one_held_out_and_neither_validation_nor_test() -> None:
    rows = assign_parts(rows_of(patients=40, images=1, cohorts=("a", "b")), seed=5)
    rows.append(Radiograph(**{**rows[0], "part": "test"}))
    assert {row["part"] for row in training_rows(rows)} == set(PARTS[1:])
    held = training_rows(rows, held_out="fold-2", cohorts=["b"])
    assert {row["part"] for row in held} == {"fold-0", "fold-1", "fold-3", "fold-4"}
    assert {row["cohort"] for row in held} == {"b"}
    seen = {row["image"] for row in training_rows(rows, held_out="fold-2")}
    asked = {row["image"] for row in rows_of_part(rows, "fold-2")}
    assert asked
    assert not seen & asked


def test_only_the_cohort_named_is_repeated() -> None:
    rows = assign_parts(rows_of(patients=20, images=1, cohorts=("a", "b")), seed=5)
    once, twice = training_rows(rows), training_rows(rows, repeats={"b": 2})
    counted = Counter(row["image"] for row in twice)
    assert {counted[row["image"]] for row in once if row["cohort"] == "a"} == {1}
    assert {counted[row["image"]] for row in once if row["cohort"] == "b"} == {2}


def test_a_part_is_limited_to_the_cohorts_named() -> None:
    rows = assign_parts(rows_of(patients=20, images=1, cohorts=("a", "b")), seed=5)
    assert {row["cohort"] for row in rows_of_part(rows, "validation")} == {"a", "b"}
    only = rows_of_part(rows, "validation", cohorts=["a"])
    assert only
    assert {(row["cohort"], row["part"]) for row in only} == {("a", "validation")}
    assert rows_of_part(rows, "test") == []


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"held_out": "fold-5"}, "no radiograph is in fold-5"),
        ({"held_out": "0"}, "no radiograph is in 0"),
        ({"cohorts": ["adults"]}, "no radiograph to train on of the cohorts .'adults'."),
    ],
)
def test_a_training_without_radiographs_is_refused(asked: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        training_rows(assign_parts(rows_of(patients=20, images=1), seed=5), **asked)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Synthetic images in the layout of the public sets, no two alike."""
    chance = np.random.default_rng(4)
    names = {
        "pediatric/train/NORMAL/IM-{:04}-0001.png": 40,
        "pediatric/train/PNEUMONIA/person{}_virus_1.png": 40,
        "pediatric/test/NORMAL/IM-{:04}-0001.png": 2,
        "pediatric/test/PNEUMONIA/person{}_virus_1.png": 2,
        "adult/NORMAL/{:08}_001.png": 40,
        "adult/PNEUMONIA/{:08}_002.png": 40,
    }
    for name, count in names.items():
        for number in range(count):
            path = tmp_path / name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(chance.integers(0, 255, (4, 4)).astype("u1")).save(path)
    return tmp_path


def test_the_official_test_set_is_complete_and_in_no_other_part(pictures: Path) -> None:
    test = pictures / "pediatric" / "test"
    twin = test / "NORMAL" / "IM-0009-0001.png"  # a copy within the test set stays,
    twin.write_bytes((test / "NORMAL" / "IM-0000-0001.png").read_bytes())
    leak = pictures / "pediatric" / "train" / "PNEUMONIA" / "person900_virus_1.png"
    leak.write_bytes((test / "PNEUMONIA" / "person1_virus_1.png").read_bytes())  # one outside goes
    rows = public_sets(pictures)
    tested = rows_of_part(rows, "test")
    assert sorted(row["image"] for row in tested) == sorted(map(str, test.glob("*/*")))
    outside = [row for row in rows if row["part"] != "test"]
    assert {row["part"] for row in outside} == set(PARTS)
    assert not {row["sha256"] for row in outside} & {row["sha256"] for row in tested}
    assert len(outside) == 160


def test_missing_sets_are_left_out_and_an_error_names_data_dir_without_any(
    pictures: Path, tmp_path: Path
) -> None:
    rows = load_rows(pictures / "pediatric" / "..")
    assert {row["cohort"] for row in rows} == set(COHORTS)
    (pictures / "adult").rename(tmp_path / "elsewhere")
    assert {row["cohort"] for row in public_sets(pictures)} == {"pediatric"}
    with pytest.raises(FileNotFoundError, match="set data_dir"):
        public_sets(tmp_path / "elsewhere")


def manifest(bundle: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.data.manifest", *map(str, options)],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_writes_the_parts_of_a_folder_and_detects_changed_files(
    bundle: Path, pictures: Path
) -> None:
    output = pictures / "manifest.csv"
    done = manifest(bundle, output, "--data_dir", pictures)
    assert done.returncode == 0, done.stderr
    assert "test pediatric: 4 images, 2 with pneumonia, 4 patients" in done.stdout
    listed = {row["image"]: row["part"] for row in read_manifest(output)}
    assert listed == {row["image"]: row["part"] for row in all_sets(pictures)}
    assert manifest(bundle, output, "--data_dir", pictures, "--shipped").returncode == 0
    wanted = {row["image"]: row["part"] for row in public_sets(pictures)}
    assert {row["image"]: row["part"] for row in read_manifest(output)} == wanted
    assert listed.keys() == wanted.keys()

    assert "unchanged" in manifest(bundle, output, "--check").stdout
    one, other = (Path(image) for image in list(wanted)[:2])
    one.unlink()
    other.write_bytes(b"something else")
    assert changed_files(read_manifest(output)) == [str(one), str(other)]
    done = manifest(bundle, output, "--check")
    assert done.returncode == 1
    assert done.stderr == f"2 files are missing or changed, the first is {one}\n"


def test_the_command_writes_the_parts_of_a_hospitals_dicom_files(
    bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "archive").mkdir()
    with (tmp_path / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label"])
        for number in range(80):
            dataset = (make_cr if number % 2 else make_dx)(rows=16, columns=16)
            dataset.PatientID = f"P{number // 4}"  # four files each, made by turns with 0 and 1
            dataset.save_as(tmp_path / "archive" / f"{number}.dcm", enforce_file_format=True)
            writer.writerow([f"archive/{number}.dcm", number % 2])
        writer.writerow(["archive/0.dcm", 0])
        writer.writerow(["archive/1.dcm", 0])
    done = manifest(bundle, tmp_path / "manifest.csv", "--list", tmp_path / "list.csv")
    assert done.returncode == 0, done.stderr
    assert "4 of 82 left out" not in done.stdout
    assert "3 of 82 left out" in done.stdout  # a copy, and two that contradict each other
    rows = read_manifest(tmp_path / "manifest.csv")
    assert {row["part"] for row in rows} == set(PARTS)
    assert len(parts_by_patient(rows)) == 20
    assert all(len(parts) == 1 for parts in parts_by_patient(rows).values())
    assert "P1" not in (tmp_path / "manifest.csv").read_text()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("image,label\nmissing.dcm,1\n", "line 2: there is no file"),
        ("image,label\nlist.csv,yes\n", "line 2: expected image and label, and the label 0 or 1"),
        ("image,label\nlist.csv,1\n", "too few patients: validation, fold-0"),
        (None, "No such file"),
    ],
)
def test_an_invalid_list_gives_one_line_and_exit_status_1(
    bundle: Path, tmp_path: Path, text: str | None, complaint: str
) -> None:
    if text:
        (tmp_path / "list.csv").write_text(text)
    done = manifest(bundle, tmp_path / "manifest.csv", "--list", tmp_path / "list.csv")
    assert done.returncode == 1
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "manifest.csv").exists()


@pytest.mark.data
def test_the_public_sets_have_the_documented_parts(radiographs: Path) -> None:
    rows = public_sets(radiographs)
    counted = Counter((row["part"], row["cohort"]) for row in rows)
    ill = Counter((row["part"], row["cohort"]) for row in rows if row["label"])
    patients = {
        part: len({row["patient"] for row in rows if row["part"] == part})
        for part in (*PARTS, "test")
    }
    assert {key: (counted[key], ill[key]) for key in counted} == {
        ("validation", "pediatric"): (803, 608),
        ("fold-0", "pediatric"): (885, 656),
        ("fold-1", "pediatric"): (925, 673),
        ("fold-2", "pediatric"): (836, 601),
        ("fold-3", "pediatric"): (878, 664),
        ("fold-4", "pediatric"): (863, 648),
        ("test", "pediatric"): (624, 390),
        ("validation", "adult"): (68, 31),
        ("fold-0", "adult"): (85, 45),
        ("fold-1", "adult"): (83, 38),
        ("fold-2", "adult"): (84, 45),
        ("fold-3", "adult"): (85, 43),
        ("fold-4", "adult"): (79, 36),
    }
    assert patients == {
        "validation": 444,
        "fold-0": 505,
        "fold-1": 504,
        "fold-2": 504,
        "fold-3": 504,
        "fold-4": 504,
        "test": 404,
    }


@pytest.mark.data
def test_the_public_sets_are_split_by_patient_and_without_copies(radiographs: Path) -> None:
    rows = public_sets(radiographs)
    outside = [row for row in rows if row["part"] != "test"]
    assert all(len(parts) == 1 for parts in parts_by_patient(outside).values())
    assert len({row["sha256"] for row in outside}) == len(outside)
    found = [
        row
        for cohort, folder in COHORTS.items()
        for row in read_folder(radiographs / folder, cohort)
    ]
    assert (len(found), len(outside)) == (5701, 5674)
    assert {row["patient"] for row in outside} == {row["patient"] for row in found}  # none tied


def lines_of(rows: list[Radiograph]) -> list[str]:
    kinds = ("normal", "bacteria", "virus", "pneumonia")
    lines = []
    for part in (*PARTS, "test"):
        for cohort in COHORTS:
            group = [row for row in rows if (row["part"], row["cohort"]) == (part, cohort)]
            counted = Counter(row["kind"] for row in group)
            numbers = [len(group), *(counted[kind] for kind in kinds)]
            patients = len({row["patient"] for row in group})
            if group:
                lines.append(
                    f"| {part} | {cohort} | {' | '.join(map(str, numbers))} | {patients} |"
                )
    return lines


@pytest.mark.data
def test_the_datasheet_counts_what_there_is(radiographs: Path, bundle: Path) -> None:
    said = (bundle.parent / "docs" / "datasheet.md").read_text()
    block = said.partition("<!-- parts -->")[2].partition("<!-- end of parts -->")[0]
    rows = public_sets(radiographs)
    assert block.strip().splitlines()[2:] == lines_of(rows)

    said = " ".join(said.split())
    outside = [row for row in rows if row["part"] != "test"]
    inside = {row["patient"] for row in rows if row["part"] == "test"}
    shared = {row["patient"] for row in outside} & inside
    persons = [patient for patient in shared if patient.startswith("person")]
    assert f"{len(shared)} patient numbers, {len(persons)} of `person`" in said
    kinds = defaultdict(set)
    for row in outside:
        kinds[row["patient"]].add(row["kind"])
    people = {patient for patient in kinds if patient.startswith("person")}
    both = [patient for patient in people if len(kinds[patient]) == 2]
    assert f"{len(both)} of the {len(people):,} `person` numbers" in said
    adults = [p for p, found in kinds.items() if found == {"normal", "pneumonia"}]
    assert f"{len(adults)} patients have radiographs of both labels" in said


@pytest.mark.data
def test_the_datasheet_counts_the_copies(radiographs: Path, bundle: Path) -> None:
    said = " ".join((bundle.parent / "docs" / "datasheet.md").read_text().split())
    groups = {}
    for folder in ("pediatric/train", "adult", "pediatric/test"):
        found = read_folder(radiographs / folder, "any")
        counted = Counter(row["sha256"] for row in found)
        groups[folder] = sum(count > 1 for count in counted.values())
        ill = sum(row["label"] == 1 for row in found)
        line = f"| `{folder}` | {len(found):,} | {len(found) - ill:,} + {ill:,} |"
        assert line in said
    assert f"{groups['pediatric/train'] + groups['adult']} groups of byte-identical files" in said
    assert f"({groups['pediatric/train']} of children, {groups['adult']} of adults)" in said
    assert f"and {groups['pediatric/test']} within it" in said
