"""Decide what each published finding teaches: opacity, another abnormality, normal, or nothing.

A reading of the film by radiologists is preferred to a label mined from a report. Labels mined from
reports that may or may not describe an opacity are left out: in RSNA, where such films were also
read, the label and the reading often differ (docs/datasheet.md has the counts).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NO_FINDING: Final = "No Finding"
MAYBE_OPACITY: Final = frozenset({"Consolidation", "Edema", "Infiltration", "Pneumonia"})


class Category(StrEnum):
    """What a radiograph shows, as far as its source says so."""

    OPACITY = "opacity"  # a lung opacity that may be pneumonia
    OTHER = "other"  # abnormal, without such an opacity
    NORMAL = "normal"
    ABNORMAL = "abnormal"  # not normal; whether there is an opacity is not known
    LEFT_OUT = "left-out"


class Basis(StrEnum):
    """Where the category of a radiograph comes from."""

    READING = "reading"  # physicians looked at the film
    REPORT = "report"  # mined from the text of a report
    DIAGNOSIS = "diagnosis"  # of the patient, not of the film
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the table: the category of a finding of a source, and why."""

    source: str
    finding: str
    category: Category
    basis: Basis
    reason: str


RSNA: Final = (
    Rule(
        source="rsna2018",
        finding="Lung Opacity",
        category=Category.OPACITY,
        basis=Basis.READING,
        reason="radiologists marked an opacity that may be pneumonia",
    ),
    Rule(
        source="rsna2018",
        finding="No Lung Opacity / Not Normal",
        category=Category.OTHER,
        basis=Basis.READING,
        reason="radiologists found the film abnormal and marked no such opacity",
    ),
    Rule(
        source="rsna2018",
        finding="Normal",
        category=Category.NORMAL,
        basis=Basis.READING,
        reason="radiologists found nothing",
    ),
)
AIRSPACE_YES: Final = Rule(
    source="nih_*",
    finding="airspace opacity: YES",
    category=Category.OPACITY,
    basis=Basis.READING,
    reason="radiologists read this film for airspace opacity (Majkowska et al., Radiology 2020)",
)
AIRSPACE_NO_ABNORMAL: Final = Rule(
    source="nih_*",
    finding="airspace opacity: NO, report abnormal",
    category=Category.OTHER,
    basis=Basis.READING,
    reason="the same readers found no opacity; the report names another finding",
)
AIRSPACE_NO_NORMAL: Final = Rule(
    source="nih_*",
    finding="airspace opacity: NO, report without finding",
    category=Category.NORMAL,
    basis=Basis.READING,
    reason="the same readers found no opacity; the report names no finding",
)
UNKNOWN_PATIENT: Final = Rule(
    source="nih_ashok133",
    finding="patient unknown",
    category=Category.LEFT_OUT,
    basis=Basis.NONE,
    reason="the patient may be one of the test split; no reading; some tones are inverted",
)
MAYBE: Final = Rule(
    source="nih_*",
    finding="report: Consolidation, Edema, Infiltration or Pneumonia",
    category=Category.LEFT_OUT,
    basis=Basis.REPORT,
    reason="of RSNA's films with such a report a third is an opacity and a quarter is normal",
)
OTHER_REPORT: Final = Rule(
    source="nih_*",
    finding="report: another finding",
    category=Category.OTHER,
    basis=Basis.REPORT,
    reason="no reading; an opacity is not reported",
)
NO_FINDING_REPORT: Final = Rule(
    source="nih_*",
    finding="report: No Finding",
    category=Category.NORMAL,
    basis=Basis.REPORT,
    reason="no reading; nothing is reported",
)
TUBERCULOSIS: Final = Rule(
    source="nlm_*",
    finding="Tuberculosis",
    category=Category.ABNORMAL,
    basis=Basis.DIAGNOSIS,
    reason="often shows infiltrates and sometimes scars only: teaches neither opacity nor its "
    "absence, only that the film is not normal",
)
NLM_NORMAL: Final = Rule(
    source="nlm_*",
    finding="No Finding",
    category=Category.NORMAL,
    basis=Basis.READING,
    reason="read as normal by the hospital's radiologists",
)
COVID: Final = Rule(
    source="adult_covid",
    finding="COVID-19",
    category=Category.OPACITY,
    basis=Basis.DIAGNOSIS,
    reason="one class of one hospital: measured, never trained on; an early film may be clear",
)
LATERAL: Final = Rule(
    source="lateral",
    finding="lateral view",
    category=Category.LEFT_OUT,
    basis=Basis.NONE,
    reason="not frontal: measures the gate; the licences allow no training of what is shipped",
)
SELECTED_NIH: Final = Rule(
    source="adult",
    finding="NORMAL or PNEUMONIA",
    category=Category.LEFT_OUT,
    basis=Basis.REPORT,
    reason="its two classes differ by selection: a network tells them apart by their tone",
)
CHILD_PNEUMONIA: Final = Rule(
    source="pediatric",
    finding="PNEUMONIA",
    category=Category.OPACITY,
    basis=Basis.READING,
    reason="graded by two physicians",
)
CHILD_NORMAL: Final = Rule(
    source="pediatric",
    finding="NORMAL",
    category=Category.NORMAL,
    basis=Basis.READING,
    reason="graded by two physicians",
)
RULES: Final = (
    CHILD_PNEUMONIA,
    CHILD_NORMAL,
    *RSNA,
    AIRSPACE_YES,
    AIRSPACE_NO_ABNORMAL,
    AIRSPACE_NO_NORMAL,
    UNKNOWN_PATIENT,
    MAYBE,
    OTHER_REPORT,
    NO_FINDING_REPORT,
    TUBERCULOSIS,
    NLM_NORMAL,
    COVID,
    LATERAL,
    SELECTED_NIH,
)


