"""Keep the tables of the shipped weights' predictions up to date."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from scripts.checksum import sha256_of
from scripts.evaluation.inputs import SHIPPED, Inputs

ORIGIN: Final = "shipped.json"  # beside the tables: the weights that they are of
COMMAND: Final = "scripts.evaluation.predict_films"


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
    """Predict the parts whose table is missing or of other weights.

    Args:
        inputs: the bundle.
        data_dir: the radiographs, or None for the default.
        again: predict all parts even if their tables are up to date.
        run: what runs a module in a folder, given the folder and the words of the command.

    Raises:
        ValueError: the weights are not those that the metadata names.
    """
    weights = inputs.metadata["weights"]
    if sha256_of(inputs.bundle / weights["path"]) != weights["sha256"]:
        raise ValueError(f"{weights['path']} is not the file that configs/metadata.json names")
    known = read_origins(inputs)
    stale = [
        part
        for part, name in SHIPPED.items()
        if again
        or known.get(name) != weights["sha256"]
        or not (inputs.tables / f"{name}.csv").exists()
    ]
    if stale:
        print(f"predicting with the shipped weights: {', '.join(stale)}", flush=True)
        parts = [word for part in stale for word in ("--part", part)]
        run(inputs.bundle, COMMAND, *parts, *(["--data_dir", data_dir] if data_dir else []))


def read_origins(inputs: Inputs) -> dict[str, str]:
    """Return the digest of the weights that each table is of."""
    path = inputs.tables / ORIGIN
    return dict(json.loads(path.read_text())) if path.exists() else {}


def record_origin(inputs: Inputs, name: str) -> None:
    """Write down that a table is of the shipped weights."""
    origins = read_origins(inputs) | {name: inputs.metadata["weights"]["sha256"]}
    (inputs.tables / ORIGIN).write_text(json.dumps(origins, indent=2) + "\n")
