"""The demonstration instances are valid, synthetic and have both findings."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset
from scripts.data.datasets import Radiograph
from scripts.data.sample_instances import SAMPLES, Sample, build_sample, write_samples
from scripts.data.synthetic_radiographs import (
    COMPONENTS,
    LEAST_IMAGES,
    SIDE,
    Statistics,
    enlarge,
    fit_statistics,
    generate,
)
from support.system.programs import need_program

from workers.inference.loading import read
from workers.inference.predictor import Predictor
from workers.prediction import Finding, Prediction

FOLDER = Path(__file__).resolve().parents[3] / "service" / "demo" / "samples"
PATHS = sorted(FOLDER.glob("*.dcm"))
LARGEST = 200_000  # bytes


def test_there_is_one_small_sample_of_each_kind() -> None:
    assert [path.stem for path in PATHS] == sorted(sample.name for sample in SAMPLES)
    assert {pydicom.dcmread(path).Modality for path in PATHS} == {"CR", "DX", "OT"}
    assert all(path.stat().st_size < LARGEST for path in PATHS)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_samples_header_says_that_it_is_synthetic(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    assert dataset.PatientName == "SYNTHETIC^SAMPLE"
    assert dataset.PatientID == "SYNTHETIC-1"
    assert dataset.PatientIdentityRemoved == "YES"
    for keyword in ("ImageComments", "SeriesDescription", "StudyDescription"):
        assert "synthetic" in dataset[keyword].value.lower()


@pytest.mark.dciodvfy
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_sample_is_a_valid_dicom_object(path: Path) -> None:
    said = subprocess.run(
        [need_program("dciodvfy"), path], capture_output=True, text=True, check=False
    )
    assert "Error" not in said.stdout + said.stderr


def test_the_samples_have_both_findings(bundle: Path) -> None:
    predictor = Predictor(bundle, device="cpu")
    read_ones = [read(predictor, path) for path in PATHS]
    ages = [each.age_years for each in read_ones]
    assert ages == [3, 3, 3]
    found = predictor.predict([each.prepared.tensor for each in read_ones], ages)
    predictions = [each for each in found if isinstance(each, Prediction)]
    assert len(predictions) == len(found)
    assert {Finding.PRESENT, Finding.ABSENT} <= {each.finding for each in predictions}


def test_too_few_images_are_refused_because_a_component_could_show_an_individual() -> None:
    rows = [Radiograph(image="x", label=0.0, patient="p")] * (LEAST_IMAGES - 1)
    with pytest.raises(ValueError, match="too few"):
        fit_statistics(rows, seed=1)


@pytest.fixture
def statistics() -> Statistics:
    chance = np.random.default_rng(2)
    components, _ = np.linalg.qr(chance.standard_normal((SIDE * SIDE, COMPONENTS)))
    return Statistics(
        mean=np.tile(np.linspace(0, 1, SIDE, dtype="f4"), SIDE),
        components=components.T.astype("f4"),
        centres={0.0: np.zeros(COMPONENTS, "f4"), 1.0: np.ones(COMPONENTS, "f4")},
        factors={label: np.eye(COMPONENTS, dtype="f4") for label in (0.0, 1.0)},
    )


def test_a_synthetic_radiograph_depends_on_seed_and_label_only(statistics: Statistics) -> None:
    one = generate(statistics, 1.0, seed=5)
    assert one.shape == (SIDE, SIDE)
    assert (one.min(), one.max()) == (0, 1)
    assert np.array_equal(one, generate(statistics, 1.0, seed=5))
    assert not np.array_equal(one, generate(statistics, 1.0, seed=6))
    assert not np.array_equal(one, generate(statistics, 0.0, seed=5))


def test_the_same_images_give_the_same_bytes(statistics: Statistics, tmp_path: Path) -> None:
    def of(label: float, seed: int, rows: int, columns: int) -> np.ndarray:
        return enlarge(generate(statistics, label, seed=seed), rows, columns, seed=seed)

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_samples(tmp_path / name, of, seed=1)
    for sample in SAMPLES:
        first, second = (tmp_path / name / f"{sample.name}.dcm" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_sample_contains_the_pixels_it_was_given(
    sample: Sample, prepare: Callable[[Dataset], torch.Tensor]
) -> None:
    pixels = np.tile(np.linspace(0, 1, sample.columns, dtype="f4"), (sample.rows, 1))
    tensor = prepare(build_sample(sample, pixels))
    assert (tensor[0, :, 1:] >= tensor[0, :, :-1]).all()
    assert tensor.mean() == pytest.approx(0, abs=0.02)
