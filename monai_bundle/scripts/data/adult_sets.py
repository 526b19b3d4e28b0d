"""List the sets that come with an index.csv: adults with findings, with COVID-19, lateral films.

Patients of all NIH sources, RSNA included, have NIH's number, so that one person is one patient in
whatever source. Numbers of other sources are preceded by the source's name.
"""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

from scripts.checksum import sha256_of
from scripts.data.categories import COVID, LATERAL, Rule, label_of, rule_of
from scripts.data.datasets import Radiograph

INDEX: Final = "index.csv"
_AGE_GROUPS: Final = ((0, "0"), (5, "1-5"), (17, "6-17"), (39, "18-39"), (64, "40-64"))
OLDEST: Final = "65+"
UNKNOWN: Final = "unknown"
OLDEST_POSSIBLE: Final = 120  # years; NIH has ages such as 412, which are mistakes
AGE_GROUPS: Final = (*(name for _, name in _AGE_GROUPS), OLDEST, UNKNOWN)


def age_group(age: str) -> str:
    """Return the group of an age in years, "unknown" for an empty or an impossible one."""
    if not age.isdigit() or int(age) > OLDEST_POSSIBLE:
        return UNKNOWN
    return next((name for most, name in _AGE_GROUPS if int(age) <= most), OLDEST)


def read_findings(folder: Path) -> list[Radiograph]:
    """List the radiographs of adult_findings."""
    return _read_index(folder, _finding_row, ("source", "file", "patient", "findings"))


def read_covid(folder: Path) -> list[Radiograph]:
    """List the radiographs of adult_covid."""
    return _read_index(folder, _covid_row, ("file", "patient", "projection", "sex"))


def read_lateral(folder: Path) -> list[Radiograph]:
    """List the lateral films, which are for measuring the gate only."""
    return _read_index(folder, _lateral_row, ("file", "licence"))


def _read_index(
    folder: Path, read_row: Callable[[dict[str, str], Path], Radiograph], columns: tuple[str, ...]
) -> list[Radiograph]:
    """Read a set's index.csv.

    Raises:
        ValueError: a row cannot be used; the message names its line.
    """
    path = folder / INDEX
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
                raise ValueError(f"{path} has no column {missing[0]}")
            lines = [{k: v or "" for k, v in line.items() if k} for line in reader]
    except (UnicodeDecodeError, csv.Error) as exc:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {exc}") from exc
    rows = []
    for number, line in enumerate(lines, start=2):
        image = folder / line["file"]
        if not image.is_file():
            raise ValueError(f"{path}, line {number}: there is no file {image}")
        try:
            rows.append(read_row(line, image))
        except ValueError as exc:
            raise ValueError(f"{path}, line {number}: {exc}") from exc
    return rows


def _finding_row(line: dict[str, str], image: Path) -> Radiograph:
    source, patient = line["source"], line["patient"]
    rule = rule_of(
        source=source,
        findings=line["findings"],
        patient=patient,
        rsna_class=line.get("rsna_class", ""),
        airspace_opacity=line.get("google_airspace_opacity", ""),
    )
    is_nih = source.startswith(("nih_", "rsna"))
    number = patient or image.name  # without a number the film is a patient of its own
    return _row(
        image,
        rule,
        source=source,
        patient=patient if patient and is_nih else f"{source} {number}",
        film=Path(line.get("nih_image", "")).stem,
        findings=line["findings"],
        view=line.get("view", "").upper(),
        sex=line.get("sex", "").upper(),
        age=line.get("age", ""),
    )


def _covid_row(line: dict[str, str], image: Path) -> Radiograph:
    return _row(
        image,
        COVID,
        source=COVID.source,
        patient=f"{COVID.source} {line['patient']}",
        findings=COVID.finding,
        view=line["projection"].upper(),
        sex=line["sex"].upper(),
    )


def _lateral_row(_: dict[str, str], image: Path) -> Radiograph:
    return _row(
        image,
        LATERAL,
        source=LATERAL.source,
        patient=f"{LATERAL.source} {image.name}",
        findings=LATERAL.finding,
        view="LATERAL",
    )


def _row(  # noqa: PLR0913 -- the columns of a row
    image: Path,
    rule: Rule,
    *,
    source: str,
    patient: str,
    findings: str,
    view: str,
    film: str = "",
    sex: str = "",
    age: str = "",
) -> Radiograph:
    label = label_of(rule.category)
    return Radiograph(
        image=str(image),
        label=math.nan if label is None else label,
        patient=patient,
        cohort="adult",
        kind="pneumonia" if label else rule.category.value,
        sha256=sha256_of(image),
        source=source,
        category=rule.category.value,
        basis=rule.basis.value,
        findings=findings,
        film=film,
        view=view,
        sex=sex,
        age=age,
        age_group=age_group(age),
    )
