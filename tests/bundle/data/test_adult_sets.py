"""The sets with an index: what their findings teach, who is one person, which film is which."""

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scripts.data.adult_sets import AGE_GROUPS, age_group, read_covid, read_findings, read_lateral
from scripts.data.categories import RULES, Basis, Category, label_of, rule_of
from scripts.data.datasets import Radiograph
from scripts.data.joined_sets import is_rsna_test_patient
from scripts.data.manifest import (
    all_sets,
    is_labelled,
    parts_with_one_label,
    public_sets,
    read_manifest,
    rows_of_part,
    training_rows,
    write_manifest,
)
from scripts.data.near_duplicates import same_films, signature

COLUMNS = (
    *("source", "file", "patient", "findings", "view", "age", "sex", "nih_image", "rsna_class"),
    "google_airspace_opacity",
)
TEST_PATIENT = next(f"{n:08}" for n in range(1, 99) if is_rsna_test_patient(f"{n:08}"))
OTHER_PATIENT = next(f"{n:08}" for n in range(1, 99) if not is_rsna_test_patient(f"{n:08}"))
RSNA_TEST_OF_FIRST_14 = [3, 5]  # published once, never another
# a normal film of RSNA and the opacity after it, neither in the test split
NORMAL, OPACITY = next(
    (n, n + 1)
    for n in range(0, 90, 3)
    if not any(is_rsna_test_patient(f"9{each:07}") for each in (n, n + 1))
)


def picture(seed: int, size: int = 96) -> Image.Image:
    """A picture that no other seed resembles."""
    levels = np.random.default_rng(seed).integers(0, 255, (12, 12)).astype("u1")
    return Image.fromarray(levels).resize((size, size), Image.Resampling.BICUBIC)


def save(path: Path, image: Image.Image, quality: int = 75) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=quality)


