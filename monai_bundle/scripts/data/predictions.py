"""The tables of predictions: what a network returned for each image, without names of patients.

There are two kinds. `COLUMNS` are those of a table of one label, which evaluate.yaml writes.
`FILM_COLUMNS` are those of a table of films of all sources, with the logits of several heads; their
probabilities depend on the calibration of the film's population and are computed when it is read.
"""

import csv
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scripts.data.categories import Category, label_of

FloatArray = NDArray[np.float64]
COLUMNS: Final = ("image", "patient", "cohort", "kind", "part", "label", "logit", "probability")
FILM_COLUMNS: Final = (
    *("image", "patient", "source", "category", "kind", "age_group", "view", "sex", "part"),
    *("held_out", "opacity", "other", "normal"),
)
CHILDREN: Final = "pediatric"  # the source, and the cohort, of the children
ADULTS: Final = "adult"  # the cohort of all other sources
_DIGITS: Final = 16  # of a SHA-256 that name an image or a patient


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The predictions of a set of radiographs, as parallel arrays of one entry per image."""

    images: NDArray[np.str_]  # the first 16 digits of each file's SHA-256
    patients: NDArray[np.str_]
    cohorts: NDArray[np.str_]
    kinds: NDArray[np.str_]  # normal, bacteria, virus, pneumonia, or the category
    parts: NDArray[np.str_]  # validation, test, or the fold that was held out
    sources: NDArray[np.str_]
    categories: NDArray[np.str_]
    age_groups: NDArray[np.str_]
    views: NDArray[np.str_]
    sexes: NDArray[np.str_]
    held_out: NDArray[np.str_]  # what the training left out; empty for the shipped weights
    labels: FloatArray  # 1.0 for pneumonia, 0.0 for none, NaN where that is not known
    logits: FloatArray
    others: FloatArray  # the logit of another abnormality; NaN of a network without one
    probabilities: FloatArray

    def take(self, index: NDArray[Any]) -> "Results":
        """Return the results at `index`, which may repeat, or where a mask is true."""
        return Results(**{each.name: getattr(self, each.name)[index] for each in fields(self)})

    def unit_weights(self) -> FloatArray:
        """Return the weights, 1 x images, under which every image counts once."""
        return np.ones((1, len(self.labels)))

    def labelled(self) -> "Results":
        """Return the results of the images of which the label is known."""
        return self.take(~np.isnan(self.labels))

    def about_other(self) -> "Results":
        """Return the films of another abnormality, label 1, and the normal ones, label 0.

        Logits are those of another abnormality. Whether a film with an opacity shows another
        abnormality too is not known.
        """
        is_other, is_normal = (
            self.categories == name for name in (Category.OTHER, Category.NORMAL)
        )
        asked = (is_other | is_normal) & ~np.isnan(self.others)
        labels = np.where(is_other, 1.0, 0.0)
        return replace(self, labels=labels, logits=self.others).take(asked)


def joined(parts: Sequence[Results]) -> Results:
    """Return the results of several tables as one."""
    return Results(
        **{
            each.name: np.concatenate([getattr(part, each.name) for part in parts])
            for each in fields(Results)
        }
    )


def sigmoid(logits: FloatArray) -> FloatArray:
    """Return the probabilities of `logits`."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -500, 500))))


def image_id(row: Mapping[str, Any]) -> str:
    """Return the name of a manifest's row in all tables: the first digits of its SHA-256."""
    return str(row["sha256"])[:_DIGITS]


def patient_id(cohort: str, patient: str) -> str:
    """Return the name of a patient in all tables: the first digits of a hash."""
    return hashlib.sha256(f"{cohort} {patient}".encode()).hexdigest()[:_DIGITS]


def prediction_of(row: Mapping[str, Any], logit: float, probability: float) -> dict[str, Any]:
    """Return the line of a table of one label for a row of a manifest.

    The patient is named by the first digits of a hash of cohort and number. Both names are the
    same in every table, so that two models can be compared image by image.
    """
    return {
        "image": image_id(row),
        "patient": patient_id(row["cohort"], row["patient"]),
        "cohort": row["cohort"],
        "kind": row["kind"],
        "part": row["part"],
        "label": int(row["label"]),
        "logit": f"{logit:.5f}",
        "probability": f"{probability:.6f}",
    }


def film_prediction(
    row: Mapping[str, Any], logits: Mapping[str, float], *, held_out: str = ""
) -> dict[str, Any]:
    """Return the line of a table of films for a row of a manifest or of a cache.

    Args:
        row: the film; its cohort and kind may be missing.
        logits: by head; what the network does not have may be missing.
        held_out: what the training left out, empty for the shipped weights.
    """
    cohort = CHILDREN if row["source"] == CHILDREN else ADULTS
    given = {name: row.get(name, "") for name in ("source", "category", "age_group", "view", "sex")}
    return {
        "image": image_id(row),
        "patient": patient_id(cohort, row["patient"]),
        **given,
        "kind": row.get("kind") or row["category"],
        "part": row["part"],
        "held_out": held_out,
        **{
            head: f"{logits[head]:.5f}" if head in logits else ""
            for head in ("opacity", "other", "normal")
        },
    }


def write_predictions(
    path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS
) -> None:
    """Write lines of `prediction_of`, or with `FILM_COLUMNS` of `film_prediction`, as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_predictions(path: Path) -> Results:
    """Read a CSV that `write_predictions` wrote.

    Raises:
        ValueError: it has other columns.
    """
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        columns = tuple(reader.fieldnames or ())
        if columns == FILM_COLUMNS:
            return _results([_film(row) for row in reader])
        if columns != COLUMNS:
            raise ValueError(f"{path} is not a table of predictions: its columns are {columns}")
        return _results([_of_one_label(row) for row in reader])


def _film(row: Mapping[str, str]) -> dict[str, Any]:
    label, logit = label_of(row["category"]), float(row["opacity"])
    return {
        **row,
        "cohort": CHILDREN if row["source"] == CHILDREN else ADULTS,
        "label": math.nan if label is None else label,
        "logit": logit,
        "other": float(row["other"]) if row["other"] else math.nan,
        "probability": float(sigmoid(np.array(logit))),
    }


def _of_one_label(row: Mapping[str, str]) -> dict[str, Any]:
    """Return what such a table implies of a film: its two labels were opacity and normal."""
    label = float(row["label"])
    return {
        **row,
        "source": row["cohort"],
        "category": (Category.OPACITY if label else Category.NORMAL).value,
        "age_group": "1-5" if row["cohort"] == CHILDREN else "unknown",
        "view": "",
        "sex": "",
        "held_out": "",
        "label": label,
        "logit": float(row["logit"]),
        "other": math.nan,
        "probability": float(row["probability"]),
    }


def _results(rows: Sequence[Mapping[str, Any]]) -> Results:
    def texts(name: str) -> NDArray[np.str_]:
        return np.array([row[name] for row in rows], str)

    def numbers(name: str) -> FloatArray:
        return np.array([row[name] for row in rows], float)

    return Results(
        images=texts("image"),
        patients=texts("patient"),
        cohorts=texts("cohort"),
        kinds=texts("kind"),
        parts=texts("part"),
        sources=texts("source"),
        categories=texts("category"),
        age_groups=texts("age_group"),
        views=texts("view"),
        sexes=texts("sex"),
        held_out=texts("held_out"),
        labels=numbers("label"),
        logits=numbers("logit"),
        others=numbers("other"),
        probabilities=numbers("probability"),
    )
