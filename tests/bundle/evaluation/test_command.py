"""The command predicts what is missing, and logs each run on the test set."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle.config_parser import ConfigParser
from PIL import Image
from scripts.checksum import sha256_of
from scripts.data.predictions import COLUMNS, FILM_COLUMNS
from scripts.evaluation.inputs import Inputs
from scripts.evaluation.shipped_predictions import update_predictions
from support.module_process import run_module

pytestmark = pytest.mark.slow

SIDE = 64
SETS = {
    "pediatric/train/NORMAL/IM-{:04}-0001.jpeg": 20,
    "pediatric/train/PNEUMONIA/person{}_virus_1.jpeg": 20,
    "pediatric/test/NORMAL/IM-{:04}-0001.jpeg": 3,
    "pediatric/test/PNEUMONIA/person{}_bacteria_1.jpeg": 5,
    "adult/NORMAL/{:08}_000.jpeg": 20,
    "adult/PNEUMONIA/{:08}_001.jpeg": 20,
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic images in the layout of the public sets."""
    folder = tmp_path_factory.mktemp("pictures")
    chance = np.random.default_rng(3)
    for name, count in SETS.items():
        for number in range(count):
            path = folder / name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(chance.integers(0, 255, (SIDE, SIDE)).astype("u1")).save(path)
    return folder


@pytest.fixture
def copy(tmp_path: Path, bundle: Path) -> Path:
    """A copy of the bundle for small images, with random weights."""
    copied = tmp_path / "bundle"
    for name in ("configs", "scripts"):
        shutil.copytree(bundle / name, copied / name)
    (copied / "docs").mkdir()
    shutil.copy(bundle / "docs" / "README.md", copied / "docs")
    config = copied / "configs" / "inference.yaml"
    small = re.sub(
        r"spatial_size: \[\d+, \d+\]", f"spatial_size: [{SIDE}, {SIDE}]", config.read_text()
    )
    config.write_text(small)
    ship(copied, seed=1)
    change(copied, calibration={"method": "platt", "temperature": 1.0, "bias": 0.0})
    point = {"threshold": 0.5, "indeterminate": [0.4, 0.6]}
    change(copied, operating_points={"balanced": point}, default_operating_point="balanced")
    return copied


def metadata_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "configs" / "metadata.json").read_text())


def change(folder: Path, **entries: object) -> None:
    changed = metadata_of(folder) | entries
    (folder / "configs" / "metadata.json").write_text(json.dumps(changed))


def network_of(folder: Path, seed: int, item: str = "network_def") -> torch.nn.Module:
    config = ConfigParser()
    config.read_config(str(folder / "configs" / "inference.yaml"))
    torch.manual_seed(seed)
    return config.get_parsed_content(item)


def ship(folder: Path, seed: int) -> None:
    """Write random weights where the metadata names them."""
    path = folder / "models" / "model.pt"
    path.parent.mkdir(exist_ok=True)
    torch.save(network_of(folder, seed).state_dict(), path)
    change(folder, weights={"path": "models/model.pt", "sha256": sha256_of(path)})


def run(folder: Path, *command: str) -> str:
    done = run_module(folder, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_part_is_predicted_with_the_shipped_weights_or_those_of_a_training(
    copy: Path, pictures: Path
) -> None:
    trained = network_of(copy, seed=2, item="network_def::network")
    torch.save(trained.state_dict(), copy / "best.pt")
    evaluate = ("monai.bundle", "run", "--config_file", "configs/evaluate.yaml")
    where = ("--data_dir", str(pictures), "--output_dir", "out", "--part", "fold-2")
    said = run(copy, *evaluate, *where, "--cohorts", "['adult']")
    assert "[1/1]" in said  # the progress bar
    run(copy, *evaluate, *where, "--weights", "best.pt", "--predictions", "out/trained.csv")

    shipped, other = table(copy / "out" / "fold-2.csv"), table(copy / "out" / "trained.csv")
    assert tuple(shipped[0]) == COLUMNS
    assert {row["cohort"] for row in shipped} == {"adult"}
    assert {row["cohort"] for row in other} == {"adult", "pediatric"}
    assert {row["part"] for row in other} == {"fold-2"}
    logits = {row["image"]: row["logit"] for row in other}
    assert all(row["logit"] != logits[row["image"]] for row in shipped)
    for row in shipped:
        likely = 1 / (1 + np.exp(-float(row["logit"])))
        assert float(row["probability"]) == pytest.approx(likely, abs=1e-5)
    assert not any("IM-" in value or "person" in value for row in other for value in row.values())


def test_the_test_set_is_run_once_for_each_weights_file_and_each_run_is_logged(
    copy: Path, pictures: Path
) -> None:
    log = copy / "docs" / "test_runs.csv"
    tables = copy / "docs" / "predictions"
    page = copy.parent / "docs" / "evaluation.md"

    first = run(copy, "scripts.evaluation", "--data_dir", str(pictures), "--draws", "20")
    assert "predicting with the shipped weights: validation, measuring, test, rsna-test" in first
    assert "rsna_test: no film of the part rsna-test, no table" in first
    before = table(tables / "test.csv")
    assert len(before) == 8
    assert tuple(before[0]) == FILM_COLUMNS
    assert {(row["source"], row["part"], row["held_out"]) for row in before} == {
        ("pediatric", "test", "")
    }
    assert {row["kind"] for row in before} == {"normal", "bacteria"}
    assert not any("IM-" in value or "person" in value for row in before for value in row.values())
    assert "not measured" in page.read_text()
    assert metadata_of(copy)["weights"]["sha256"][:16] in page.read_text().splitlines()[-1]

    asked: list[tuple[str, ...]] = []
    update_predictions(
        Inputs(bundle=copy), data_dir=None, again=False, run=lambda _, *words: asked.append(words)
    )
    assert asked == [
        ("scripts.evaluation.predict_films", "--part", "measuring", "--part", "rsna-test")
    ]  # which had no film: neither validation nor test again
    assert [(row["set"], row["version"]) for row in table(log)] == [
        ("test", metadata_of(copy)["version"])
    ]

    ship(copy, seed=3)
    update_predictions(Inputs(bundle=copy), data_dir=str(pictures), again=False, run=run)
    after = table(tables / "test.csv")
    assert [row["opacity"] for row in after] != [row["opacity"] for row in before]
    assert len(table(log)) == 2
    assert table(log)[1]["weights_sha256"] == metadata_of(copy)["weights"]["sha256"]


def test_weights_with_another_digest_than_the_metadatas_are_not_measured(copy: Path) -> None:
    (copy / "models" / "model.pt").write_bytes(b"others")
    with pytest.raises(ValueError, match=r"not the file that configs/metadata\.json names"):
        update_predictions(Inputs(bundle=copy), data_dir=None, again=False)
    assert not (copy / "docs" / "predictions").exists()
