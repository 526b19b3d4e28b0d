"""train.yaml trains by fold, resumes, starts from given weights and stops early."""

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom.dataset import Dataset
from scripts.data.manifest import public_sets
from scripts.network.efficientnet_lite import EfficientNetLite
from support.module_process import run_module
from synthetic.objects import make_cr, make_dx

pytestmark = pytest.mark.slow

SIDE = 64  # of the files, the smallest that is accepted
NETWORK_SIDE = 32  # of the network's input, so that the trainings are short
PATTERN = 90 * (np.arange(SIDE) % 32 > 15)  # stripes stand for pneumonia
SETS = {
    "pediatric/train/NORMAL/IM-{:04}-0001.jpeg": 24,
    "pediatric/train/PNEUMONIA/person{}_virus_1.jpeg": 24,
    "pediatric/test/NORMAL/IM-{:04}-0001.jpeg": 2,
    "pediatric/test/PNEUMONIA/person{}_virus_1.jpeg": 2,
    "adult/NORMAL/{:08}_000.jpeg": 12,
    "adult/PNEUMONIA/{:08}_001.jpeg": 12,
}


def picture(chance: np.random.Generator, label: int) -> np.ndarray:
    pixels = chance.integers(0, 90, (SIDE, SIDE)) + PATTERN * label
    return pixels.astype("u1")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic images in the layout of the public sets."""
    folder = tmp_path_factory.mktemp("pictures")
    chance = np.random.default_rng(3)
    for name, count in SETS.items():
        for number in range(count):
            path = folder / name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(chance, "PNEUMONIA" in name)).save(path)
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the bundle without its weights, for small images."""
    source = Path(__file__).resolve().parents[3] / "monai_bundle"
    copied = tmp_path_factory.mktemp("recipe") / "bundle"
    for name in ("configs", "scripts"):
        shutil.copytree(source / name, copied / name)
    config = copied / "configs" / "inference.yaml"
    small, count = re.subn(
        r"spatial_size: \[\d+, \d+\]",
        f"spatial_size: [{NETWORK_SIDE}, {NETWORK_SIDE}]",
        config.read_text(),
    )
    assert count == 1
    config.write_text(small)
    return copied


def run(folder: Path, *command: str) -> CompletedProcess[str]:
    done = run_module(folder, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def train(folder: Path, **options: object) -> CompletedProcess[str]:
    said = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return run(folder, "monai.bundle", "run", "--config_file", "configs/train.yaml", *said)


def epochs(folder: Path) -> list[dict[str, str]]:
    with (folder / "epochs.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_fold_is_trained_and_resumes_after_an_interruption(recipe: Path, pictures: Path) -> None:
    options = {"data_dir": pictures, "output_dir": "fold", "fold": "fold-1", "batch_size": 16}
    first = train(recipe, **options, epochs=1)
    assert "pretrained: none, the network starts from random weights" in first.stdout
    assert "resumed" not in first.stdout
    assert [row["epoch"] for row in epochs(recipe / "fold")] == ["1"]

    second = train(recipe, **options, epochs=3)
    assert "resumed after epoch 1" in second.stdout
    assert "[3/3]" in second.stderr  # the progress bar
    assert "weights: fold/settled.pt" in second.stdout
    rows = epochs(recipe / "fold")
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    for row in rows:
        assert float(row["train_loss"]) > 0
        assert 0 <= float(row["validation_auc"]) <= 1
        assert float(row["validation_loss"]) > 0
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates[0] < rates[2] * 1.01 < rates[1] <= 5e-4  # the schedule is that of three epochs

    best, state = (
        torch.load(recipe / "fold" / name, weights_only=True) for name in ("best.pt", "settled.pt")
    )
    EfficientNetLite().load_state_dict(state)
    assert all(torch.equal(state[name], best[name]) for name in best if name.endswith("weight"))
    assert not torch.equal(state["head.1.running_mean"], best["head.1.running_mean"])
    saved = torch.load(recipe / "fold" / "checkpoint.pt", weights_only=True)
    shown = sum(
        2 if row["cohort"] == "adult" else 1
        for row in public_sets(pictures)
        if row["part"] in {"fold-0", "fold-2", "fold-3", "fold-4"}
    )
    assert saved["iteration"] == 3 * (shown // 16)


def striped(make: Callable[..., Dataset], chance: np.random.Generator, label: int) -> Dataset:
    """A DICOM object of 8 bits with the pixels of `picture`."""
    dataset = make(rows=SIDE, columns=SIDE, bits_stored=8)
    dataset.PixelData = picture(chance, label).tobytes()
    return dataset


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory, recipe: Path) -> Path:
    """The manifest of a hospital's list of DICOM files, two per patient."""
    folder = tmp_path_factory.mktemp("hospital")
    chance = np.random.default_rng(5)
    lines = ["image,label,patient,cohort"]
    for number in range(80):
        label = number // 2 % 2
        dataset = striped(make_dx if number % 3 else make_cr, chance, label)
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
        lines.append(
            f"{number}.dcm,{label},patient-{number // 2},{'icu' if number < 4 else 'ward'}"
        )
    (folder / "list.csv").write_text("\n".join(lines))
    run(
        recipe,
        "scripts.data.manifest",
        str(folder / "manifest.csv"),
        "--list",
        str(folder / "list.csv"),
    )
    return folder / "manifest.csv"


def network_with_statistics() -> EfficientNetLite:
    """A network with random weights and the batch statistics of such images, to learn quickly."""
    torch.manual_seed(5)
    network = EfficientNetLite().train()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = None  # the mean over all batches
    chance = np.random.default_rng(6)
    files = np.stack([picture(chance, number % 2) for number in range(32)])
    images = torch.from_numpy(files / 90 - 1).float()[:, None]
    with torch.no_grad():
        network(torch.nn.functional.avg_pool2d(images, SIDE // NETWORK_SIDE))
    return network


def test_training_on_a_hospitals_dicom_files_starts_from_given_weights_and_stops_early(
    recipe: Path, manifest: Path
) -> None:
    start = network_with_statistics()
    torch.save(start.state_dict(), recipe / "start.pt")
    done = train(
        recipe,
        manifest=manifest,
        output_dir="hospital",
        cohorts="['ward']",
        repeats="{'ward': 2}",
        pretrained="start.pt",
        still_blocks=3,
        batch_size=16,
        epochs=20,
        learning_rate=0.003,
        average_decay=0.5,
        patience=2,
    )
    assert "tensors from start.pt" in done.stdout
    rows = epochs(recipe / "hospital")
    assert len(rows) < 20
    scores = [float(row["validation_auc"]) for row in rows]
    assert max(scores) > 0.9
    assert scores.index(max(scores)) + 1 + 2 == len(rows)
    trained = torch.load(recipe / "hospital" / "settled.pt", weights_only=True)
    frozen = ("stem.", "blocks.0.", "blocks.1.", "blocks.2.")
    for name, tensor in start.state_dict().items():
        if name.startswith(frozen):
            torch.testing.assert_close(trained[name], tensor)
    assert not torch.equal(trained["classifier.weight"], start.classifier.weight)
    moved = "blocks.3.layers.0.weight"
    assert not torch.equal(trained[moved], start.get_parameter(moved))


def test_an_unknown_fold_is_refused_before_training_begins(recipe: Path, pictures: Path) -> None:
    with pytest.raises(AssertionError, match="no radiograph is in fold-7"):
        train(recipe, data_dir=pictures, output_dir="none", fold="fold-7", epochs=1)
    assert not (recipe / "none").exists()
