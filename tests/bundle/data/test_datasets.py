"""Patients, copies, and the lists of radiographs: public folders and a hospital's CSV."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scripts.data.datasets import (
    Radiograph,
    drop_copies,
    kind_of,
    merge_patients,
    patient_of,
    read_folder,
    read_list,
)
from synthetic.objects import make_cr


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
        ("my_person12_virus_3.jpeg", "my_person12_virus_3"),
        ("123456789_012.jpeg", "123456789_012"),
    ],
)
def test_the_patient_is_read_from_the_published_name(name: str, patient: str) -> None:
    assert patient_of(name) == patient


@pytest.mark.parametrize(
    ("name", "label", "kind"),
    [
        ("person1000_bacteria_2931.jpeg", 1.0, "bacteria"),
        ("person1000_virus_1681.jpeg", 1.0, "virus"),
        ("IM-0115-0001.jpeg", 0.0, "normal"),
        ("00000061_012.jpeg", 1.0, "pneumonia"),
        ("00000061_012.jpeg", 0.0, "normal"),
    ],
)
def test_the_kind_is_read_from_the_published_name(name: str, label: float, kind: str) -> None:
    assert kind_of(name, label) == kind


def test_a_folder_is_listed_by_label_and_name_without_hidden_files(
    tmp_path: Path,
) -> None:
    for name in ("NORMAL/IM-2-1.jpeg", "NORMAL/IM-1-1.jpeg", "PNEUMONIA/person3_virus_1.jpeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "NORMAL" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "NORMAL" / "._IM-1-1.jpeg").write_bytes(b"y")
    (tmp_path / "PNEUMONIA" / "folder").mkdir()
    rows = read_folder(tmp_path, "pediatric")
    assert [(row["patient"], row["label"], row["kind"]) for row in rows] == [
        ("IM-1", 0.0, "normal"),
        ("IM-2", 0.0, "normal"),
        ("person3", 1.0, "virus"),
    ]
    assert {row["cohort"] for row in rows} == {"pediatric"}
    assert rows[0]["sha256"] == hashlib.sha256(b"NORMAL/IM-1-1.jpeg").hexdigest()


@pytest.mark.parametrize("there", [(), ("NORMAL",)])
def test_a_missing_folder_says_what_to_set(tmp_path: Path, there: tuple[str, ...]) -> None:
    for name in there:
        (tmp_path / name).mkdir()
    with pytest.raises(FileNotFoundError, match="set data_dir"):
        read_folder(tmp_path, "adult")


def row(patient: str, content: str, label: float = 0.0, cohort: str = "a") -> Radiograph:
    return Radiograph(
        image=f"{patient}-{content}-{label}",
        label=label,
        patient=patient,
        sha256=content,
        cohort=cohort,
    )


def test_copies_are_kept_once_and_contradictory_ones_not_at_all() -> None:
    rows = [
        row("a", "1"),
        row("a", "1"),
        row("b", "2", label=1.0),
        row("c", "3", label=0.0),
        row("c", "3", label=1.0),
    ]
    assert [(kept["patient"], kept["sha256"]) for kept in drop_copies(rows)] == [
        ("a", "1"),
        ("b", "2"),
    ]


def test_patients_who_share_a_copy_are_one_patient_with_all_their_other_radiographs() -> None:
    rows = [row("c", "own"), row("c", "x"), row("b", "x"), row("b", "other"), row("d", "apart")]
    kept = drop_copies(rows)
    assert {kept_row["sha256"]: kept_row["patient"] for kept_row in kept} == {
        "own": "b",
        "x": "b",
        "other": "b",
        "apart": "d",
    }


def test_a_chain_of_copies_merges_its_patients_in_any_order() -> None:
    chain = [
        row("d", "1"),
        row("c", "1"),
        row("b", "2"),
        row("a", "2"),
        row("c", "3"),
        row("a", "3"),
    ]
    for rows in (chain, chain[::-1], chain[1::2] + chain[::2]):
        assert {tied_row["patient"] for tied_row in merge_patients(rows)} == {"a"}


def test_contradictory_copies_merge_their_patients_before_they_are_dropped() -> None:
    rows = [row("a", "x", label=0.0), row("b", "x", label=1.0), row("b", "1"), row("a", "2")]
    kept = drop_copies(rows)
    assert {kept_row["sha256"]: kept_row["patient"] for kept_row in kept} == {"1": "a", "2": "a"}


def test_copies_in_two_cohorts_merge_their_patients() -> None:
    rows = [row("a", "x", cohort="old"), row("b", "x", cohort="young"), row("b", "1")]
    assert {kept["patient"] for kept in drop_copies(rows)} == {"a"}


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """A folder with a DICOM file of patient LBR-1 and two pictures, for a list beside them."""
    dataset = make_cr()
    dataset.PatientID = "LBR-1"
    (tmp_path / "archive").mkdir()
    dataset.save_as(tmp_path / "archive" / "one", enforce_file_format=True)
    for name, level in (("archive/two.png", 10), ("three.png", 20)):
        Image.fromarray(np.full((8, 8), level, "u1")).save(tmp_path / name)
    return tmp_path


def listed(folder: Path, text: str) -> list[Radiograph]:
    path = folder / "list.csv"
    path.write_text(text)
    return read_list(path)


def test_paths_of_a_hospitals_list_are_relative_to_its_folder(hospital: Path) -> None:
    rows = listed(
        hospital,
        "image,label,patient,cohort\narchive/one,1,7,ward\narchive/two.png,0,8,\n"
        f"{hospital / 'three.png'},0,8,icu\n",
    )
    assert [Path(found["image"]).is_file() for found in rows] == [True] * 3
    assert [(found["label"], found["kind"]) for found in rows] == [
        (1.0, "pneumonia"),
        (0.0, "normal"),
        (0.0, "normal"),
    ]
    assert [(found["patient"], found["cohort"]) for found in rows] == [
        ("7", "ward"),
        ("8", "hospital"),
        ("8", "icu"),
    ]


def test_without_a_patient_column_a_digest_of_the_dicom_patient_id_is_used(
    hospital: Path,
) -> None:
    rows = listed(hospital, "label,image\n1,archive/one\n0,archive/two.png\n0,three.png\n")
    patients = [found["patient"] for found in rows]
    assert patients[0] == hashlib.sha256(b"LBR-1").hexdigest()[:16]
    assert patients[1:] == ["archive/two.png", "three.png"]


def test_the_patient_of_a_dicom_file_without_preamble_is_read(hospital: Path) -> None:
    content = (hospital / "archive" / "one").read_bytes()
    (hospital / "bare").write_bytes(content[132:])
    rows = listed(hospital, "image,label\narchive/one,1\nbare,1\n")
    assert rows[0]["patient"] == rows[1]["patient"]


def test_byte_order_mark_and_blanks_of_a_spreadsheet_are_ignored(hospital: Path) -> None:
    path = hospital / "list.csv"
    path.write_bytes("\ufeffimage,label,patient\r\n three.png , 1 , 5 \r\n".encode())
    assert [(found["label"], found["patient"]) for found in read_list(path)] == [(1.0, "5")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("image,label\nthree.png,2\n", "line 2: expected image and label, and the label 0 or 1"),
        ("image,label\nthree.png,0\nthree.png\n", "line 3: expected image and label"),
        ("image,label\n,1\n", "line 2: expected image and label"),
        ("image;label\nthree.png;1\n", "line 2: expected image and label"),
        ("image,label\narchive,1\n", "line 2: there is no file .*archive"),
        ("image,label\nfour.png,1\n", "line 2: there is no file .*four.png"),
        ("image,label\n", "is empty"),
        ("", "is empty"),
    ],
)
def test_an_invalid_row_is_refused_with_its_line(hospital: Path, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as raised:
        listed(hospital, text)
    assert "\n" not in str(raised.value)


def test_a_list_that_is_not_text_is_refused(hospital: Path) -> None:
    with pytest.raises(ValueError, match="is not a CSV file in UTF-8"):
        read_list(hospital / "three.png")
