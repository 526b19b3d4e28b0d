"""Measure the shipped weights and publish the figures.

Run `python -m scripts.evaluation` from the bundle's folder, or `make evaluate`. Predicts the
validation part, the sources for measuring and the two test splits, unless their tables are already
of these weights; computes docs/metrics.json from all tables in docs/predictions; writes
../docs/evaluation.md with its figures, and the tables of the model card. The same tables give the
same bytes. Calibration and operating points are chosen before, by `scripts.evaluation.populations`.

The test splits are run once for each weights file. Every run is a line of docs/test_runs.csv.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from subprocess import CalledProcessError

from scripts.evaluation.confidence_intervals import DRAWS
from scripts.evaluation.inputs import Inputs
from scripts.evaluation.report.write import write_report
from scripts.evaluation.shipped_predictions import update_predictions


def main(arguments: Sequence[str] | None = None) -> None:
    """Update the tables, write the report and print the targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="predict even if it was done")
    parser.add_argument("--data_dir", help="the radiographs, if not in ../../shared/data")
    parser.add_argument("--docs", type=Path, default=Path("../docs"), help="folder of the page")
    parser.add_argument("--draws", type=int, default=DRAWS, help="resamplings of an interval")
    options = parser.parse_args(arguments)
    inputs = Inputs(bundle=Path(), draws=options.draws)
    inputs.tables.mkdir(parents=True, exist_ok=True)
    try:
        update_predictions(inputs, data_dir=options.data_dir, again=options.again)
    except (OSError, ValueError, CalledProcessError) as exc:
        parser.exit(1, f"{exc}\n")
    for target in write_report(inputs, options.docs)["targets"]:
        reached = {True: "yes", False: "no", None: "not measured"}[target["reached"]]
        print(f"{reached:>12}  {target['target']} {target['wanted']}: {target['value']}")


if __name__ == "__main__":
    main()
