"""Keep the tables of the shipped weights' predictions up to date."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

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
    """
    weights = _weights(inputs)
    path = inputs.tables / ORIGIN
    origins: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for part, name in SHIPPED.items():
        known = origins.get(name) if (inputs.tables / f"{name}.csv").exists() else None
        if known == weights and not again:
            continue
        print(f"{name}: predicting with the shipped weights", flush=True)
        run(inputs.bundle, COMMAND, "--part", part, *(["--data_dir", data_dir] if data_dir else []))
        origins[name] = weights
        path.write_text(json.dumps(origins, indent=2) + "\n")


def _weights(inputs: Inputs) -> str:
    """Return the digest of the shipped weights.

    Raises:
        ValueError: the file is not the one that the metadata names.
    """
    named, weights = str(inputs.metadata["weights"]["sha256"]), inputs.metadata["weights"]["path"]
    if sha256_of(inputs.bundle / weights) != named:
        raise ValueError(f"{weights} is not the file that configs/metadata.json names")
    return named
