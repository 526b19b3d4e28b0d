"""Make the images that the gate learns from, out of the films of all sources."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from scripts.bundle.files import build_component, read_config
from scripts.data.datasets import Radiograph
from scripts.data.out_of_scope import CHANGES
from scripts.data.synthetic_negatives import DRAWINGS, photograph
from scripts.network.ensemble import SCOPE_CLASSES
from scripts.preprocessing.intensity import scale_batch
from scripts.refusal import RefusalCode
from scripts.training.augmentation import Augment
from scripts.training.heads.cache import read_cache
from scripts.training.heads.table import table_of

Prepare = Callable[[Radiograph], Tensor]  # a manifest's row to the network's input 1xHxW
DRAWN: Final = "drawn"  # the source of an image that is made of no film
BATCH_SIZE: Final = 64
DRAWING_WEIGHT: Final = 4.0  # relative frequencies, beside those of CHANGES
PHOTOGRAPH_WEIGHT: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Images, with what is known of each."""

    images: Tensor  # Bx1xHxW in [-1, 1]
    classes: tuple[int, ...]  # indices of SCOPE_CLASSES
    sources: tuple[str, ...]
    is_film: bool  # of all of them: as they are, or changed as in training


class GateImages:
    """Films as they are, films changed as in training, and images that are none, in batches.

    A film that is listed again is changed again, but yielded as it is once only.

    Args:
        rows: the films.
        prepare: reads one.
        learned: whether they are learned from; others are yielded as they are only.
        seed: of all random choices.
    """

    def __init__(
        self, rows: Sequence[Radiograph], prepare: Prepare, *, learned: bool = True, seed: int
    ) -> None:
        self.rows, self.prepare, self.learned = rows, prepare, learned
        self.generator = np.random.default_rng(seed)
        self.augment = Augment(seed)

    def __len__(self) -> int:
        """Return the number of images, if no film is listed twice."""
        return len(self.rows) * (4 if self.learned else 1)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches; two more images are made of each film, or drawn."""
        seen: set[str] = set()
        for start in range(0, len(self.rows), BATCH_SIZE):
            rows = self.rows[start : start + BATCH_SIZE]
            films = torch.stack([self.prepare(row) for row in rows])
            sources = [source_of(row) for row in rows]
            new = {row["sha256"]: at for at, row in enumerate(rows) if row["sha256"] not in seen}
            if new:
                yield _in_scope(films[[*new.values()]], [sources[at] for at in new.values()])
                seen |= new.keys()
            if self.learned:
                changed = self.augment.change(films)
                yield from (self._made_or_drawn(images, sources) for images in (films, changed))
                yield _in_scope(scale_batch(changed), sources)

    def _made_or_drawn(self, films: Tensor, sources: Sequence[str]) -> Batch:
        made = [self._made_of(film[0]) for film in films]
        return Batch(
            images=scale_batch(torch.stack([image for image, _, _ in made])[:, None]),
            classes=tuple(number for _, number, _ in made),
            sources=tuple(
                DRAWN if is_drawn else source
                for (_, _, is_drawn), source in zip(made, sources, strict=True)
            ),
            is_film=False,
        )

    def _made_of(self, film: Tensor) -> tuple[Tensor, int, bool]:
        """Return an image HxW made of a film or drawn, its class, and whether it is drawn."""
        weights = np.array([*(share for *_, share in CHANGES), DRAWING_WEIGHT, PHOTOGRAPH_WEIGHT])
        index = int(self.generator.choice(len(weights), p=weights / weights.sum()))
        if index < len(CHANGES):
            code, change, _ = CHANGES[index]
            return change(film, self.generator), SCOPE_CLASSES.index(code), False
        drawing = DRAWINGS[int(self.generator.integers(len(DRAWINGS)))]
        draw = drawing if index == len(CHANGES) else photograph
        made = torch.from_numpy(draw(len(film), self.generator))
        return made, SCOPE_CLASSES.index(RefusalCode.NOT_CHEST), True


def _in_scope(images: Tensor, sources: Sequence[str]) -> Batch:
    classes = (0,) * len(sources)
    return Batch(images=images, classes=classes, sources=tuple(sources), is_film=True)


def source_of(row: Radiograph) -> str:
    """Return the source of a film; all sets of NIH's films but RSNA are one."""
    return str(table_of([row]).source[0])


def prepare_films(cache: Path | None) -> Prepare:
    """Return the bundle's preprocessing as a function of a manifest's row.

    Args:
        cache: a folder with films that it decoded before; others are decoded.

    Raises:
        ValueError: the cache has another side than the network's input.
    """
    preprocessing = build_component("preprocessing")
    known: dict[str, int] = {}
    if cache:
        films = read_cache(cache)
        if films.side != read_config()["spatial_size"][0]:
            raise ValueError(f"{cache} has films of {films.side} pixels: not the network's input")
        known = {sha256: place for place, sha256 in enumerate(films.table.sha256)}

    def prepare(row: Radiograph) -> Tensor:
        if row["sha256"] in known:
            return films.images(np.array([known[row["sha256"]]]))[0]
        return torch.as_tensor(preprocessing({"image": row["image"]})["image"])

    return prepare
