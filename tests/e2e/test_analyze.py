"""`lobar analyze`: many files, good and bad, in one run; one line of JSON for each."""

import io
import json
import math
import random
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)
from support.hostile import bomb
from support.module_process import run_module
from support.open_gate import BUNDLE, bundle_with_open_gate
from synthetic.objects import encode, make_cr, make_dx, make_sc
from synthetic.part10 import part10
from synthetic.pictures import chest

from service.domain.reasons import Reason
from service.settings import child_environment

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "service" / "demo" / "samples"
KEYS = [
    *("file", "outcome", "reason", "finding", "probability", "region", "operating_point"),
    *("threshold", "indeterminate", "other_abnormality", "population", "model", "calibrated"),
    *("weights_sha256", "outputs"),
]
ROUNDED = 0.001  # as a logit: the metadata have five digits


def analyze(
    *words: object, bundle: Path = BUNDLE, **settings: str
) -> subprocess.CompletedProcess[str]:
    environment = child_environment(LOBAR_BUNDLE__PATH=str(bundle), **settings)
    return run_module(ROOT, "service.cli", "analyze", *map(str, words), environment=environment)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files as a user might have them."""
    picture = Image.fromarray(chest(300, 280, 8).astype("uint8"))
    picture.save(tmp_path / "chest.png")
    picture.save(tmp_path / "chest.jpeg", quality=95)
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.writestr("a.dcm", b"DICM")
    (tmp_path / "page.html").write_text("<html></html>")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "folder.dcm").mkdir()
    (tmp_path / "broken.png").write_bytes((tmp_path / "chest.png").read_bytes()[:500])
    lateral = make_dx()
    lateral.ViewPosition = "LL"
    lateral.save_as(tmp_path / "lateral.dcm", enforce_file_format=True)
    whole = (SAMPLES / "sc_rle.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[: len(whole) // 2])
    return tmp_path


def test_each_file_gets_one_line_in_order_and_a_bad_one_stops_no_other(folder: Path) -> None:
    names = [
        *("chest.png", "study.zip", "lateral.dcm", "page.html", "empty.dcm", "folder.dcm"),
        *("chest.jpeg", "broken.png", "cut.dcm", "missing.dcm"),
    ]
    files = [folder / name for name in names] + sorted(SAMPLES.glob("*.dcm"))
    bundle = bundle_with_open_gate(folder)
    done = analyze("--json", "--output", folder / "out", *files, bundle=bundle)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == [str(file) for file in files]
    assert all(list(line) == KEYS for line in lines)
    outcomes = {Path(line["file"]).name: (line["outcome"], line["reason"]) for line in lines}
    assert outcomes["chest.png"] == outcomes["chest.jpeg"] == ("analysed", None)
    assert outcomes["lateral.dcm"] == ("not_analysed", "view-out-of-scope")
    assert outcomes["cut.dcm"] == ("not_analysed", "truncated")
    for name in ("study.zip", "page.html", "empty.dcm", "folder.dcm", "broken.png", "missing.dcm"):
        outcome, reason = outcomes[name]
        assert outcome == "failed", name
        assert reason, name
    for line in lines:
        if line["outcome"] == "analysed":
            assert line["finding"] in {"present", "absent", "indeterminate"}
            assert 0 <= line["probability"] <= 1
            assert (line["operating_point"], line["model"]) == ("balanced", lines[0]["model"])
        else:
            assert line["finding"] is line["probability"] is None
        endings = [output.split(".", 2)[2] for output in line["outputs"] if output]
        assert endings == expected_endings(line), line["file"]
        for output in line["outputs"]:
            assert Path(output).stat().st_size > 0
    analysis = json.loads(Path(lines[0]["outputs"][-1]).read_text())
    assert analysis == lines[0], "the same number in the file and on the line"


def test_a_patient_for_whom_the_model_is_not_validated_is_reported_only_by_a_setting(
    tmp_path: Path,
) -> None:
    born = {"child": "20220615", "adult": "19700101", "infant": "20251001", "nobody": ""}
    files = [tmp_path / f"{name}.dcm" for name in born]
    for file, birth_date in zip(files, born.values(), strict=True):
        make_cr(birth_date=birth_date).save_as(file, enforce_file_format=True)
    bundle = bundle_with_open_gate(tmp_path)
    done = analyze("--json", "--output", tmp_path / "out", *files, bundle=bundle)
    assert done.returncode == 0, done.stderr
    child, adult, infant, nobody = (json.loads(line) for line in done.stdout.splitlines())
    for line in (adult, infant):
        assert (line["outcome"], line["reason"]) == ("not_analysed", "population-not-validated")
        assert line["probability"] is None
        report = Path(next(output for output in line["outputs"] if output.endswith("sr.dcm")))
        assert b"population-not-validated" in report.read_bytes()
    assert child["outcome"] == nobody["outcome"] == "analysed"
    (child_low, child_high), (low, high) = (
        band_of_logits(line, bundle) for line in (child, nobody)
    )
    assert child_low > low, "no age: more cautiously"
    assert child_high < high + ROUNDED
    settings = {"LOBAR_BUNDLE__REPORT_POPULATIONS": "adults,infants"}
    done = analyze("--json", *files, bundle=bundle, **settings)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["outcome"] for line in done.stdout.splitlines()] == ["analysed"] * 4
    settings = {"LOBAR_BUNDLE__REPORT_POPULATIONS": '["elders"]'}
    done = analyze("--json", *files, bundle=bundle, **settings)
    assert done.returncode == 78
    assert "bundle.report_populations names: choose of children, adults" in done.stderr
    assert "Traceback" not in done.stderr


def band_of_logits(line: dict[str, Any], bundle: Path) -> list[float]:
    """Return an indeterminate band as logits of the network, which each population calibrates."""
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    calibration = metadata["populations"][line["population"]]["calibration"]
    temperature, bias = calibration["temperature"], calibration["bias"]
    return [temperature * (math.log(p / (1 - p)) - bias) for p in line["indeterminate"]]


def expected_endings(line: dict[str, Any]) -> list[str]:
    """Return the names of a file's outputs in the output folder."""
    if line["outcome"] == "failed":
        return ["json"]
    was_picture = line["file"].endswith((".png", ".jpeg"))
    return [*(["source.dcm"] if was_picture else []), "sr.dcm", "overlay.dcm", "pdf", "json"]


