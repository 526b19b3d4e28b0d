"""A bundle that reads another abnormality and ages, from the files to the outputs."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from pydicom import dcmread
from support.foreign_bundle import by_age, make_bundle, populated
from support.module_process import run_module
from synthetic.objects import make_cr
from synthetic.part10 import part10

from service.settings import child_environment
from workers.prediction import OperatingPoint

ROOT: Final = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle; what it gives as another abnormality is the brightness of the picture."""
    return make_bundle(tmp_path_factory.mktemp("bundle") / "aged", populated, by_age)


def analyze(bundle: Path, *words: object) -> list[dict[str, Any]]:
    environment = child_environment(LOBAR_BUNDLE__PATH=str(bundle))
    done = run_module(ROOT, "service.cli", "analyze", *map(str, words), environment=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_both_findings_and_the_population_are_in_the_json_and_in_every_output(
    bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "chest.dcm"
    young = make_cr()
    young.PatientAge = "004Y"
    file.write_bytes(part10(young))
    (line,) = analyze(bundle, file, "--json", "--output", tmp_path)
    other = line["other_abnormality"]
    low, high = other["indeterminate"]
    point = OperatingPoint(
        name=other["operating_point"],
        threshold=other["threshold"],
        indeterminate_low=low,
        indeterminate_high=high,
    )
    assert other["finding"] == point.read(other["probability"])
    assert (line["finding"], line["population"]) == ("indeterminate", "young")
    (report,) = (Path(each) for each in line["outputs"] if each.endswith("sr.dcm"))
    stated = dcmread(BytesIO(report.read_bytes())).to_json()
    for words in (
        "Population: young",
        f"Probability of other abnormality: {other['probability']!r}",
        f"pneumonia undetermined, another abnormality {other['finding']}",
        "abnormal-other",
        "certainty-other",
    ):
        assert words in stated


def test_the_table_shows_the_other_abnormality(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "chest.dcm"
    young = make_cr()
    young.PatientAge = "004Y"
    file.write_bytes(part10(young))
    environment = child_environment(LOBAR_BUNDLE__PATH=str(bundle)) | {"COLUMNS": "160"}
    done = run_module(ROOT, "service.cli", "analyze", str(file), environment=environment)
    assert "other abnormality" in done.stdout
    assert "young" in done.stdout
