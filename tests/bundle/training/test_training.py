"""The recipe runs: it trains by fold, goes on after a stop, starts from elsewhere, stops early."""

import csv
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peers.objects import make_cr, make_dx
from PIL import Image
from pydicom.dataset import Dataset
from scripts.data.manifest import public
from scripts.network.efficientnet_lite import EfficientNetLite

SIDE = 64
PATTERN = 90 * (np.arange(SIDE) % 16 > 7)  # stripes are the pneumonia of these pictures
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
    """Pictures of nothing in the layout of the public sets."""
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
    """The bundle's recipe for small pictures, without its weights: nothing real is touched."""
    source = Path(__file__).resolve().parents[3] / "monai_bundle"
    copied = tmp_path_factory.mktemp("recipe") / "bundle"
    for name in ("configs", "scripts"):
        shutil.copytree(source / name, copied / name)
    config = copied / "configs" / "inference.yaml"
    small, count = re.subn(
        r"spatial_size: \[\d+, \d+\]", f"spatial_size: [{SIDE}, {SIDE}]", config.read_text()
    )
    assert count == 1
    config.write_text(small)
    return copied


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def train(folder: Path, **options: object) -> subprocess.CompletedProcess[str]:
    said = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return run(folder, "monai.bundle", "run", "--config_file", "configs/train.yaml", *said)


def epochs(folder: Path) -> list[dict[str, str]]:
    with (folder / "epochs.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_fold_is_trained_and_goes_on_where_it_was_interrupted(
    recipe: Path, pictures: Path
) -> None:
    options = {"data_dir": pictures, "output_dir": "fold", "fold": "fold-1", "batch_size": 8}
    first = train(recipe, **options, epochs=2)
    assert "pretrained: none, the network starts from chance" in first.stdout
    assert "resumed" not in first.stdout
    assert "[2/2]" in first.stderr  # the progress bar
    assert [row["epoch"] for row in epochs(recipe / "fold")] == ["1", "2"]

    second = train(recipe, **options, epochs=4)
    assert "resumed after epoch 2" in second.stdout
    assert "weights: fold/settled.pt" in second.stdout
    rows = epochs(recipe / "fold")
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    for row in rows:
        assert float(row["train_loss"]) > 0
        assert 0 <= float(row["validation_auc"]) <= 1
        assert float(row["validation_loss"]) > 0
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates[1] < rates[3] * 1.01 < rates[2] <= 5e-4  # four epochs got a course of their own

    best, state = (
        torch.load(recipe / "fold" / name, weights_only=True) for name in ("best.pt", "settled.pt")
    )
    EfficientNetLite().load_state_dict(state)
    assert all(torch.equal(state[name], best[name]) for name in best if name.endswith("weight"))
    assert not torch.equal(state["head.1.running_mean"], best["head.1.running_mean"])
    saved = torch.load(recipe / "fold" / "checkpoint.pt", weights_only=True)
    shown = sum(
        2 if row["cohort"] == "adult" else 1
        for row in public(pictures)
        if row["part"] in {"fold-0", "fold-2", "fold-3", "fold-4"}
    )
    assert saved["iteration"] == 4 * (shown // 8)


def striped(make: Callable[..., Dataset], chance: np.random.Generator, label: int) -> Dataset:
    """A DICOM file of 8 bits of what `picture` gives."""
    dataset = make(rows=SIDE, columns=SIDE, bits_stored=8)
    dataset.PixelData = picture(chance, label).tobytes()
    return dataset


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory, recipe: Path) -> Path:
    """What `scripts.data.manifest` makes of a hospital's list of DICOM files, two a patient."""
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


def test_a_hospitals_dicom_files_train_on_from_other_weights_until_nothing_improves(
    recipe: Path, manifest: Path
) -> None:
    torch.manual_seed(5)
    start = EfficientNetLite()
    torch.save(start.state_dict(), recipe / "start.pt")
    done = train(
        recipe,
        manifest=manifest,
        output_dir="hospital",
        cohorts="['ward']",
        repeats="{'ward': 2}",
        pretrained="start.pt",
        still_blocks=1,
        batch_size=8,
        epochs=30,
        learning_rate=0.003,
        average_decay=0.5,
        patience=2,
    )
    assert "tensors from start.pt" in done.stdout
    rows = epochs(recipe / "hospital")
    assert len(rows) < 30
    scores = [float(row["validation_auc"]) for row in rows]
    assert max(scores) > 0.9
    assert scores.index(max(scores)) + 1 + 2 == len(rows)
    trained = torch.load(recipe / "hospital" / "settled.pt", weights_only=True)
    held = ("stem.", "blocks.0.")
    for name, tensor in start.state_dict().items():
        if name.startswith(held):
            torch.testing.assert_close(trained[name], tensor)
    assert not torch.equal(trained["classifier.weight"], start.classifier.weight)
    assert not torch.equal(trained["blocks.1.layers.0.weight"], start.blocks[1].layers[0].weight)


def test_a_fold_that_is_not_there_ends_the_training_before_it_begins(
    recipe: Path, pictures: Path
) -> None:
    with pytest.raises(AssertionError, match="no radiograph is in fold-7"):
        train(recipe, data_dir=pictures, output_dir="none", fold="fold-7", epochs=1)
    assert not (recipe / "none").exists()
