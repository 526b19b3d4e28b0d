"""Measure the shipped weights and write it down: python -m scripts.evaluation, or make evaluate.

Predicts the validation part and the official test set, unless their tables are already of these
weights; computes docs/metrics.json from all tables in docs/predictions; draws and writes
../docs/evaluation.md; fills the table of the model card. The same tables give the same bytes.

The test set is run once for each weights file. Every run is a line of docs/test_runs.csv.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from scripts.data.predictions import read_predictions, rescale
from scripts.evaluation.confidence_intervals import DRAWS
from scripts.evaluation.metrics import at_point, overall
from scripts.evaluation.model_card import fill
from scripts.evaluation.report.inputs import SHIPPED, Inputs
from scripts.evaluation.report.measure import measure
from scripts.evaluation.report.page import page
from scripts.evaluation.report.plots import draw
from scripts.network.weights import sha256_of

LOG_COLUMNS: Final = ("date", "version", "weights_sha256", "auc", "accuracy")
ORIGIN: Final = "shipped.json"  # beside the tables: which weights and which calibration made them


def bring_up_to_date(inputs: Inputs, *, data_dir: str | None, again: bool) -> None:
    """Predict what is not yet predicted by the shipped weights; write down a run on the test set.

    Tables of the same weights under an older calibration are scaled anew, without the network.
    """
    now = _origin(inputs)
    known = inputs.tables / ORIGIN
    origins: dict[str, Any] = json.loads(known.read_text()) if known.exists() else {}
    for part in SHIPPED:
        path = inputs.tables / f"{part}.csv"
        before = origins.get(part, {}) if path.exists() else {}
        if again or before.get("weights_sha256") != now["weights_sha256"]:
            _predict(inputs, part, data_dir)
            if part == "test":
                _log(inputs)
        elif before != now:
            rescale(path, now["temperature"], now["bias"])
        origins[part] = now
        known.write_text(json.dumps(origins, indent=2) + "\n")


def _origin(inputs: Inputs) -> dict[str, Any]:
    named, weights = inputs.metadata["weights"]["sha256"], inputs.metadata["weights"]["path"]
    if sha256_of(inputs.bundle / weights) != named:
        raise ValueError(f"{weights} is not the file that configs/metadata.json names")
    scale = inputs.metadata["calibration"]
    return {
        "weights_sha256": named,
        "temperature": scale["temperature"],
        "bias": scale["bias"],
    }


def _predict(inputs: Inputs, part: str, data_dir: str | None) -> None:
    print(f"{part}: predicted by the shipped weights", flush=True)
    table = f"docs/predictions/{part}.csv"
    command = ["monai.bundle", "run", "--config_file", "configs/evaluate.yaml", "--part", part]
    where = ["--data_dir", data_dir] if data_dir else []
    subprocess.run(
        [sys.executable, "-m", *command, "--predictions", table, *where],
        cwd=inputs.bundle,
        check=True,
    )


def _log(inputs: Inputs) -> None:
    results = read_predictions(inputs.tables / "test.csv")
    accuracy = at_point(results, inputs.points[inputs.default_point])["accuracy"]
    run = {
        "date": datetime.now(UTC).date().isoformat(),
        "version": inputs.metadata["version"],
        "weights_sha256": inputs.metadata["weights"]["sha256"],
        "auc": f"{overall(results)['auc']:.4f}",
        "accuracy": f"{accuracy:.4f}",
    }
    path = _log_of(inputs)
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=LOG_COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(run)


def _log_of(inputs: Inputs) -> Path:
    return inputs.bundle / "docs" / "test_runs.csv"


def runs_on_test(inputs: Inputs) -> list[dict[str, str]]:
    """Give the runs on the test set, oldest first."""
    path = _log_of(inputs)
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(inputs: Inputs, docs: Path) -> Mapping[str, Any]:
    """Write metrics.json, the page with its figures into `docs`, and the model card's tables."""
    metrics = measure(inputs)
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (inputs.bundle / "docs" / "metrics.json").write_text(text)
    docs.mkdir(parents=True, exist_ok=True)
    draw(inputs, docs / "evaluation")
    (docs / "evaluation.md").write_text(page(metrics, runs_on_test(inputs)))
    fill(inputs.bundle / "docs" / "README.md", metrics)
    return metrics


def main() -> None:
    """Do what the command line says; run from the bundle's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="predict although it was done")
    parser.add_argument("--data_dir", help="the radiographs, if not in ../../shared/data")
    parser.add_argument("--docs", type=Path, default=Path("../docs"), help="where the page goes")
    parser.add_argument("--draws", type=int, default=DRAWS, help="resamplings of an interval")
    given = parser.parse_args()
    inputs = Inputs(bundle=Path(), draws=given.draws)
    (inputs.tables).mkdir(parents=True, exist_ok=True)
    bring_up_to_date(inputs, data_dir=given.data_dir, again=given.again)
    for target in write(inputs, given.docs)["targets"]:
        reached = {True: "yes", False: "no", None: "not measured"}[target["reached"]]
        print(f"{reached:>12}  {target['target']} {target['wanted']}: {target['value']}")


if __name__ == "__main__":
    main()
