"""Write the section of docs/evaluation.md on the shortcut audit from docs/shortcuts.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from scripts.evaluation.report.markdown import NOTHING, UNKNOWN, cell, number, table

FIGURES: Final = Path("docs/shortcuts.json")
NAMES: Final = {
    "pediatric": "children (`pediatric/train`)",
    "adult": "first adults (`adult`)",
    "rsna2018": "RSNA without its test split",
    "nih_ashok133": "NIH, `nih_ashok133`",
    "nih_emily": "NIH, `nih_emily` and `nih_misc`",
    "nlm_shenzhen": "Shenzhen",
    "nlm_montgomery": "Montgomery",
    "adult_covid": "Hannover (COVID-19)",
}
OPACITY: Final = "opacity against the rest"
_WAYS: Final = {
    "within": "within the set: out of fold, five folds by patient",
    "across": "across sources: fitted to all other sets, without their patients in this one",
}
_CATEGORIES: Final = {
    "normal": "normal, called present",
    "other": "other abnormality, called present",
    "abnormal": "abnormal (tuberculosis or a mined label), called present",
    "opacity": "opacity, called present",
}


def read_figures(bundle: Path, weights_sha256: str) -> dict[str, Any] | None:
    """Return the content of docs/shortcuts.json of a bundle, or None without one of the weights."""
    path = bundle / FIGURES
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found if found["weights_sha256"] == weights_sha256 else None


def audit(found: Mapping[str, Any] | None) -> str:
    """Return the section for the content of docs/shortcuts.json."""
    if not found:
        return UNKNOWN
    parts = [_introduction(found), *(_task(found, task) for task in found["tasks"])]
    parts += [_findings(found), _tones(found), _attention(found), _subgroups(found)]
    return "\n\n".join(parts)


def _introduction(found: Mapping[str, Any]) -> str:
    sizes = ", ".join(f"{name} ({size})" for name, size in found["descriptions"].items())
    of_rsna = found["tasks"][OPACITY]["rsna2018"]
    inside = {name: number(each["value"], digits=2) for name, each in of_rsna["within"].items()}
    own = number(of_rsna["model"]["value"], digits=2)
    thumbnail, header = inside["16x16 thumbnail"], inside["view, sex, age"]
    how = "by a training that left it out" if "rsna2018" in found["seen"] else "which it never saw"
    return f"""\
On RSNA, {how}, this model reaches an AUC of {own} for an opacity. A ridge regression
that is given a thumbnail of 16x16 pixels reaches {thumbnail} there, and {header} if it is given
nothing but view, sex and age.

What does a model reach that sees no lung? Each description of a radiograph, in parentheses of how
many numbers, is given to a ridge regression with a fixed penalty: {sizes}. The
AUC within a set measures how different its classes are without their lungs, by selection for the
most part; a network trained on the set can learn exactly that. Across sources such a description
should be worth nothing (0.5; a figure far below is a difference that is the other way round
elsewhere), and a model that knows the disease should not fall.

{found["images"]:,} radiographs, neither the official test set nor RSNA's test split nor its
patients among them. Intervals are from {found["draws"]} resamplings of patients (seed
{found["seed"]}). `model` is this model; on the sets that it was trained on, which are marked, the
figure is that of networks which did not see the patient, or not even the source where one was
trained without it. "First adults", and of NIH the films
without a usable label, are here with their published labels. Reproduce with
`python -m scripts.evaluation.shortcuts` in `monai_bundle`; machine-readable:
`monai_bundle/docs/shortcuts.json`."""


def _task(found: Mapping[str, Any], task: str) -> str:
    parts = [f"### {task[0].upper()}{task[1:]}"]
    for way, title in _WAYS.items():
        rows = [
            _row(f"{NAMES.get(name, name)}{' †' if name in found['seen'] else ''}", each, way)
            for name, each in found["tasks"][task].items()
            if each[way]
        ]
        header = ("set", "films (positive)", *found["descriptions"], "model")
        parts.append(f"AUC {title}.\n\n{table(header, rows)}")
    return "\n\n".join(parts)


def _row(name: str, each: Mapping[str, Any], way: str) -> list[str]:
    sizes = f"{each['images']:,} ({each['positive']:,})"
    figures = [cell(figure, digits=2) for figure in each[way].values()]
    return [name, sizes, *figures, cell(each["model"], digits=2)]


def _findings(found: Mapping[str, Any]) -> str:
    rows = []
    for name, categories in found["findings"].items():
        cells = [
            f"{cell(each, digits=2)} of {each['images']}"
            if (each := categories.get(category))
            else NOTHING
            for category in _CATEGORIES
        ]
        rows.append((NAMES[name], *cells))
    return f"""\
† The model was trained on this set.

### Findings on sets that the model never saw

At the default operating point. {found["shared_patients"]} patients of RSNA and NIH have another
film, or the same one, among the first adults.

{table(("set", *_CATEGORIES.values()), rows)}"""


def _tones(found: Mapping[str, Any]) -> str:
    tones = found["tones"]
    rows = [
        (
            NAMES[name],
            f"{each['images']} x {each['renderings'] // each['images']}",
            cell(each["median"]),
            number(each["percentile_95"]),
            cell(each["findings_changed"], digits=2),
        )
        for name, each in tones["sets"].items()
    ]
    together = tones["all"]
    rows.append(
        (
            "**all**",
            f"{together['renderings']}",
            cell(together["median"]),
            number(together["percentile_95"]),
            NOTHING,
        )
    )
    header = ("radiographs of", "films x tones", "median change", "95th percentile")
    return f"""\
### Tones of another source

The same radiographs with the tones of each other set laid over them (a monotonic curve to that
set's mean distribution; structure stays). Target: a median change of the probability of at most
{tones["target"]}.

{table((*header, "findings changed"), rows)}"""


def _attention(found: Mapping[str, Any]) -> str:
    rows = [
        (
            NAMES[name],
            f"{each['images']:,}",
            cell(each),
            number(each["area"]),
            cell(each["measured"], digits=2),
        )
        for name, each in found["attention"].items()
    ]
    header = ("set", "films with attention", "share inside the thorax", "area of the thorax")
    return f"""\
### Attention inside the thorax

The share of the positive evidence inside the thorax, for radiographs whose map speaks for
pneumonia. No set has outlines of the lungs: the thorax is the box around the enclosed dark places
on both sides, measured on each image; where that gives no likely box, a fixed one is used. A map
that is the same everywhere has the share of the thorax's area inside.

{table((*header, "thorax measured"), rows)}"""


def _subgroups(found: Mapping[str, Any]) -> str:
    rows = [
        (
            group,
            f"{each['images']:,} ({each['positive']:,})",
            *(cell(figure, digits=2) for figure in each["within"].values()),
            cell(each["model"], digits=2),
            cell(each["inside_thorax"], digits=2),
        )
        for group, each in found["subgroups"].items()
    ]
    header = ("view or sex", "films (positive)", *found["descriptions"], "model")
    return f"""\
### By view and sex

RSNA without its test split, opacity against the rest; descriptions within the group, out of fold.

{table((*header, "attention inside"), rows)}"""
