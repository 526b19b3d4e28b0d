"""Fit heads to the shipped network's features and test each on a source it was not fitted to.

Run `python -m scripts.training.leave_one_out` from the bundle's folder; minutes, once
`scripts.evaluation.shortcuts` has kept the features in ../runs/features. Prints, for the heads
"opacity" and "abnormal", the AUC on each source left out, on RSNA's training folds, and what the
opacity head calls present in sources that it did not see. It chooses what a training should look
like, in seconds instead of hours. The test split of RSNA takes no part, nor do the sets that
`scripts.data.joined_sets` excludes; those for measuring are measured only.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scripts.bundle.files import read_metadata
from scripts.data.categories import Category, label_of
from scripts.data.datasets import Radiograph
from scripts.data.joined_sets import EXCLUDED, MEASURING, RSNA, RSNA_TEST
from scripts.data.manifest import FOLDS, all_sets
from scripts.data.predictions import FloatArray
from scripts.evaluation.confidence_intervals import rounded
from scripts.evaluation.metrics import auc
from scripts.evaluation.shortcuts.probe import ridge_scores
from scripts.training.film_features import FilmFeatures, read_features

PENALTY: Final = 5.0  # times the number of features, which have the variance 1
CHILDREN: Final = 4  # one of so many, by hash: they are many and all from one hospital
FALSE_ALARMS: Final = 0.05  # of the normal films of RSNA, out of fold, at the threshold
_JOINED: Final = {"nih_emily": "nih", "nih_misc": "nih", "nih_ashok133": "nih"}
_UNUSED: Final = frozenset({EXCLUDED, RSNA_TEST, "test"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadData:
    """Radiographs and their features, as parallel arrays."""

    features: NDArray[np.float32]
    sources: NDArray[np.str_]
    categories: NDArray[np.str_]
    patients: NDArray[np.str_]
    parts: NDArray[np.str_]

    def take(self, index: NDArray[Any]) -> "HeadData":
        """Return the radiographs where a mask is true."""
        return HeadData(**{each.name: getattr(self, each.name)[index] for each in fields(self)})

    def labels(self, head: str) -> FloatArray:
        """Return the labels of a head, "opacity" or "abnormal"; NaN where it is not known."""
        if head == "abnormal":
            return np.where(self.categories == Category.NORMAL, 0.0, 1.0)
        known = {category.value: label_of(category) for category in Category}
        return np.array([np.nan if (x := known[c]) is None else x for c in self.categories])


def head_data(rows: Sequence[Radiograph], known: FilmFeatures) -> HeadData:
    """Return the usable rows whose features are known; of the children every fourth."""
    place = {str(name): index for index, name in enumerate(known.sha256)}
    used = [
        row
        for row in rows
        if row["part"] not in _UNUSED
        and row["category"] != Category.LEFT_OUT
        and row["sha256"] in place
        and (row["cohort"] != "pediatric" or int(row["sha256"][:8], 16) % CHILDREN == 0)
    ]
    return HeadData(
        features=known.pooled[[place[row["sha256"]] for row in used]],
        sources=np.array([_JOINED.get(row["source"], row["source"]) for row in used]),
        categories=np.array([row["category"] for row in used]),
        patients=np.array([row["patient"] for row in used]),
        parts=np.array([row["part"] for row in used]),
    )


def balanced_weights(labels: FloatArray, sources: NDArray[np.str_]) -> FloatArray:
    """Return weights under which the classes weigh the same, and in each class the sources.

    Otherwise a head learns which source has which class.
    """
    weights = np.zeros(len(labels))
    for label in (0.0, 1.0):
        of_class = labels == label
        names = np.unique(sources[of_class])
        for name in names:
            cell = of_class & (sources == name)
            weights[cell] = len(labels) / (2 * len(names) * cell.sum())
    return weights


def head_scores(seen: HeadData, labels: FloatArray, asked: HeadData) -> FloatArray:
    """Fit a ridge regression to `seen` and return the scores of `asked`."""
    rows, features = seen.features.shape
    return ridge_scores(
        seen.features,
        labels,
        asked.features,
        weights=balanced_weights(labels, seen.sources),
        penalty=PENALTY * features / rows,
    )


def by_source(data: HeadData, head: str) -> dict[str, Any]:
    """Return the AUC on each source of a head fitted to the others, without its patients."""
    labels = data.labels(head)
    trainable = ~np.isnan(labels) & (data.parts != MEASURING)
    found = {}
    for source in np.unique(data.sources[trainable]):
        held = trainable & (data.sources == source)
        seen = trainable & ~held & ~np.isin(data.patients, data.patients[held])
        if len(np.unique(labels[held])) == len(np.unique(labels[seen])) == 2:  # noqa: PLR2004
            scores = head_scores(data.take(seen), labels[seen], data.take(held))
            found[str(source)] = _areas(labels[held], scores, data.categories[held])
    return found


def by_fold(data: HeadData, head: str) -> tuple[dict[str, Any], FloatArray]:
    """Return the AUC on RSNA of heads fitted to its other folds alone, and all scores."""
    labels = data.labels(head)
    scores = np.full(len(labels), np.nan)
    usable = (data.sources == RSNA) & ~np.isnan(labels)
    for part in ("validation", *(f"fold-{fold}" for fold in range(FOLDS))):
        held, seen = usable & (data.parts == part), usable & (data.parts != part)
        if held.any():
            scores[held] = head_scores(data.take(seen), labels[seen], data.take(held))
    return _areas(labels[usable], scores[usable], data.categories[usable]), scores


def _areas(labels: FloatArray, scores: FloatArray, categories: NDArray[np.str_]) -> dict[str, Any]:
    """Return AUCs: against all the rest, and against normal and other abnormality alone."""
    found: dict[str, Any] = {"images": len(labels), "positive": int(labels.sum())}
    found["auc"] = rounded(auc(labels, scores))
    for other in (Category.NORMAL, Category.OTHER):
        kept = (labels == 1) | (categories == other)
        if 0 < labels[kept].sum() < kept.sum() < len(labels):
            found[f"auc_against_{other}"] = rounded(auc(labels[kept], scores[kept]))
    return found


def present_elsewhere(data: HeadData, scores: FloatArray) -> dict[str, Any]:
    """Return what the opacity head calls present in sources that it did not see.

    The threshold leaves `FALSE_ALARMS` of RSNA's normal films above it, out of fold. Hannover is
    seen by no head; of the other hospitals each head is fitted to all but the one it is asked.

    Args:
        data: all radiographs.
        scores: of `by_fold` for RSNA.
    """
    normal = (data.sources == RSNA) & (data.categories == Category.NORMAL)
    threshold = np.quantile(scores[normal], 1 - FALSE_ALARMS)
    labels = data.labels("opacity")
    found: dict[str, Any] = {}
    for source in ("nlm_shenzhen", "nlm_montgomery", "adult_covid"):
        asked = data.sources == source
        seen = (data.sources != source) & (data.parts != MEASURING) & ~np.isnan(labels)
        rsna = seen & (data.sources == RSNA)
        for name, fitted in (("rsna", rsna), ("all others", seen)):
            if not asked.any() or len(np.unique(labels[fitted])) < 2:  # noqa: PLR2004
                continue
            above = head_scores(data.take(fitted), labels[fitted], data.take(asked)) >= threshold
            for category in np.unique(data.categories[asked]):
                share = above[data.categories[asked] == category].mean()
                found[f"{source} {category}, fitted to {name}"] = rounded(float(share))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="../../shared/data")
    parser.add_argument("--features", type=Path, default=Path("../runs/features"))
    options = parser.parse_args(arguments)
    weights_sha256 = read_metadata()["weights"]["sha256"]
    try:
        known = read_features(options.features, weights_sha256)
        data = head_data(all_sets(options.data_dir), known)
    except (OSError, ValueError) as exc:
        parser.exit(1, f"{exc}\n")
    on_rsna, scores = by_fold(data, "opacity")
    found = {
        "images": {str(name): int((data.sources == name).sum()) for name in set(data.sources)},
        "opacity": {"rsna folds": on_rsna, "left out": by_source(data, "opacity")},
        "abnormal": {
            "rsna folds": by_fold(data, "abnormal")[0],
            "left out": by_source(data, "abnormal"),
        },
        "called present": present_elsewhere(data, scores),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
