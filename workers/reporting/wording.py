"""The wording of outputs, the same in every kind; ASCII only.

An output keeps the source's character set, and ASCII is the same in every one of them.
"""

import unicodedata
from typing import Final

from service.domain.reasons import EXPLANATIONS
from workers.prediction import Conclusion, Finding, Model, NotAnalysed, OperatingPoint

OF_THE_WHOLE: Final = "AI finding of the whole image"
OF_A_REGION: Final = "AI attention region, not a lesion outline"
CAUTION: Final = "AI result, unverified. Not a medical device: for research use only."


def ascii_text(text: str, *, longest: int = 64) -> str:
    """Convert text to ASCII without backslash or control characters, as LO needs (PS3.5 6.2)."""
    folded = unicodedata.normalize("NFKD", text)
    plain = "".join(
        character if character.isascii() and character.isprintable() else "?"
        for character in folded
        if not unicodedata.combining(character)
    )
    return plain.replace("\\", "/").strip()[:longest].strip() or "unnamed"


def percent(probability: float) -> str:
    """Format a probability in percent, to one decimal."""
    return f"{100 * probability:.1f}"


REGION_CAUTION: Final = "where the model looked, not a lesion outline"
FINDING_WORD: Final = {
    Finding.PRESENT: "PRESENT",
    Finding.INDETERMINATE: "UNDETERMINED",
    Finding.ABSENT: "ABSENT",
}


def result_line(conclusion: Conclusion) -> str:
    """Return the conclusion in one line."""
    if isinstance(conclusion, NotAnalysed):
        return "NOT ANALYSED for pneumonia"
    word = FINDING_WORD[conclusion.finding]
    return f"Pneumonia {word}, probability {percent(conclusion.probability)} %"


def basis_line(conclusion: Conclusion) -> str:
    """Return the thresholds that the finding follows from, or the reason for not analysing."""
    if isinstance(conclusion, NotAnalysed):
        return EXPLANATIONS[conclusion.reason]
    point = conclusion.model.operating_point
    text = f"Operating point {ascii_text(point.name)}: from {percent(point.threshold)} %"
    if point.indeterminate_low < point.indeterminate_high:
        band = f"{percent(point.indeterminate_low)} to {percent(point.indeterminate_high)} %"
        text += f", undetermined {band}"
    return text


def operating_point_text(point: OperatingPoint) -> str:
    """Return the name and thresholds of an operating point, as calibrated probabilities."""
    return (
        f"Operating point {ascii_text(point.name)}: threshold {point.threshold!r}, "
        f"undetermined between {point.indeterminate_low!r} and {point.indeterminate_high!r}"
    )


def model_text(model: Model) -> str:
    """Return the name and version of a model."""
    return f"{ascii_text(model.name)} {ascii_text(model.version)}"


def parameters_text(conclusion: Conclusion) -> tuple[str, ...]:
    """Return the statements needed to reproduce and to interpret a conclusion."""
    model = conclusion.model
    named = (
        operating_point_text(model.operating_point),
        f"Calibrated: {'yes' if model.calibrated else 'no'}",
        f"Weights SHA-256: {model.weights_sha256}",
    )
    if isinstance(conclusion, NotAnalysed):
        return named
    calibrated = "calibrated" if model.calibrated else "uncalibrated"
    return (
        *named,
        f"Probability of pneumonia: {float(conclusion.probability)!r}",
        (
            f"Certainty of Finding is the {calibrated} probability of pneumonia in percent, "
            "whether pneumonia reads present, absent or undetermined"
        ),
    )
