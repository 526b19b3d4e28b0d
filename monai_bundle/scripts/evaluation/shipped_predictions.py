"""Keep the tables of the shipped weights' predictions up to date."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from scripts.checksum import sha256_of
from scripts.data.predictions import recalibrate
from scripts.evaluation.inputs import SHIPPED, Inputs
from scripts.evaluation.run_log import append_run

ORIGIN: Final = "shipped.json"  # beside the tables: the weights and the calibration they are of


def run_in_new_interpreter(folder: Path, *command: str) -> None:
    """Run `python -m command` in `folder`."""
    subprocess.run([sys.executable, "-m", *command], cwd=folder, check=True)


def update_predictions(
    inputs: Inputs,
    *,
    data_dir: str | None,
    again: bool,
    run: Callable[..., object] = run_in_new_interpreter,
) -> None:
    """Predict the parts whose table is missing or of other weights, and log runs on the test set.

    Tables of the same weights under another calibration are recalibrated, without the network.

    Args:
        inputs: the bundle.
        data_dir: the radiographs, or None for the default of evaluate.yaml.
        again: predict all parts even if their tables are up to date.
        run: what runs a module in a folder, given the folder and the words of the command.
    """
    now = _origin(inputs)
    path_of_origins = inputs.tables / ORIGIN
    origins: dict[str, Any] = {}
    if path_of_origins.exists():
        origins = json.loads(path_of_origins.read_text())
    for part in SHIPPED:
        path = inputs.tables / f"{part}.csv"
        before = origins.get(part, {}) if path.exists() else {}
        if again or before.get("weights_sha256") != now["weights_sha256"]:
            print(f"{part}: predicting with the shipped weights", flush=True)
            run(inputs.bundle, *_command(part, data_dir))
            if part == "test":
                append_run(inputs)
        elif before != now:
            recalibrate(path, now["temperature"], now["bias"])
        origins[part] = now
        path_of_origins.write_text(json.dumps(origins, indent=2) + "\n")


def _origin(inputs: Inputs) -> dict[str, Any]:
    named, weights = inputs.metadata["weights"]["sha256"], inputs.metadata["weights"]["path"]
    if sha256_of(inputs.bundle / weights) != named:
        raise ValueError(f"{weights} is not the file that configs/metadata.json names")
    calibration = inputs.metadata["calibration"]
    return {
        "weights_sha256": named,
        "temperature": calibration["temperature"],
        "bias": calibration["bias"],
    }


def _command(part: str, data_dir: str | None) -> list[str]:
    table = f"docs/predictions/{part}.csv"
    command = ["monai.bundle", "run", "--config_file", "configs/evaluate.yaml", "--part", part]
    options = ["--data_dir", data_dir] if data_dir else []
    return [*command, "--predictions", table, *options]