def write_index(folder: Path, columns: Sequence[str], lines: Sequence[Mapping[str, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=columns, restval="")
        writer.writeheader()
        writer.writerows(lines)


def finding(source: str, name: str, patient: str, **cells: str) -> dict[str, str]:
    return {"source": source, "file": f"{source}/{name}.jpg", "patient": patient, **cells}


def rsna(name: str, patient: str, read_as: str = "Normal", **cells: str) -> dict[str, str]:
    return finding("rsna2018", name, patient, rsna_class=read_as, findings="Mass", **cells)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Small sets of every kind, each film drawn from noise."""
    lines = [
        rsna("held", TEST_PATIENT, view="PA", age="61", sex="F", nih_image="a_000.png"),
        rsna("held2", TEST_PATIENT, "Lung Opacity"),
        *(
            rsna(f"{n}", f"9{n:07}", read_as)
            for n in range(90)
            for read_as in [("Normal", "Lung Opacity", "No Lung Opacity / Not Normal")[n % 3]]
        ),
        finding("nih_emily", "same-person", TEST_PATIENT, findings="Mass"),
        finding("nih_emily", "infiltrate", OTHER_PATIENT, findings="Infiltration|Mass"),
        finding("nih_emily", "read", OTHER_PATIENT, findings="Infiltration"),
        finding("nih_ashok133", "nobody", "", findings="Effusion"),
        finding("nlm_shenzhen", "ill", "00000007", findings="Tuberculosis", view="PA"),
        finding("nlm_shenzhen", "well", "00000008", findings="No Finding", view="PA"),
    ]
    lines[-4]["google_airspace_opacity"] = "YES"
    folder = tmp_path / "adult_findings"
    write_index(folder, COLUMNS, lines)
    for seed, line in enumerate(lines):
        save(folder / line["file"], picture(seed))
    write_index(
        tmp_path / "adult_covid",
        ("file", "patient", "projection", "sex"),
        [{"file": "c.png", "patient": "00000007", "projection": "ap", "sex": "m"}],
    )
    save(tmp_path / "adult_covid" / "c.png", picture(500))
    write_index(tmp_path / "lateral", ("file", "licence"), [{"file": "l.png", "licence": "x"}])
    save(tmp_path / "lateral" / "l.png", picture(501))
    for number in range(40):
        for label, name in (("NORMAL", "IM-{:04}-0001.png"), ("PNEUMONIA", "person{}_virus_1.png")):
            seed = 1000 + number * 2 + (label == "NORMAL")
            save(tmp_path / "pediatric" / "train" / label / name.format(number), picture(seed))
            seed += 500
            save(tmp_path / "adult" / label / f"{number:08}_{seed}.png", picture(seed))
    return tmp_path


def by_name(rows: Sequence[Radiograph], source: str) -> dict[str, Radiograph]:
    return {Path(row["image"]).stem: row for row in rows if row["source"] == source}


def parts_by_patient(rows: Sequence[Radiograph]) -> dict[str, set[str]]:
    found = defaultdict(set)
    for row in rows:
        if row["part"] not in {"excluded", "measuring"}:
            found[row["patient"]].add(row["part"])
    return found


@pytest.mark.parametrize(
    ("row", "category", "basis"),
    [
        ({"source": "rsna2018", "rsna_class": "Lung Opacity"}, Category.OPACITY, Basis.READING),
        ({"source": "rsna2018", "rsna_class": "Normal"}, Category.NORMAL, Basis.READING),
        ({"findings": "Infiltration", "airspace_opacity": "NO"}, Category.OTHER, Basis.READING),
        ({"findings": "No Finding", "airspace_opacity": "YES"}, Category.OPACITY, Basis.READING),
        ({"findings": "No Finding", "airspace_opacity": "NO"}, Category.NORMAL, Basis.READING),
        ({"findings": "Mass|Pneumonia"}, Category.LEFT_OUT, Basis.REPORT),
        ({"findings": "Mass|Nodule"}, Category.OTHER, Basis.REPORT),
        ({"findings": "No Finding"}, Category.NORMAL, Basis.REPORT),
        ({"findings": "No Finding", "patient": ""}, Category.LEFT_OUT, Basis.NONE),
        ({"source": "nlm_shenzhen", "findings": "Tuberculosis"}, "abnormal", Basis.DIAGNOSIS),
    ],
)
def test_a_reading_counts_before_a_report(
    row: dict[str, str], category: Category, basis: Basis
) -> None:
    rule = rule_of(**({"source": "nih_emily", "findings": "Mass", "patient": "1"} | row))
    assert (rule.category, rule.basis) == (category, basis)


@pytest.mark.parametrize(
    "row",
    [
        {"source": "rsna2018", "rsna_class": "Perhaps"},
        {"source": "nlm_shenzhen", "findings": "Mass"},
        {"source": "elsewhere", "findings": "Mass"},
        {"source": "nih_emily", "findings": ""},
    ],
)
def test_a_finding_without_a_rule_is_an_error(row: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="no rule for the source"):
        rule_of(**({"findings": "", "patient": "1"} | row))


def test_only_an_opacity_is_pneumonia_and_an_unknown_one_is_neither() -> None:
    assert {category: label_of(category) for category in Category} == {
        Category.OPACITY: 1.0,
        Category.OTHER: 0.0,
        Category.NORMAL: 0.0,
        Category.ABNORMAL: None,
        Category.LEFT_OUT: None,
    }


def test_every_rule_has_a_reason_and_is_in_the_datasheet(bundle: Path) -> None:
    said = (bundle.parent / "docs" / "datasheet.md").read_text()
    for rule in RULES:
        assert rule.reason
        assert f"| {rule.source} | {rule.finding} | {rule.category} | {rule.basis} |" in said


@pytest.mark.parametrize(
    ("age", "group"),
    [
        *(("0", "0"), ("1", "1-5"), ("5", "1-5"), ("6", "6-17"), ("17", "6-17"), ("18", "18-39")),
        *(("64", "40-64"), ("65", "65+"), ("120", "65+"), ("121", "unknown"), ("412", "unknown")),
        *(("", "unknown"), ("4 months", "unknown"), ("-3", "unknown")),
    ],
)
def test_the_age_group_of_an_age(age: str, group: str) -> None:
    assert age_group(age) == group
    assert group in AGE_GROUPS


def test_what_an_index_says_is_kept(sets: Path) -> None:
    found = by_name(read_findings(sets / "adult_findings"), "rsna2018")["held"]
    assert (found["view"], found["sex"], found["age"], found["age_group"]) == (
        *("PA", "F", "61"),
        "40-64",
    )
    assert (found["category"], found["film"], found["patient"]) == ("normal", "a_000", TEST_PATIENT)
    [covid] = read_covid(sets / "adult_covid")
    assert (covid["label"], covid["view"], covid["sex"]) == (1.0, "AP", "M")
    [lateral] = read_lateral(sets / "lateral")
    assert math.isnan(lateral["label"])


def test_the_number_of_another_hospital_is_not_a_number_of_nih(sets: Path) -> None:
    rows = [*read_findings(sets / "adult_findings"), *read_covid(sets / "adult_covid")]
    numbers = {row["patient"] for row in rows}
    assert {"nlm_shenzhen 00000007", "adult_covid 00000007"} <= numbers
    assert "00000007" not in numbers - {TEST_PATIENT, OTHER_PATIENT}
    assert "nih_ashok133 nobody.jpg" in numbers


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text.replace("rsna2018/held.jpg", "gone.jpg"), "line 2: there is no file"),
        (lambda text: text.replace("Lung Opacity", "Lung"), "line 3: no rule for the source rsna"),
        (lambda text: text.replace("findings", "said", 1), "has no column findings"),
        (lambda text: text.encode("utf-16").decode("latin-1"), "index.csv has no column source"),
    ],
)
def test_an_invalid_index_is_reported_with_its_line(
    sets: Path, change: Callable[[str], str], complaint: str
) -> None:
    index = sets / "adult_findings" / "index.csv"
    index.write_text(change(index.read_text()), encoding="utf-8")
    with pytest.raises(ValueError, match=complaint):
        read_findings(sets / "adult_findings")


def test_two_encodings_of_a_film_are_one_and_two_films_are_two(tmp_path: Path) -> None:
    film = picture(1, 512)
    save(tmp_path / "a.png", film)
    save(tmp_path / "b.jpg", film.resize((288, 288)), quality=80)
    save(tmp_path / "c.png", film.point(lambda level: 255 - level))
    save(tmp_path / "d.png", picture(2, 512))
    save(tmp_path / "e.png", film.filter(ImageFilter.GaussianBlur(3)))
    save(tmp_path / "f.png", Image.new("L", (64, 64), 90))  # blank: like nothing
    save(tmp_path / "g.png", Image.new("L", (64, 64), 90))
    found = same_films([signature(path) for path in sorted(tmp_path.iterdir())])
    assert sorted(found) == [(0, 1), (0, 2), (0, 4), (1, 2), (1, 4), (2, 4)]
    assert same_films([]) == []


def test_the_test_split_depends_on_the_number_alone_and_is_about_a_quarter() -> None:
    chosen = [is_rsna_test_patient(f"{number:08}") for number in range(4000)]
    assert 0.23 < sum(chosen) / len(chosen) < 0.27
    assert is_rsna_test_patient("00000002") is is_rsna_test_patient("00000002")
    assert [n for n in range(1, 15) if is_rsna_test_patient(f"{n:08}")] == RSNA_TEST_OF_FIRST_14


def test_a_patient_of_the_test_split_is_trained_on_in_no_source(sets: Path) -> None:
    rows = all_sets(sets)
    test = [row for row in rows if row["part"] == "rsna-test"]
    assert {Path(row["image"]).stem for row in test} >= {"held", "held2"}
    assert {row["source"] for row in test} == {"rsna2018"}
    assert by_name(rows, "nih_emily")["same-person"]["part"] == "excluded"
    trained = {row["patient"] for row in training_rows(rows)}
    assert not trained & {row["patient"] for row in test}


def test_no_patient_has_two_parts_and_every_film_is_listed(sets: Path) -> None:
    rows = all_sets(sets)
    assert all(len(parts) == 1 for parts in parts_by_patient(rows).values())
    assert len({row["image"] for row in rows}) == len(rows) == 160 + 98 + 2
    assert parts_with_one_label(rows) == []


def test_what_teaches_nothing_is_excluded_and_what_only_measures_is_never_trained_on(
    sets: Path,
) -> None:
    rows = all_sets(sets)
    nih = by_name(rows, "nih_emily")
    assert nih["infiltrate"]["part"] == "excluded"
    assert nih["read"]["part"] in {"validation", *(f"fold-{k}" for k in range(5))}
    assert by_name(rows, "nih_ashok133")["nobody"]["part"] == "excluded"
    assert {row["part"] for row in rows if row["source"] == "adult"} == {"excluded"}
    assert {row["part"] for row in rows if row["source"] in {"adult_covid", "lateral"}} == {
        "measuring"
    }
    trained = {row["source"] for row in training_rows(rows)}
    assert trained <= {"pediatric", "rsna2018", "nih_emily", "nlm_shenzhen"}
    tuberculosis = by_name(rows, "nlm_shenzhen")["ill"]
    assert not is_labelled(tuberculosis)
    listed = [*training_rows(rows), *rows_of_part(rows, tuberculosis["part"])]
    assert tuberculosis["image"] not in {row["image"] for row in listed}


def test_children_keep_the_parts_of_the_shipped_weights(sets: Path) -> None:
    before = {row["image"]: row["part"] for row in public_sets(sets)}
    after = {row["image"]: row["part"] for row in all_sets(sets) if row["source"] == "pediatric"}
    assert after == {image: part for image, part in before.items() if "pediatric" in image}


def test_a_patient_of_the_first_adult_set_keeps_the_part(sets: Path) -> None:
    number = "00000023"  # one of its forty
    index = sets / "adult_findings" / "index.csv"
    text = index.read_text()
    index.write_text(text.replace(f"9{NORMAL:07}", number))
    before = {row["patient"]: row["part"] for row in public_sets(sets)}
    assert not is_rsna_test_patient(number)
    assert by_name(all_sets(sets), "rsna2018")[f"{NORMAL}"]["part"] == before[number]


def encoded_again(path: Path) -> Image.Image:
    buffer = BytesIO()
    Image.open(path).resize((80, 80)).save(buffer, "JPEG", quality=85)
    return Image.open(buffer)


def test_of_two_encodings_of_a_film_the_one_that_was_read_stays(sets: Path) -> None:
    folder = sets / "adult_findings"
    line = finding("nih_emily", "again", "00005555", findings="No Finding")
    index = folder / "index.csv"
    with index.open(newline="") as file:
        lines = list(csv.DictReader(file))
    write_index(folder, COLUMNS, [line, *lines])
    save(folder / line["file"], encoded_again(folder / "rsna2018" / f"{NORMAL}.jpg"))
    rows = all_sets(sets)
    again, read = by_name(rows, "nih_emily")["again"], by_name(rows, "rsna2018")[f"{NORMAL}"]
    assert again["part"] == "excluded"
    assert read["part"] not in {"excluded", "measuring"}
    assert again["patient"] == read["patient"] == "00005555"  # two numbers on one film: one person


def test_films_whose_readings_contradict_each_other_all_go(sets: Path) -> None:
    folder = sets / "adult_findings"
    copy = folder / "rsna2018" / f"{OPACITY}.jpg"
    copy.write_bytes((folder / "rsna2018" / f"{NORMAL}.jpg").read_bytes())
    rows = by_name(all_sets(sets), "rsna2018")
    normal, opacity = rows[f"{NORMAL}"], rows[f"{OPACITY}"]
    assert normal["category"] != opacity["category"]
    assert normal["patient"] == opacity["patient"]
    assert normal["part"] == opacity["part"] == "excluded"


def test_a_manifest_keeps_what_is_known_of_a_film(sets: Path, tmp_path: Path) -> None:
    rows = all_sets(sets)
    write_manifest(rows, tmp_path / "manifest.csv")
    read = {Path(row["image"]).resolve(): row for row in read_manifest(tmp_path / "manifest.csv")}
    for row in rows:
        found = read[Path(row["image"]).resolve()]
        assert is_labelled(found) == is_labelled(row)
        for name in ("source", "category", "basis", "view", "sex", "age_group", "part"):
            assert found.get(name, "") == row.get(name, "")
