from pathlib import Path

import pytest
from scripts.cohort import Radiograph, cohort, patient_of, split, without_copies


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person1000_bacteria_2931.jpeg", "person1000"),
        ("person1000_virus_1681.jpeg", "person1000"),
        ("IM-0115-0001.jpeg", "IM-0115"),
        ("IM-0497-0001-0002.jpeg", "IM-0497"),
        ("NORMAL2-IM-0385-0001.jpeg", "IM-0385"),
        ("00000061_012.jpeg", "00000061"),
        ("something_else.png", "something_else"),
    ],
)
def test_the_patient_is_read_from_the_published_name(name: str, patient: str) -> None:
    assert patient_of(name) == patient


def rows_of(patients: int, images: int) -> list[Radiograph]:
    return [
        Radiograph(image=f"{label}-{patient}-{image}", label=label, patient=f"{label}-{patient}")
        for label in (0.0, 1.0)
        for patient in range(patients)
        for image in range(images)
    ]


def test_no_patient_is_on_both_sides_of_the_split_and_every_image_is_on_one() -> None:
    rows = rows_of(patients=40, images=3)
    parts = [split(rows, part, validation_share=0.15, seed=5) for part in ("train", "validation")]
    owners = [{row["patient"] for row in part} for part in parts]
    assert not owners[0] & owners[1]
    assert sorted(row["image"] for part in parts for row in part) == sorted(
        row["image"] for row in rows
    )
    assert [sum(row["label"] == label for row in parts[1]) for label in (0, 1)] == [18, 18]


def test_the_split_depends_on_the_seed_alone() -> None:
    rows = rows_of(patients=40, images=1)
    first = split(rows, "validation", validation_share=0.15, seed=5)
    turned = split(reversed(rows), "validation", validation_share=0.15, seed=5)
    assert {row["image"] for row in first} == {row["image"] for row in turned}
    assert first != split(rows, "validation", validation_share=0.15, seed=6)


def test_copies_count_once_and_contradictions_never(tmp_path: Path) -> None:
    rows = []
    for name, content, label in [
        ("a", b"1", 0.0),
        ("b", b"1", 0.0),
        ("c", b"2", 1.0),
        ("d", b"3", 0.0),
        ("e", b"3", 1.0),
    ]:
        (tmp_path / name).write_bytes(content)
        rows.append(Radiograph(image=str(tmp_path / name), label=label, patient=name))
    assert [row["patient"] for row in without_copies(rows)] == ["a", "c"]


def test_a_missing_folder_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="set data_dir"):
        cohort(tmp_path, "train")


@pytest.mark.data
def test_the_sets_are_those_of_the_model_card(radiographs: Path) -> None:
    sets = {
        part: cohort(radiographs, part, seed=20240611)
        for part in ("train", "validation", "test", "adult")
    }
    counted = {part: (len(rows), sum(row["label"] for row in rows)) for part, rows in sets.items()}
    assert counted == {
        "train": (4396, 3250),
        "validation": (794, 600),
        "test": (624, 390),
        "adult": (485, 238),
    }
    chosen = {row["image"] for part in ("train", "validation") for row in sets[part]}
    assert not any("/test/" in image or "/adult/" in image for image in chosen)
