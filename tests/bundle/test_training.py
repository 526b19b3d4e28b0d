"""The recipe runs: it trains, goes on after a stop, publishes, calibrates and evaluates."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIDE = 64


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few pictures of nothing in the layout of the public download: bright is pneumonia."""
    folder = tmp_path_factory.mktemp("radiographs")
    chance = np.random.default_rng(3)
    for part in ("train", "test"):
        for kind, name, level in (
            ("NORMAL", "IM-{:04}-0001.jpeg", 60),
            ("PNEUMONIA", "person{}_virus_1.jpeg", 160),
        ):
            (folder / "pediatric" / part / kind).mkdir(parents=True)
            for number in range(8):
                pixels = chance.integers(0, 90, (SIDE, SIDE)) + level * (np.arange(SIDE) % 9 > 4)
                path = folder / "pediatric" / part / kind / name.format(number)
                Image.fromarray(pixels.astype("u1")).save(path)
    return folder


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle's recipe without its weights, so that nothing of the real one is touched."""
    source = Path(__file__).resolve().parents[2] / "monai_bundle"
    copied = tmp_path_factory.mktemp("copy") / "bundle"
    copied.mkdir()
    for name in ("configs", "scripts"):
        shutil.copytree(source / name, copied / name)
    config = copied / "configs" / "inference.yaml"
    small = config.read_text().replace("[192, 192]", "[32, 32]")
    config.write_text(small.replace("block_config: [4, 8, 12, 8]", "block_config: [1, 1]"))
    return copied


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def train(copy: Path, radiographs: Path, epochs: int) -> str:
    return run(
        copy,
        *("monai.bundle", "run", "--config_file", "configs/train.yaml"),
        *("--data_dir", str(radiographs), "--output_dir", "out"),
        *("--epochs", str(epochs), "--batch_size", "4", "--validation_share", "0.5"),
        *("--average_decay", "0.5", "--learning_rate", "0.02"),
    )


def test_the_recipe_trains_resumes_publishes_calibrates_and_evaluates(
    copy: Path, radiographs: Path
) -> None:
    assert "resumed" not in train(copy, radiographs, epochs=2)
    assert "resumed after epoch 2" in train(copy, radiographs, epochs=20)
    with (copy / "out" / "epochs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 21))
    assert max(float(row["validation_auc"]) for row in rows) > 0.9

    digest = run(copy, "scripts.publish", "out/best.pt").split()[-1]
    evaluate = ("monai.bundle", "run", "--config_file", "configs/evaluate.yaml")
    where = ("--data_dir", str(radiographs), "--output_dir", "out", "--draws", "50")
    run(copy, *evaluate, *where, "--part", "validation", "--validation_share", "0.5")
    run(copy, "scripts.calibrate", "out/validation.csv")
    metadata = json.loads((copy / "configs" / "metadata.json").read_text())
    assert metadata["weights"]["sha256"] == digest
    assert metadata["calibration"]["images"] == 8
    assert metadata["operating_points"]["screening"]["sensitivity"] >= 0.97

    run(copy, *evaluate, *where, "--part", "test")
    figures = json.loads((copy / "out" / "metrics.json").read_text())
    assert figures["test"]["images"] == 16
    assert figures["test"]["pneumonia"] == 8
    assert figures["test"]["model"]["weights_sha256"] == digest
    assert 0 <= figures["test"]["overall"]["auc"]["value"] <= 1
