"""Fit the heads for adults to the films that are not held out.

Whatever is learned is learned by a ridge regression with a strong penalty, in which classes weigh
the same, and in each class the sources. The constants were chosen by cross-validation on RSNA's
folds and by leaving the two hospitals of the NLM out; the test split chose nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from scripts.data.categories import Category
from scripts.data.predictions import CHILDREN, FloatArray
from scripts.network.adult_heads import AdultHeads
from scripts.training.adults.boxes import GRID, Boxes, boxed_places
from scripts.training.adults.features import MemberFeatures
from scripts.training.adults.ridge import LinearHead, fit_head, fit_in_chunks
from scripts.training.heads.table import FilmTable
from scripts.training.leave_one_out import balanced_weights

PENALTY: Final = 5.0  # of pooled features, times their number
LAST_PENALTY: Final = 10.0  # of places in the last maps, times the sum of their weights
MIDDLE_PENALTY: Final = 0.3  # of places in the middle maps
PLACES: Final = 24  # outside of boxes, learned from in each film
INSIDE: Final = 0.5  # least share of a place that boxes cover to count as inside,
OUTSIDE: Final = 0.1  # and most of one to count as outside
SHARPNESS: Final = 10.0  # of the soft maximum of evidence from 0 to 1
SCALE: Final = 8.0  # of a score from 0 to 1 as a logit; calibration follows
AGE_SCALE: Final = 40.0  # the same of the age, whose classes are far apart
SEED: Final = 20240611
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """The films that take part, and how they are described."""

    table: FilmTable
    features: MemberFeatures
    boxes: Boxes
    seen: Mask  # of the table's films


def fit_heads(learned: Learned) -> AdultHeads:
    """Return heads fitted to the films that are `seen`."""
    features = learned.features
    middle, last = features.middle.shape[1], features.last.shape[1]
    heads = AdultHeads(middle, last)
    labels = learned.table.labels
    is_adult = (learned.table.source != CHILDREN).astype(float)
    _load(heads.is_adult, _fit_pooled(learned, is_adult), AGE_SCALE, bias=-AGE_SCALE / 2)
    _load(heads.opacity, _fit_pooled(learned, labels[:, 0].astype(float)), SCALE, bias=-SCALE / 2)
    others = np.where(is_adult == 1, labels[:, 1].astype(float), np.nan)
    _load(heads.other, _fit_pooled(learned, others), SCALE, bias=-SCALE / 2)
    if places := _places(learned):
        _load_evidence(heads, _fit_places(learned, places), middle)
    return heads.eval()


def _fit_pooled(learned: Learned, labels: FloatArray) -> LinearHead:
    """Fit a head to the pooled features of the seen films whose label is known."""
    used = np.flatnonzero(learned.seen & ~np.isnan(labels))
    pooled = learned.features.pooled[used]
    weights = balanced_weights(labels[used], learned.table.source[used])
    return fit_head(pooled, labels[used], weights, penalty=PENALTY * pooled.shape[1])


@torch.no_grad()
def _load(layer: torch.nn.Module, head: LinearHead, scale: float, *, bias: float) -> None:
    """Write a head into a layer, multiplied by `scale` and shifted by `bias`."""
    weight = torch.from_numpy(scale * head.weight)
    parameter = layer.get_parameter("weight")
    parameter.copy_(weight.view_as(parameter))
    layer.get_parameter("bias").fill_(scale * head.bias + bias)


@torch.no_grad()
def _load_evidence(heads: AdultHeads, head: LinearHead, middle: int) -> None:
    """Write a head of joined middle and last maps into the layers of the local evidence."""
    fine = LinearHead(weight=head.weight[:middle], bias=head.bias)
    coarse = LinearHead(weight=head.weight[middle:], bias=0.0)
    _load(heads.fine, fine, SCALE, bias=-SCALE / 2)
    _load(heads.coarse, coarse, SCALE, bias=0.0)
    heads.sharpness.fill_(SHARPNESS / SCALE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _FilmPlaces:
    """The places of one adult's film that are learned from."""

    row: int  # in the features of adults
    index: NDArray[np.int64]  # of the places, row by row
    labels: FloatArray
    weights: FloatArray


