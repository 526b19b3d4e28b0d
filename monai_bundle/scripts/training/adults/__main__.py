"""Fit the heads for adults, write them into the weights, and write the tables of what they read.

Run from the bundle's folder:

    python -m scripts.training.adults BOXES --films ../runs/films

BOXES is RSNA's list, see `boxes`. The members' weights stay as they are. The heads that ship are
fitted to the five folds. For the tables in docs/predictions they are fitted again: without each
fold (cross_validation.csv, and members.csv for the validation part), and without a source
(out_of_source.csv). No table has a patient whom the members were trained on. Operating points are
to be chosen again afterwards. Minutes, once the features are kept.
"""

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.bundle.files import build_component, read_metadata, write_metadata
from scripts.checksum import sha256_of
from scripts.data.categories import Category
from scripts.data.datasets import kind_of
from scripts.data.joined_sets import read_by_members
from scripts.data.manifest import FOLDS, all_sets
from scripts.data.predictions import (
    CHILDREN,
    FILM_COLUMNS,
    FloatArray,
    film_prediction,
    write_predictions,
)
from scripts.network.ensemble import Ensemble
from scripts.training.adults.boxes import Boxes, read_boxes
from scripts.training.adults.features import MemberFeatures, keep_features
from scripts.training.adults.fit import Learned, fit_heads, is_trainable, read_films
from scripts.training.heads.cache import read_cache
from scripts.training.heads.table import FilmTable
from scripts.training.package_weights import NEUTRAL, OF_POPULATIONS, write_weights

HEADS: Final = "adults."  # how the names of their weights begin
LEFT_OUT: Final = ("rsna2018", "nlm_shenzhen+nlm_montgomery")
TABLES: Final = Path("docs/predictions")
Line = dict[str, Any]


def load_members() -> tuple[Ensemble, str]:
    """Return the network with the members' weights and unfitted heads, and the members' digest.

    Raises:
        ValueError: the weights are not those of the metadata.
    """
    ensemble: Ensemble = build_component("network_def")
    weights = read_metadata()["weights"]
    if sha256_of(weights["path"]) != weights["sha256"]:
        raise ValueError(f"{weights['path']} is not the file that configs/metadata.json names")
    state = torch.load(weights["path"], map_location="cpu", weights_only=True)
    kept = {name: value for name, value in state.items() if not name.startswith(HEADS)}
    ensemble.load_state_dict(ensemble.state_dict() | kept)
    members = {name: value for name, value in kept.items() if not name.startswith("scope.")}
    return ensemble.eval(), _digest(members)


def _digest(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].float().numpy().tobytes())
    return digest.hexdigest()


class Fits:
    """Fits of the heads without what is held out.

    Args:
        table: of the films.
        features: of the members, for these films.
        boxes: of opacities.
        known: the adults whom the members were trained on. Their films are learned from, but no
            table has them.
    """

    def __init__(
        self,
        table: FilmTable,
        features: MemberFeatures,
        boxes: Boxes,
        known: frozenset[str] = frozenset(),
    ) -> None:
        self.table, self.features, self.boxes = table, features, boxes
        self.is_new = ~np.isin(table.patient, sorted(known)) | (table.source == CHILDREN)

    def without(self, held: NDArray[np.bool_]) -> Learned:
        """Return what is learned from: neither the held films nor others of their patients."""
        patients = self.table.patient[held]
        seen = is_trainable(self.table) & ~held & ~np.isin(self.table.patient, patients)
        return Learned(table=self.table, features=self.features, boxes=self.boxes, seen=seen)