def rule_of(
    *, source: str, findings: str, patient: str, rsna_class: str = "", airspace_opacity: str = ""
) -> Rule:
    """Return the rule that decides about a row of adult_findings/index.csv.

    Args:
        source: the row's source.
        findings: labels joined by "|".
        patient: the patient's number, empty if unknown.
        rsna_class: RSNA's reading, where there is one.
        airspace_opacity: YES or NO as read by other radiologists, or empty.

    Raises:
        ValueError: there is no rule for it.
    """
    if rsna_class:
        return _only([rule for rule in RSNA if rule.finding == rsna_class], source, rsna_class)
    if source.startswith("nlm_"):
        rules = [rule for rule in (TUBERCULOSIS, NLM_NORMAL) if rule.finding == findings]
        return _only(rules, source, findings)
    if not source.startswith("nih_") or not findings:
        raise ValueError(f"no rule for the source {source} and the findings {findings!r}")
    return UNKNOWN_PATIENT if not patient else _nih_rule(set(findings.split("|")), airspace_opacity)


def _only(rules: list[Rule], source: str, finding: str) -> Rule:
    if not rules:
        raise ValueError(f"no rule for the source {source} and the finding {finding!r}")
    return rules[0]


def _nih_rule(findings: set[str], airspace_opacity: str) -> Rule:
    if airspace_opacity == "YES":
        return AIRSPACE_YES
    if airspace_opacity == "NO":
        return AIRSPACE_NO_NORMAL if findings == {NO_FINDING} else AIRSPACE_NO_ABNORMAL
    if findings & MAYBE_OPACITY:
        return MAYBE
    return NO_FINDING_REPORT if findings == {NO_FINDING} else OTHER_REPORT


def label_of(category: str) -> float | None:
    """Return 1.0 for an opacity, 0.0 for a film without one, None where that is not known."""
    if category == Category.OPACITY:
        return 1.0
    return 0.0 if category in {Category.OTHER, Category.NORMAL} else None
