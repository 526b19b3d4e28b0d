"""Write what docs/evaluation.md opens with, and the sections by population."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from scripts.evaluation.report.groups import TABLES
from scripts.evaluation.report.markdown import NOTHING, area, cell, table

SOURCES: Final = {
    "pediatric": "children of Guangzhou",
    "adult": "first adults (two classes selected apart: a shortcut)",
    "rsna2018": "RSNA",
    "nih": "NIH",
    "nih_ashok133": "NIH, `nih_ashok133`",
    "nih_emily": "NIH, `nih_emily`",
    "nih_misc": "NIH, `nih_misc`",
    "nlm_shenzhen": "Shenzhen",
    "nlm_montgomery": "Montgomery",
    "adult_covid": "Hannover (COVID-19)",
}
_KINDS: Final = {
    "opacity": "with an opacity",
    "other": "with another abnormality",
    "normal": "normal",
    "abnormal": "abnormal (tuberculosis)",
}
LEAST: Final = 20  # films of a kind: "per 100" of fewer would pretend to know


def opening(metrics: Mapping[str, Any]) -> str:
    """Return the table for a reader who wants to know what the findings are worth."""
    rows = [
        (
            each["population"],
            f"{SOURCES.get(each['source'], each['source'])}; {TABLES[each['table']]}",
            f"{each['images']:,}",
            _sentence(each, RIGHT),
            _sentence(each, WRONG),
            _sentence(each, OPEN),
        )
        for each in metrics["groups"]
        if each["table"] != "validation" and _is_told(each)
    ]
    text = f"""\
What the default operating point says of 100 films of a kind; kinds with fewer than {LEAST} films
are left out. Opacity means a lung opacity that may be pneumonia.

{table(("population", "source", "films", "right", "wrong", "not decided"), rows)}"""
    status = _status(metrics)
    return f"{text}\n\n{status}" if status else text


# For each column: the kind, the finding, and its words.
_Told = Sequence[tuple[str, str, str]]
RIGHT: Final[_Told] = (
    ("opacity", "present", "found"),
    ("normal", "absent", "absent"),
    ("other", "absent", "absent"),
)
WRONG: Final[_Told] = (
    ("opacity", "absent", "missed"),
    ("normal", "present", "called present"),
    ("other", "present", "called present"),
)
OPEN: Final[_Told] = tuple((kind, "indeterminate", "") for kind in ("opacity", "normal", "other"))


def _is_told(each: Mapping[str, Any]) -> bool:
    return any(
        found["images"] >= LEAST for kind, found in each["findings"].items() if kind != "abnormal"
    )


def _sentence(each: Mapping[str, Any], told: _Told) -> str:
    parts = []
    for kind, finding, words in told:
        found = each["findings"].get(kind)
        if found and found["images"] >= LEAST:
            count = f"{100 * found[finding]['value']:.0f}"
            parts.append(f"{count} of 100 {_KINDS[kind]}{f' {words}' if words else ''}")
    return "; ".join(parts) or NOTHING


def _status(metrics: Mapping[str, Any]) -> str | None:
    """Return the table of what is reported by default, and why; None without populations."""
    if not (found := metrics["populations"]):
        return None
    rows = [
        (name, _years(each["years"]), "yes" if each["validated"] else "no", each["reason"])
        for name, each in found.items()
    ]
    return f"""\
A finding is reported by default where the population is validated. The decision is computed from
the figures (`python -m scripts.evaluation.populations`), without the test splits:

{table(("population", "years", "validated", "why"), rows)}"""


def _years(years: Sequence[int | None] | None) -> str:
    if years is None:
        return "age unknown"
    start, end = years
    return f"{start} and older" if end is None else f"{start} to under {end}"


def by_population(metrics: Mapping[str, Any]) -> str:
    """Return the section on every population and source."""
    rows = [
        (
            each["population"],
            SOURCES.get(each["source"], each["source"]),
            TABLES[each["table"]],
            f"{each['images']:,}, {each['patients']:,}",
            *(area(each["auc"].get(name)) for name in ("the rest", "normal", "other")),
            *_called(each),
            _calibration(each["calibration_error"]),
        )
        for each in metrics["groups"]
    ]
    header = ("population", "source", "how", "films, patients")
    of_auc = ("AUC against the rest", "against normal", "against another abnormality")
    shares = ("opacity found", "normal called present", "other abnormality called present")
    return f"""\
A share counts the findings `present` at the default operating point of the population; those in the
band count as not present. "How" says what the network had seen. Predictions of single trainings are
brought to the ensemble's scale (`scripts/evaluation/populations/evidence.py`).

{table((*header, *of_auc, *shares, "calibration error (by chance)"), rows)}"""


def _called(each: Mapping[str, Any]) -> list[str]:
    return [
        cell(found["present"], digits=2)
        if (found := each["findings"].get(kind)) and found["images"] >= LEAST
        else NOTHING
        for kind in ("opacity", "normal", "other")
    ]


def _calibration(found: Mapping[str, Any] | None) -> str:
    return NOTHING if found is None else f"{cell(found)} ({found['by_chance']:.3f})"


def divided(metrics: Mapping[str, Any]) -> str | None:
    """Return the section on view, sex and age; None without a film of which they are known."""
    if not metrics["divided"]:
        return None
    rows = [
        (
            TABLES[each["table"]],
            f"{each['by']} {each['value']}",
            f"{each['images']:,}",
            area(each["auc"].get("the rest")),
            area(each["auc"].get("normal")),
            *_called(each),
            _calibration(each["calibration_error"]),
        )
        for each in metrics["divided"]
    ]
    header = ("how", "group", "films", "AUC against the rest", "against normal")
    shares = ("opacity found", "normal called present", "other abnormality called present")
    return f"""\
Adults of RSNA. A portable film (AP) is taken of the sick: a share that differs between views may be
the patients' or the view's.

{table((*header, *shares, "calibration error (by chance)"), rows)}"""


def other_abnormality(metrics: Mapping[str, Any]) -> str | None:
    """Return the section on another abnormality; None for a network that has no such output."""
    rows = [
        (
            each["population"],
            SOURCES.get(each["source"], each["source"]),
            TABLES[each["table"]],
            f"{found['images']:,}",
            area(found["auc"]),
            cell(found["findings"].get("other"), digits=2),
            cell(found["findings"].get("normal"), digits=2),
            _calibration(found["calibration_error"]),
        )
        for each in metrics["groups"]
        if (found := each["other"])
    ]
    if not rows:
        return None
    header = ("population", "source", "how", "films", "AUC against normal", "named")
    return f"""\
The second number says whether something else is abnormal, so that "absent" does not read as
"nothing". Films of another abnormality against normal ones, at the default operating point; of
films with an opacity it is not known whether they show something else too.

{table((*header, "named on normal films", "calibration error (by chance)"), rows)}"""