def fold_lines(fits: Fits) -> tuple[list[Line], list[Line]]:
    """Return the lines of cross_validation.csv and of members.csv.

    A child's film is read by the member that did not see its fold. By how much, and what another
    abnormality is, follows from the features of all five, which hardly matters: it is read as a
    child's.
    """
    held_out: list[Line] = []
    validation: list[Line] = []
    for fold in range(FOLDS):
        name = f"fold-{fold}"
        learned = fits.without(fits.table.part == name)
        learned = _of_member(learned, fold)
        found = read_films(fit_heads(learned), learned)
        held_out += lines(fits.table, fits.is_new & (fits.table.part == name), found, name)
        is_validation = fits.is_new & (fits.table.part == "validation")
        validation += lines(fits.table, is_validation, found, name)
    return held_out, validation


def _of_member(learned: Learned, fold: int) -> Learned:
    """Return what is learned from, with the logits of one member in place of all."""
    logits = learned.features.logits[:, fold : fold + 1]
    features = MemberFeatures(
        pooled=learned.features.pooled,
        logits=logits,
        last=learned.features.last,
        middle=learned.features.middle,
        adults=learned.features.adults,
    )
    return Learned(table=learned.table, features=features, boxes=learned.boxes, seen=learned.seen)


def source_lines(fits: Fits) -> Iterator[Line]:
    """Yield the lines of out_of_source.csv."""
    for name in LEFT_OUT:
        held = np.isin(fits.table.source, name.split("+"))
        learned = fits.without(held)
        found = read_films(fit_heads(learned), learned)
        yield from lines(fits.table, fits.is_new & held, found, name)


def lines(
    table: FilmTable,
    asked: NDArray[np.bool_],
    found: tuple[FloatArray, FloatArray],
    held_out: str,
) -> list[Line]:
    """Return the lines of films with their logits of an opacity and of another abnormality."""
    return [
        film_prediction(
            _row(table, int(place)),
            {"opacity": float(found[0][place]), "other": float(found[1][place])},
            held_out=held_out,
        )
        for place in np.flatnonzero(asked)
    ]


def _row(table: FilmTable, place: int) -> dict[str, str]:
    names = ("sha256", "source", "category", "patient", "view", "sex", "age_group", "part")
    row = {name: str(getattr(table, name)[place]) for name in names}
    if row["source"] == CHILDREN:
        kind = kind_of(str(table.film[place]), float(row["category"] == Category.OPACITY))
    else:
        kind = "pneumonia" if row["category"] == Category.OPACITY else row["category"]
    return row | {"kind": kind}


def run(options: argparse.Namespace) -> None:
    """Fit, write the weights and the tables."""
    films = read_cache(options.films)
    ensemble, digest = load_members()
    features = keep_features(ensemble, films, options.features, digest)
    known = read_by_members(all_sets(options.data_dir))
    fits = Fits(films.table, features, read_boxes(options.boxes), known)
    nothing = np.zeros(len(films.table), bool)
    ensemble.adults.load_state_dict(fit_heads(fits.without(nothing)).state_dict())
    chosen = {name: NEUTRAL[name] for name in NEUTRAL if name != "scope"}
    kept = {name: value for name, value in read_metadata().items() if name not in OF_POPULATIONS}
    write_metadata(kept | chosen)
    print(write_weights(ensemble), flush=True)
    held_out, validation = fold_lines(fits)
    for name, rows in (
        ("cross_validation", held_out),
        ("members", validation),
        ("out_of_source", list(source_lines(fits))),
    ):
        write_predictions(TABLES / f"{name}.csv", rows, FILM_COLUMNS)
        print(f"{name}: {len(rows)} films", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit the heads; on an error print one line and exit with 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("boxes", type=Path, help="RSNA's boxes of opacities, CSV or ZIP")
    parser.add_argument("--films", type=Path, default=Path("../runs/films"), help="the cache")
    parser.add_argument("--data_dir", type=Path, default=Path("../../shared/data"))
    parser.add_argument("--features", type=Path, default=Path("../runs/adult_features"))
    options = parser.parse_args(arguments)
    try:
        run(options)
    except (OSError, ValueError) as exc:
        parser.exit(1, f"{exc}\n")


if __name__ == "__main__":
    main()
