"""Make the shipped model from the radiographs.

Run `python -m scripts.training.recipe START` from the bundle's folder. START is the file of the
ImageNet weights that every training starts from. Keeps all films in a cache; trains the five folds
and the trainings that leave a source out; combines the folds into the shipped weights; trains the
gate; writes the tables of what each training held out and of what the ensemble says of the
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

TABLES: Final = Path("docs/predictions")
HEADS: Final = "scripts.training.heads"
# Sources that a training leaves out, to measure the recipe on hospitals that it never saw.
LEFT_OUT: Final = ("rsna2018", "nlm_shenzhen+nlm_montgomery")
# None of the five that ship may be trained on the validation part: it is where the ensemble, which
# has no fold of its own, can be measured.
HELD_OUT: Final = (*(f"fold-{fold}+validation" for fold in range(FOLDS)), *LEFT_OUT)
SIDE: Final = 224  # of the films, the `spatial_size` of configs/inference.yaml
VARIANT: Final = ("--variant", "lite0", "--normalisation", "none")
TRAINING: Final = ("--epochs", "20", "--steps", "120", "--batch_size", "48")

Command = tuple[str, ...]
Run = Callable[[Command], None]


def run_module(command: Command) -> None:
    """Run `python -m` with the words of a command."""
    print(f"==> {' '.join(command)}", flush=True)
    subprocess.run([sys.executable, "-m", *command], check=True)


def trainings(start: Path, films: Path, runs: Path, data_dir: Path) -> Iterator[Command]:
    """Yield the commands that decode the films and train what is not finished."""
    where = ("--data_dir", str(data_dir), "--side", str(SIDE))
    yield (HEADS, "cache", "--output", str(films), *where)
    for name in HELD_OUT:
        if not (runs / name / "result.json").exists():
            asked = ("--start", str(start), "--held_out", name, *VARIANT, *TRAINING)
            yield (HEADS, "train", "--films", str(films), "--output", str(runs), *asked)


def packaging(runs: Path, data_dir: Path) -> Iterator[Command]:
    """Yield the commands that combine the folds and train the gate."""
    folds = [str(runs / name / "settled.pt") for name in HELD_OUT[:FOLDS]]
    yield ("scripts.training.package_weights", *folds)
    yield ("scripts.training.train_gate", "--data_dir", str(data_dir))


def tables(films: Path, runs: Path, data_dir: Path) -> Iterator[Command]:
    """Yield the commands that write every table but those of the test splits."""
    folds, left_out = HELD_OUT[:FOLDS], HELD_OUT[FOLDS:]
    for name, which, options in (
        ("cross_validation", folds, ()),
        ("members", folds, ("--part", "validation")),
        ("out_of_source", left_out, ()),
    ):
        folders = [str(runs / each) for each in which]
        table = str(TABLES / f"{name}.csv")
        yield (HEADS, "predict", *folders, "--films", str(films), "--table", table, *options)
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
    parser.add_argument("--films", type=Path, default=Path("../runs/films"), help="the cache")
    parser.add_argument("--runs", type=Path, default=Path("../runs/heads"))
    parser.add_argument("--data_dir", type=Path, default=Path("../../shared/data"))
    options = parser.parse_args(arguments)
    where = (options.films, options.runs, options.data_dir)
    steps = (
        trainings(options.start, *where),
        packaging(options.runs, options.data_dir),
        tables(*where),
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
