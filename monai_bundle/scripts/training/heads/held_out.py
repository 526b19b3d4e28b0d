"""Predict with finished trainings what each of them held out, from a cache, as a table of films."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.data.categories import Category
from scripts.data.predictions import film_prediction
from scripts.training.heads.cache import Films
from scripts.training.heads.measure import predict
from scripts.training.heads.network import SeveralHeads, build_network
from scripts.training.heads.table import HEADS, TEST_PARTS, FilmTable

VALIDATION: Final = "validation"


def held_out_lines(
    folder: Path, films: Films, device: torch.device, *, part: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the line of each film that a training held out.

    Unlike the training itself, which measures a share of the many children, all of them. Of a
    training that held out a fold and the validation part, those of the fold.

    Args:
        folder: of the training, with its settled.pt and result.json.
        films: the cache, of the side that the training had.
        device: to predict on.
        part: the films of this part instead.

    Raises:
        ValueError: the training is not finished, it was trained on the part, or the cache does not
            fit it or has no such film.
    """
    result = folder / "result.json"
    if not result.exists():
        raise ValueError(f"{folder} has no finished training: result.json is missing")
    asked = json.loads(result.read_text())["asked"]
    if asked["side"] != films.side:
        raise ValueError(f"{folder} was trained at {asked['side']} pixels, not {films.side}")
    held_out = str(asked["held_out"])
    if part is not None and (_of_part(films.table, part) & ~_held_out(films.table, held_out)).any():
        raise ValueError(f"{folder} was trained on {part}: hold it out with {held_out}+{part}")
    chosen = _of_part(films.table, part) if part else _asked_for(films.table, held_out)
    places = np.flatnonzero(chosen)
    if not len(places):
        raise ValueError(f"the cache has no film of {part or held_out}")
    scores = predict(_trained(folder, asked).to(device), films, places, device)
    for place, logits in zip(places, scores, strict=True):
        row = _row(films.table, int(place))
        named = dict(zip(HEADS, map(float, logits), strict=False))  # further heads are left out
        yield film_prediction(row, named, held_out=held_out)


def _of_part(table: FilmTable, part: str) -> NDArray[np.bool_]:
    of_part: NDArray[np.bool_] = table.part == part
    return of_part & ~np.isin(table.part, list(TEST_PARTS))


def _held_out(table: FilmTable, held_out: str) -> NDArray[np.bool_]:
    """Return which films a training with this name was not trained on."""
    names = held_out.split("+")
    named: NDArray[np.bool_] = np.isin(table.source, names) | np.isin(table.part, names)
    return named | ~table.is_trainable


def _asked_for(table: FilmTable, held_out: str) -> NDArray[np.bool_]:
    """Return the films that a training was made to be measured on."""
    names = held_out.split("+")
    if any(name.startswith("fold-") for name in names):
        names = [name for name in names if name != VALIDATION]
    named: NDArray[np.bool_] = np.isin(table.source, names) | np.isin(table.part, names)
    return named & table.is_trainable


def _trained(folder: Path, asked: dict[str, Any]) -> SeveralHeads:
    network = build_network(variant=asked["variant"], normalisation=asked["normalisation"])
    state = torch.load(folder / "settled.pt", map_location="cpu", weights_only=True)
    network.load_state_dict(state)
    return network


def _row(table: FilmTable, place: int) -> dict[str, str]:
    names = ("sha256", "source", "category", "patient", "view", "sex", "age_group", "part")
    row = {name: str(getattr(table, name)[place]) for name in names}
    is_opacity = row["category"] == Category.OPACITY
    return row | {"kind": "pneumonia" if is_opacity else row["category"]}
