"""Predict films of all sources with the shipped weights, and write tables of films.

Run `python -m scripts.evaluation.predict_films --part validation --part measuring` from the
bundle's folder. Each part of `scripts.data.joined_sets` has a table of its own in docs/predictions,
with the logits of every head that the network has. Films that the preprocessing refuses are left
out, those that the gate would refuse are not. A run on a test split is a line of
docs/test_runs.csv.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from torch import Tensor
from tqdm import tqdm

from scripts.bundle.loaded import BATCH_SIZE, LoadedBundle, load_bundle
from scripts.data.datasets import Radiograph
from scripts.data.joined_sets import read_by_members
from scripts.data.manifest import all_sets, read_manifest
from scripts.data.predictions import FILM_COLUMNS, film_prediction, write_predictions
from scripts.evaluation.inputs import SHIPPED, TEST_TABLES, Inputs
from scripts.evaluation.run_log import append_run
from scripts.evaluation.shipped_predictions import record_origin
from scripts.refusal import find_refusal
from scripts.training.heads.table import TEACHES

# The network's outputs, and what the tables call them.
HEADS: Final = {"pred": "opacity", "other": "other"}


def usable(rows: Sequence[Radiograph], part: str) -> list[Radiograph]:
    """Return the films of a part of which something is known, of patients new to the network."""
    known = read_by_members(rows)
    return [
        row
        for row in rows
        if row["part"] == part and row["category"] in TEACHES and row["patient"] not in known
    ]


def predict(bundle: LoadedBundle, rows: Sequence[Radiograph]) -> Iterator[dict[str, Any]]:
    """Yield the line of each film; those that the preprocessing refuses have none."""
    shown = tqdm(range(0, len(rows), BATCH_SIZE), desc="films", mininterval=10, ncols=80)
    for start in shown:
        prepared = [(row, _prepare(bundle, row["image"])) for row in rows[start:][:BATCH_SIZE]]
        batch = [(row, image) for row, image in prepared if image is not None]
        if batch:
            outputs = bundle.run_network([image for _, image in batch])
            for place, (row, _) in enumerate(batch):
                yield film_prediction(row, _logits(outputs, place))


def _prepare(bundle: LoadedBundle, path: str) -> Tensor | None:
    try:
        return bundle.preprocess(path)
    except Exception as error:
        if find_refusal(error):
            return None
        raise


def _logits(outputs: Mapping[str, Tensor], place: int) -> dict[str, float]:
    return {head: float(outputs[name][place]) for name, head in HEADS.items() if name in outputs}


def write_tables(inputs: Inputs, rows: Sequence[Radiograph], parts: Sequence[str]) -> None:
    """Write the table of each part, and log those of a test split."""
    bundle = load_bundle()
    for part in parts:
        asked = usable(rows, part)
        name = SHIPPED[part]
        lines = list(predict(bundle, asked))
        if not lines:
            print(f"{name}: no film of the part {part}, no table", flush=True)
            continue
        write_predictions(inputs.tables / f"{name}.csv", lines, FILM_COLUMNS)
        print(f"{name}: {len(lines)} films, {len(asked) - len(lines)} refused", flush=True)
        record_origin(inputs, name)
        if name in TEST_TABLES:
            append_run(inputs, name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict the parts named; on an error print one line and exit with 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", required=True, choices=SHIPPED)
    parser.add_argument("--data_dir", type=Path, default=Path("../../shared/data"))
    parser.add_argument("--manifest", type=Path, help="a CSV of scripts.data.manifest instead")
    options = parser.parse_args(arguments)
    try:
        rows = read_manifest(options.manifest) if options.manifest else all_sets(options.data_dir)
        write_tables(Inputs(bundle=Path()), rows, options.part)
    except (OSError, ValueError) as exc:
        parser.exit(1, f"{exc}\n")


if __name__ == "__main__":
    main()
