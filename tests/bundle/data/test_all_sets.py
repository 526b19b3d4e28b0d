"""The radiographs of ../shared/data: their counts, and that no patient is on two sides."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest
from scripts.data.adult_sets import AGE_GROUPS, read_findings
from scripts.data.categories import MAYBE_OPACITY, NO_FINDING, Category
from scripts.data.datasets import Radiograph
from scripts.data.joined_sets import group_films, is_rsna_test_patient
from scripts.data.manifest import PARTS, all_sets, public_sets, training_rows

pytestmark = pytest.mark.data

CATEGORIES = [category.value for category in Category]
ALL_PARTS = (*PARTS, "rsna-test", "measuring", "excluded")


@pytest.fixture(scope="module")
def rows(radiographs: Path) -> list[Radiograph]:
    return all_sets(radiographs)


@pytest.fixture(scope="module")
def said(bundle: Path) -> str:
    return (bundle.parent / "docs" / "datasheet.md").read_text()


def block(said: str, name: str) -> list[str]:
    """Return the rows of the table between two markers."""
    found = said.partition(f"<!-- {name} -->")[2].partition(f"<!-- end of {name} -->")[0]
    return found.strip().splitlines()[2:]


def sources(rows: Iterable[Radiograph]) -> list[str]:
    return list(dict.fromkeys(row["source"] for row in rows))


def test_no_patient_is_on_two_sides(rows: list[Radiograph]) -> None:
    parts = defaultdict(set)
    for row in rows:
        if row["part"] not in {"excluded", "test"}:
            parts[row["patient"]].add(row["part"])
    assert all(len(found) == 1 for found in parts.values())
    tested = {row["patient"] for row in rows if row["part"] == "rsna-test"}
    trained = training_rows(rows)
    assert len(tested) == 178
    assert not tested & {row["patient"] for row in trained}
    assert not {row["film"] for row in rows if row["part"] == "rsna-test"} & {
        row["film"] for row in trained
    }
    assert {row["source"] for row in trained}.isdisjoint({"adult", "adult_covid", "lateral"})


def test_the_test_split_is_a_quarter_of_rsnas_patients(rows: list[Radiograph]) -> None:
    patients = {row["patient"] for row in rows if row["source"] == "rsna2018"}
    tested = {patient for patient in patients if is_rsna_test_patient(patient)}
    assert len(patients) == 766
    assert {row["patient"] for row in rows if row["part"] == "rsna-test"} == tested


def test_children_keep_the_parts_of_the_shipped_weights(
    rows: list[Radiograph], radiographs: Path
) -> None:
    shipped = {row["image"]: row["part"] for row in public_sets(radiographs)}
    children = [row for row in rows if row["source"] == "pediatric"]
    assert len(children) == 5814
    assert all(shipped[row["image"]] == row["part"] for row in children)


def test_a_film_is_used_once(rows: list[Radiograph]) -> None:
    used = [row for row in rows if row["part"] not in {"excluded", "measuring", "test"}]
    adults = [row for row in used if row["source"] != "pediatric"]
    assert len(group_films(adults)) == len(adults)
    assert len({row["sha256"] for row in used}) == len(used)


def test_the_datasheet_has_the_composition(rows: list[Radiograph], said: str) -> None:
    counted = Counter(
        (row["source"], row["view"] or "-", row["age_group"], row["category"]) for row in rows
    )
    lines = []
    for source in sources(rows):
        for view in sorted({key[1] for key in counted if key[0] == source}):
            for age in AGE_GROUPS:
                numbers = [counted[source, view, age, category] for category in CATEGORIES]
                if any(numbers):
                    lines.append(f"| {source} | {view} | {age} | {' | '.join(map(str, numbers))} |")
    assert block(said, "composition") == lines


def test_the_datasheet_has_the_parts(rows: list[Radiograph], said: str) -> None:
    lines = []
    for part in ALL_PARTS:
        for source in sources(rows):
            group = [row for row in rows if (row["part"], row["source"]) == (part, source)]
            if not group or source == "pediatric":
                continue
            counted = Counter(row["category"] for row in group)
            numbers = [len(group), *(counted[category] for category in CATEGORIES)]
            patients = len({row["patient"] for row in group})
            lines.append(f"| {part} | {source} | {' | '.join(map(str, numbers))} | {patients} |")
    assert block(said, "all parts") == lines


def mined(row: Radiograph) -> str:
    findings = set(row["findings"].split("|"))
    if findings & MAYBE_OPACITY:
        return "Consolidation, Edema, Infiltration or Pneumonia"
    return NO_FINDING if findings == {NO_FINDING} else "another finding"


def test_the_datasheet_compares_reports_with_readings_outside_the_test_split(
    rows: list[Radiograph], said: str
) -> None:
    read = [row for row in rows if row["source"] == "rsna2018" and row["part"] != "rsna-test"]
    counted = Counter((mined(row), row["category"]) for row in read)
    lines = []
    for words in ("Consolidation, Edema, Infiltration or Pneumonia", "another finding", NO_FINDING):
        numbers = [counted[words, category] for category in ("opacity", "other", "normal")]
        lines.append(f"| {words} | {sum(numbers)} | {' | '.join(map(str, numbers))} |")
    assert block(said, "mined") == lines


def test_the_datasheet_says_who_is_in_several_sources(
    rows: list[Radiograph], radiographs: Path, said: str
) -> None:
    text = " ".join(said.split())
    found = defaultdict(set)
    for row in rows:
        found[row["patient"]].add(row["source"])
    several = [patient for patient, where in found.items() if len(where) > 1]
    both = [patient for patient in several if found[patient] >= {"adult", "rsna2018"}]
    tested = [patient for patient in both if is_rsna_test_patient(patient)]
    assert f"{len(several)} are in more than one" in text
    assert f"{len(both)} of them in RSNA and in the first set of adults" in text
    assert f"{len(tested)} of these {len(both)} are in `rsna-test`" in text
    index = read_findings(radiographs / "adult_findings")
    for source in ("rsna2018", "nlm_shenzhen", "nlm_montgomery"):
        films = [row for row in index if row["source"] == source]
        assert str(len(films)) in text
        assert str(len({row["patient"] for row in films})) in text
    normal = [row for row in index if row["source"] == "rsna2018" and row["category"] == "normal"]
    views = Counter(row["view"] for row in index if row["source"] == "rsna2018")
    well = Counter(row["view"] for row in normal)
    assert f"of its {views['AP']} AP films" in text
    assert f"{well['AP']} are normal; of its {views['PA']} PA films, {well['PA']}." in text
