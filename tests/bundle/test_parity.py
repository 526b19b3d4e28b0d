"""`monai.bundle run` and the service's predictor give the same number for a radiograph.

The bundle runs by the command of monai_bundle/docs/README.md.
"""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless
from support.module_process import run_module
from support.open_gate import bundle_with_open_gate
from synthetic.objects import encode, make_cr, make_dx
from synthetic.pictures import chest

from workers.inference.loading import read
from workers.inference.predictor import Predictor
from workers.prediction import NotAnalysable, Prediction

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]


RUN = ("monai.bundle", "run", "--config_file", "configs/inference.yaml")


def run_bundle(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the bundle as its documentation says: from its folder, without the service."""
    return run_module(bundle, *RUN, *arguments)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("inputs")
    paths = [folder / name for name in ("plain.dcm", "packed.dcm", "a.png", "b.jpg", "letter.txt")]
    make_cr(photometric="MONOCHROME1").save_as(paths[0], enforce_file_format=True)
    encode(make_dx(), JPEG2000Lossless).save_as(paths[1], enforce_file_format=True)
    picture = Image.fromarray(chest(300, 420, 8).astype("u1"))
    picture.save(paths[2])
    picture.save(paths[3], quality=90)
    paths[4].write_text("Dear colleague")
    samples = sorted((REPOSITORY / "service" / "demo" / "samples").glob("*.dcm"))
    return [*paths, *samples, folder / "nowhere.dcm"]


def found_by(predictor: Predictor, path: Path) -> Prediction | str:
    try:
        age = read(predictor, path).age_years if path.suffix == ".dcm" else None
        found = predictor.predict([predictor.prepare(path)], [age])[0]
        return str(found.reason) if isinstance(found, NotAnalysable) else found
    except NotAnalysable as refused:
        return str(refused.reason)
    except FileNotFoundError as error:
        return str(error.strerror)


@pytest.mark.parametrize(("gate", "read"), [("open", 7), ("as shipped", 3)])
def test_bundle_and_service_give_the_same_numbers(
    bundle: Path, inputs: list[Path], tmp_path: Path, gate: str, read: int
) -> None:
    if gate == "open":
        bundle = bundle_with_open_gate(tmp_path)
    output = tmp_path / "readings.jsonl"
    done = run_bundle(
        bundle,
        *("--input", str([str(path) for path in inputs])),
        *("--output", str(output), "--batch_size", "3"),
    )
    assert done.returncode == 0, done.stderr
    readings = [json.loads(line) for line in output.read_text().splitlines()]
    assert [reading["input"] for reading in readings] == [str(path) for path in inputs]
    predictor = Predictor(bundle, device="cpu")
    for path, reading in zip(inputs, readings, strict=True):
        found = found_by(predictor, path)
        if isinstance(found, str):
            assert reading == {"input": str(path), "unreadable": found}
        else:
            assert reading["probability"] == pytest.approx(found.probability, abs=1e-6)
            assert reading["finding"] == found.finding
            assert bool(reading["region"]) == bool(found.region)
    assert sum("probability" in reading for reading in readings) == read


AGES: Final = {"010D": "infants", "003Y": "children", "012Y": "school_children", "045Y": "adults"}


def test_bundle_and_service_choose_the_same_population_and_finding(tmp_path: Path) -> None:
    paths = [tmp_path / f"{age or 'none'}.dcm" for age in (*AGES, "")]
    for age, path in zip((*AGES, ""), paths, strict=True):
        dataset = make_cr(birth_date="")
        dataset.PatientAge = age
        dataset.save_as(path, enforce_file_format=True)
    paths.append(tmp_path / "a.png")
    Image.fromarray(chest(384, 320, 8).astype("u1")).save(paths[-1])
    bundle, output = bundle_with_open_gate(tmp_path), tmp_path / "out.jsonl"
    done = run_bundle(bundle, "--input", str([*map(str, paths)]), "--output", str(output))
    assert done.returncode == 0, done.stderr
    readings = [json.loads(line) for line in output.read_text().splitlines()]
    assert [each["population"] for each in readings] == [*AGES.values(), "unknown", "unknown"]
    assert [each["validated"] for each in readings] == [False, True, False, False, True, True]
    predictor = Predictor(bundle, device="cpu", report_populations=tuple(AGES.values()))
    prepared = [predictor.read(path).tensor for path in paths]
    ages = [read(predictor, path).age_years for path in paths[:-1]]
    for found, reading in zip(predictor.predict(prepared, [*ages, None]), readings, strict=True):
        assert isinstance(found, Prediction)
        assert reading["probability"] == pytest.approx(found.probability, abs=1e-6)
        assert (reading["population"], reading["finding"]) == (found.population, found.finding)
    strict = Predictor(bundle, device="cpu").predict(prepared, [*ages, None])
    assert [isinstance(each, Prediction) for each in strict] == [r["validated"] for r in readings]


def test_a_single_input_needs_no_list_and_is_written_to_standard_output(
    bundle: Path, inputs: list[Path]
) -> None:
    command = [sys.executable, "-m", *RUN, "--input", str(inputs[-2])]
    done = subprocess.run(  # with a new interpreter, as a user starts it
        [*command, "--operating_point", "screening"],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [reading] = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert reading.keys() == {
        *("input", "probability", "finding", "region", "population", "validated")
    }


def test_the_bundle_imports_nothing_of_the_service(bundle: Path) -> None:
    for path in bundle.glob("scripts/**/*.py"):
        text = path.read_text()
        assert "import service" not in text
        assert "from service" not in text
        assert "from workers" not in text
        assert "import workers" not in text


def test_changed_weights_are_refused(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "model.pt"
    weights = bytearray((bundle / "models" / "model.pt").read_bytes())
    weights[len(weights) // 2] ^= 1
    other.write_bytes(weights)
    picture = io.BytesIO()
    Image.fromarray(chest(300, 420, 8).astype("u1")).save(picture, format="PNG")
    (tmp_path / "a.png").write_bytes(picture.getvalue())
    done = run_bundle(bundle, "--input", str(tmp_path / "a.png"), "--weights", str(other))
    assert done.returncode != 0
    assert "is not the file that configs/metadata.json names" in done.stderr
