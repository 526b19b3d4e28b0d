"""Count the films that the model was trained and chosen on by what a service watches.

What the published files do not say is left out, and the reason is written down: a service then
compares its films with its own of the weeks before.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from scripts.bundle.loaded import LoadedBundle
from scripts.data.datasets import Radiograph
from scripts.evaluation.inputs import OUT_OF_FOLD, Inputs
from scripts.monitoring.groups import NONE, PROBABILITY, TONE, range_of, tone_of, view_of
from scripts.refusal import find_refusal

FORMAT: Final = 1
FILE: Final = Path("configs/reference.json")
NOT_KNOWN: Final = {
    "manufacturer": "The radiographs were published as JPEG and PNG, without a header.",
    "kvp": "The radiographs were published as JPEG and PNG, without a header.",
    "exposure": "The radiographs were published as JPEG and PNG, without a header.",
    "size": "The radiographs were published in other sizes than they were taken in.",
}
_VALIDATION: Final = "validation part"  # of the kinds of docs/predictions/gate.csv


def views(inputs: Inputs) -> Counter[str]:
    """Count the films of cross-validation by view.

    Raises:
        ValueError: their table is missing.
    """
    return Counter(view_of(row["view"]) for row in _rows(inputs, OUT_OF_FOLD))


def refusals(inputs: Inputs) -> Counter[str]:
    """Count the films of the validation parts by what the gate refuses them for.

    Raises:
        ValueError: their table is missing.
    """
    counts: Counter[str] = Counter()
    for row in _rows(inputs, "gate"):
        if row["group"] == "in-scope" and _VALIDATION in row["kind"]:
            refused: dict[str, int] = json.loads(row["reasons"])
            counts.update(refused)
            counts[NONE] += int(row["n"]) - sum(refused.values())
    return counts


def probabilities(inputs: Inputs) -> Counter[str]:
    """Count the films of the validated populations by probability, each out of its fold.

    Raises:
        ValueError: there is no such film.
    """
    counts: Counter[str] = Counter()
    for population, entry in inputs.metadata["populations"].items():
        films = inputs.films(OUT_OF_FOLD, population) if _has_films(population, entry) else None
        for probability in films.probabilities if films else ():
            counts[range_of(float(probability), PROBABILITY)] += 1
    if not counts:
        raise ValueError("no film of a validated population was read out of its fold")
    return counts


def _has_films(population: str, entry: Mapping[str, Any]) -> bool:
    return bool(entry["validated"]) and population in {"children", "adults"}


def tones(bundle: LoadedBundle, films: Iterable[Radiograph]) -> Counter[str]:
    """Count films by the tone of the input; what the preprocessing refuses is left out."""
    counts: Counter[str] = Counter()
    for film in films:
        tone = _tone(bundle, film["image"])
        if tone is not None:
            counts[range_of(tone, TONE)] += 1
    return counts


def _tone(bundle: LoadedBundle, path: str) -> float | None:
    try:
        return tone_of(bundle.preprocess(path))
    except Exception as error:
        if find_refusal(error):
            return None
        raise


def build(inputs: Inputs, bundle: LoadedBundle, films: Sequence[Radiograph]) -> dict[str, Any]:
    """Build the content of configs/reference.json.

    Args:
        inputs: the bundle's tables.
        bundle: the bundle as loaded.
        films: those of the training folds.
    """
    shown = tqdm(films, desc="films", mininterval=10, ncols=80)
    return {
        "format": FORMAT,
        "model": f"{inputs.metadata['name']} {inputs.metadata['version']}",
        "inputs": {
            "view": _entry(views(inputs), "films of the training folds, as their sources say"),
            "tone": _entry(tones(bundle, shown), "films of the training folds"),
            "probability": _entry(
                probabilities(inputs), "films of the training folds, each read out of its fold"
            ),
            "refusal": _entry(refusals(inputs), "films of the validation parts"),
        },
        "not_known": NOT_KNOWN,
    }


def _entry(counts: Counter[str], of: str) -> dict[str, Any]:
    return {"of": of, "counts": dict(sorted(counts.items()))}


def _rows(inputs: Inputs, name: str) -> list[dict[str, str]]:
    rows = inputs.rows(name)
    if rows is None:
        raise ValueError(f"docs/predictions/{name}.csv is missing: evaluate first")
    return rows
