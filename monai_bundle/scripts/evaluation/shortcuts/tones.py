"""Lay the tones of one set over the radiographs of another: the finding should stay.

A radiograph's tones are changed by a monotonic curve so that their distribution is the mean one of
another set. No structure is added or removed; the lungs stay as they are. The change is made to
what the network is given, and the preprocessing's scaling is applied once more.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from scripts.bundle.loaded import LoadedBundle
from scripts.data.datasets import Radiograph
from scripts.data.predictions import FloatArray
from scripts.evaluation.confidence_intervals import interval, resamplings, rounded, wilson
from scripts.evaluation.shortcuts.audit import DRAWS, SEED
from scripts.preprocessing.intensity import scale_batch
from scripts.refusal import find_refusal

FILMS: Final = 30  # of each set
LEVELS: Final = 256
TARGET: Final = 0.05  # the median change of the probability should not be larger


def tone_curve(images: Tensor) -> Tensor:
    """Return the mean quantiles, `LEVELS` of them, of images Nx1xHxW."""
    steps = torch.linspace(0, 1, LEVELS)
    return torch.stack([torch.quantile(image.flatten(), steps) for image in images]).mean(0)


def with_tones(images: Tensor, curve: Tensor) -> Tensor:
    """Return images Nx1xHxW whose quantiles are those of `curve`, scaled as the network's input."""
    steps = torch.linspace(0, 1, LEVELS)
    changed = []
    for image in images:
        own = torch.quantile(image.flatten(), steps).numpy()
        found = np.interp(image.numpy(), own, curve.numpy())
        changed.append(torch.from_numpy(found).float())
    return scale_batch(torch.stack(changed))


def sample_sets(rows: Sequence[Radiograph], films: int = FILMS) -> dict[str, list[Radiograph]]:
    """Return some radiographs of each set, the same whatever the order of the rows."""
    by_set: dict[str, list[Radiograph]] = {}
    for row in sorted(rows, key=lambda row: row["sha256"]):
        by_set.setdefault(row["source"], []).append(row)
    return {
        name: random.Random(SEED).sample(found, min(films, len(found)))
        for name, found in sorted(by_set.items())
    }


def tones(bundle: LoadedBundle, samples: Mapping[str, Sequence[Radiograph]]) -> dict[str, Any]:
    """Return how far the probability of each set's radiographs moves under the others' tones."""
    prepared = {name: _prepared(bundle, rows) for name, rows in samples.items()}
    curves = {name: tone_curve(images) for name, (images, _) in prepared.items()}
    found, all_changes, all_patients = {}, [], []
    for name, (images, patients) in prepared.items():
        cohort = samples[name][0]["cohort"]
        point = bundle.metadata["default_operating_point"]
        threshold = bundle.entry(cohort)["operating_points"][point]["threshold"]
        before = _probabilities(bundle, images, cohort)
        after = np.stack(
            [
                _probabilities(bundle, with_tones(images, curve), cohort)
                for other, curve in curves.items()
                if other != name
            ]
        )
        flipped = ((after >= threshold) != (before >= threshold)).ravel()
        found[name] = {
            **_summary(np.abs(after - before), patients),
            "findings_changed": wilson(int(flipped.sum()), len(flipped)),
        }
        all_changes.append(np.abs(after - before))
        all_patients.append(patients)
        print(f"tones: {name} done", flush=True)
    together = _summary(np.hstack(all_changes), np.concatenate(all_patients))
    return {"target": TARGET, "all": together, "sets": found}


def _prepared(bundle: LoadedBundle, rows: Sequence[Radiograph]) -> tuple[Tensor, Any]:
    images, patients = [], []
    for row in rows:
        try:
            images.append(bundle.preprocess(row["image"]))
        except Exception as error:
            if not find_refusal(error):
                raise
            continue
        patients.append(row["patient"])
    return torch.stack(images), np.array(patients)


def _probabilities(bundle: LoadedBundle, images: Tensor, cohort: str) -> FloatArray:
    logits = bundle.run_network(images)["pred"][:, 0]
    return bundle.probabilities(logits, cohort).double().numpy()


def _summary(changes: FloatArray, patients: Any) -> dict[str, Any]:  # noqa: ANN401 -- of strings
    """Return the median change over films and tones, changes T x N, with its interval."""
    drawn = [
        float(np.median(np.repeat(changes, each, axis=1)))
        for weights in resamplings(patients, draws=DRAWS, seed=SEED)
        for each in weights.astype(int)
    ]
    return {
        "images": changes.shape[1],
        "renderings": int(changes.size),
        "median": interval(float(np.median(changes)), np.array(drawn)),
        "percentile_95": rounded(float(np.percentile(changes, 95))),
    }