def odd_files(folder: Path, count: int) -> list[Path]:
    """Write files that are cut, overwritten or not what they say, each in its own way."""
    random_ = random.Random(11)
    picture = io.BytesIO()
    Image.fromarray(chest(300, 280, 8).astype("uint8")).save(picture, "JPEG")
    syntaxes = (DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, RLELossless)
    whole = [
        *(part10(encode(make_cr(), syntax)) for syntax in syntaxes),
        *(part10(make()) for make in (make_cr, make_dx, make_sc)),
        part10(bomb(200, 500)),
        picture.getvalue(),
    ]
    files = []
    for number in range(count):
        content = bytearray(whole[number % len(whole)])
        match number // len(whole) % 5:
            case 0:
                del content[random_.randrange(len(content)) :]
            case 1:
                for place in random_.sample(range(132, len(content)), 40):
                    content[place] = random_.randrange(256)
            case 2:
                place = random_.randrange(len(content) // 2)
                content[place : place + 200] = random_.randbytes(200)
            case 3:
                place = random_.randrange(132, len(content) // 2)
                del content[place : place + random_.randrange(1, 50)]
            case 4:
                content = bytearray(random_.randbytes(random_.randrange(4000)))
        files.append(folder / f"odd{number}")
        files[-1].write_bytes(content)
    return files


@pytest.mark.slow
def test_of_two_hundred_odd_files_each_gets_its_line(tmp_path: Path) -> None:
    files = [*odd_files(tmp_path, 199), next(SAMPLES.glob("*.dcm"))]
    done = analyze("--json", *files)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == [str(file) for file in files]
    assert all(list(line) == KEYS for line in lines)
    assert all(line["reason"] or line["outcome"] == "analysed" for line in lines)
    assert {line["outcome"] for line in lines} == {"analysed", "not_analysed", "failed"}
    assert lines[-1]["outcome"] == "analysed", "the sample at the end, behind all the others"


@pytest.mark.data
def test_each_hostile_file_ends_coded(radiographs: Path) -> None:
    cases = radiographs / "cases"
    files = sorted(each for each in (cases / "hostile").iterdir() if each.suffix != ".py")
    files += sorted(cases.glob("crash*"))
    # the largest takes seconds, and on a busy machine more than the ordinary limit
    done = analyze("--json", *files, LOBAR_DECODING__SECONDS="120")
    assert "Traceback" not in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == [str(file) for file in files]
    for line in lines:
        assert line["outcome"] == "not_analysed", line
        assert line["reason"] in set(Reason), line
        assert not line["reason"].startswith("decoder-"), line


def test_what_only_looks_like_a_radiograph_is_not_analysed_with_a_reason(folder: Path) -> None:
    files = [folder / "chest.png", folder / "chest.jpeg"]  # drawings
    done = analyze("--json", *files)
    assert done.returncode == 0
    for line in map(json.loads, done.stdout.splitlines()):
        assert line["outcome"] == "not_analysed"
        assert line["reason"] in {"not-a-chest-radiograph", "unlike-training-images"}
        assert line["probability"] is line["region"] is None
    assert "pixels" in analyze(*files).stdout


def test_a_person_gets_a_table_and_status_0_when_nothing_failed() -> None:
    done = analyze(*sorted(SAMPLES.glob("*.dcm")))
    assert done.returncode == 0
    assert "present" in done.stdout
    assert "Not a medical device" in done.stdout


def test_an_unusable_bundle_is_reported_in_one_line() -> None:
    done = analyze("x", bundle=Path("/nowhere"))
    assert done.returncode == 78
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("lobar: ")]
    assert "bundle.path" in line
    assert "Traceback" not in done.stderr
