"""Measure a network with several heads on films, source by source."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scripts.data.categories import Category
from scripts.data.predictions import FloatArray
from scripts.evaluation.confidence_intervals import rounded
from scripts.evaluation.metrics import auc
from scripts.training.heads.cache import Films
from scripts.training.heads.table import HEADS, FilmTable

LEAST: Final = 10  # films of each class: with fewer, an AUC says nothing
BATCH_SIZE: Final = 64
Areas = dict[str, Any]


def predict(
    network: nn.Module,
    films: Films,
    places: NDArray[np.int64],
    device: torch.device,
    *,
    is_fast: bool = False,
) -> FloatArray:
    """Return the logits of films, N x heads, in float32 or, faster, in bfloat16."""
    network.eval()
    found = []
    for start in range(0, len(places), BATCH_SIZE):
        images = films.images(places[start : start + BATCH_SIZE]).to(device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=is_fast):
            logits = network(images.contiguous(memory_format=torch.channels_last))
        found.append(logits.double().cpu().numpy())
    return np.concatenate(found) if found else np.zeros((0, len(HEADS)))


def areas_by_source(table: FilmTable, scores: FloatArray) -> dict[str, Areas]:
    """Return the areas under the ROC curve on each source of films, with their scores N x heads."""
    return {
        str(name): areas(table.take(table.source == name), scores[table.source == name])
        for name in np.unique(table.source)
    }


def areas(table: FilmTable, scores: FloatArray) -> Areas:
    """Return the areas of one source; those with fewer than `LEAST` films of a class are missing.

    `opacity` is against all the rest, `opacity_against_normal` and `opacity_against_other` against
    these alone; `other` is another abnormality against normal, `normal` against all that is not.
    """
    labels = table.labels
    found: Areas = {"films": len(table), "opacities": int((labels[:, 0] == 1).sum())}
    for name, column, asked in _questions(table):
        known = asked & ~np.isnan(labels[:, column])
        truth = labels[known, column].astype(float)
        if min((truth == 1).sum(), (truth == 0).sum()) >= LEAST:
            found[name] = rounded(auc(truth, scores[known, column]))
    return found


def _questions(table: FilmTable) -> Iterator[tuple[str, int, NDArray[np.bool_]]]:
    """Yield the name of each area, the head that answers it, and the films it is about."""
    every = np.ones(len(table), bool)
    is_opacity = table.category == Category.OPACITY
    for column, head in enumerate(HEADS):
        yield head, column, every
    for other in (Category.NORMAL, Category.OTHER):
        yield f"opacity_against_{other}", 0, is_opacity | (table.category == other)


def worst_area(found: dict[str, Areas]) -> float | None:
    """Return the lowest area of all sources: of the opacity or, where none is known, of normal."""
    values = [each.get("opacity", each.get("normal")) for each in found.values()]
    return min((value for value in values if value is not None), default=None)