def _places(learned: Learned) -> list[_FilmPlaces]:
    """Choose the places, all inside boxes and some outside, and weigh them.

    Those inside weigh as much as those outside, and outside each source as much as another. Empty
    where no seen film has a box.
    """
    table, features = learned.table.take(learned.features.adults), learned.features
    seen = learned.seen[features.adults]
    side = features.middle.shape[-1]
    inside = boxed_places(table, learned.boxes)
    chance = np.random.default_rng(SEED)
    chosen: list[tuple[int, NDArray[np.int64], FloatArray]] = []
    for row in np.flatnonzero(seen & (inside.reshape(len(table), -1).min(1) >= 0)):
        shares = _shares(inside[row], side)
        within = np.flatnonzero(shares > INSIDE)
        without = chance.permutation(np.flatnonzero(shares < OUTSIDE))[:PLACES]
        labels = np.concatenate([np.ones(len(within)), np.zeros(len(without))])
        chosen.append((int(row), np.concatenate([within, without]), labels))
    if not any(labels.any() for _, _, labels in chosen):
        return []
    every = np.concatenate([labels for *_, labels in chosen])
    sources = np.repeat(
        [table.source[row] for row, *_ in chosen], [len(labels) for *_, labels in chosen]
    )
    weights = np.split(
        balanced_weights(every, sources), np.cumsum([len(labels) for *_, labels in chosen])[:-1]
    )
    return [
        _FilmPlaces(row=row, index=index, labels=labels, weights=weight)
        for (row, index, labels), weight in zip(chosen, weights, strict=True)
    ]


def _shares(inside: NDArray[np.int8], side: int) -> FloatArray:
    """Return how much of each of side x side places boxes cover, row by row."""
    grid = torch.from_numpy(inside.astype(np.float32)).view(1, 1, GRID, GRID)
    shares: FloatArray = adaptive_avg_pool2d(grid, side).flatten().double().numpy()
    return shares


def _fit_places(learned: Learned, places: list[_FilmPlaces]) -> LinearHead:
    """Fit the local evidence to the middle and the enlarged last maps at the chosen places."""
    features = learned.features
    side, channels = features.middle.shape[-1], features.middle.shape[1]

    def chunks() -> Iterator[tuple[NDArray[np.floating], FloatArray, FloatArray]]:
        for start in range(0, len(places), 32):
            films = places[start : start + 32]
            joined = [_joined_maps(features, film, side) for film in films]
            yield (
                np.concatenate(joined),
                np.concatenate([film.labels for film in films]),
                np.concatenate([film.weights for film in films]),
            )

    penalties = np.full(channels + features.last.shape[1], LAST_PENALTY)
    penalties[:channels] = MIDDLE_PENALTY
    return fit_in_chunks(chunks, penalties)


def _joined_maps(features: MemberFeatures, film: _FilmPlaces, side: int) -> NDArray[np.floating]:
    """Return the features of a film's places: those of the middle maps, then of the last."""
    middle = features.middle[film.row].astype(np.float32).reshape(-1, side * side)
    last = torch.from_numpy(features.last[film.row].astype(np.float32))[None]
    enlarged = interpolate(last, (side, side), mode="bilinear")[0].flatten(1).numpy()
    return np.concatenate([middle[:, film.index], enlarged[:, film.index]]).T


def read_films(heads: AdultHeads, learned: Learned) -> tuple[FloatArray, FloatArray]:
    """Return the logits of an opacity and of another abnormality for all films of the table.

    That of an opacity is the network's: the members' and the heads' mixed. Maps are kept of adults
    alone, so that a child's own evidence counts by the pooled features.
    """
    features = learned.features
    pooled = torch.from_numpy(features.pooled.astype(np.float32))
    with torch.inference_mode():
        share = heads.is_adult(pooled).sigmoid()[:, 0].double().numpy()
        pred = heads.opacity(pooled)[:, 0].double().numpy()
        other = heads.other(pooled)[:, 0].double().numpy()
        for row, place in enumerate(features.adults):
            last, middle = (
                torch.from_numpy(maps[row].astype(np.float32))[None]
                for maps in (features.last, features.middle)
            )
            pred[place] = float(heads(middle, last).pred)
    return share * pred + (1 - share) * features.logits.mean(1), other


def is_trainable(table: FilmTable) -> Mask:
    """Return the films of the folds that heads may learn from; of children every fourth."""
    every_fourth = np.array([int(name[:8], 16) % 4 == 0 for name in table.sha256])
    is_fold = np.char.startswith(table.part, "fold-")
    known = table.category != Category.LEFT_OUT
    mask: Mask = is_fold & known & ((table.source != CHILDREN) | every_fourth)
    return mask
