"""The wording of outputs, the same in every kind; ASCII only.

An output keeps the source's character set, and ASCII is the same in every one of them.
"""

import unicodedata
from collections.abc import Iterator
from typing import Final

from service.domain.reasons import EXPLANATIONS
from workers.prediction import (
    Conclusion,
    Finding,
    Model,
    NotAnalysed,
    OperatingPoint,
    OtherAbnormality,
    Prediction,
)

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


def other_line(other: OtherAbnormality) -> str:
    """Return the finding and the probability of the other abnormality in one line."""
    word = FINDING_WORD[other.finding]
    return f"Other abnormality {word}, probability {percent(other.probability)} %"


def both_findings(prediction: Prediction, other: OtherAbnormality) -> str:
    """Return both findings in words, to be read together: neither alone says what was found."""
    pneumonia, abnormality = (
        FINDING_WORD[finding].lower() for finding in (prediction.finding, other.finding)
    )
    return f"pneumonia {pneumonia}, another abnormality {abnormality}"


def basis_line(conclusion: Conclusion) -> str:
    """Return the thresholds that the finding follows from, or the reason for not analysing."""
    if isinstance(conclusion, NotAnalysed):
        return EXPLANATIONS[conclusion.reason]
    point = conclusion.model.operating_point
    name = ascii_text(point.name)
    if conclusion.population is not None:
        name += f", population {ascii_text(conclusion.population)}"
    return f"Operating point {name}: {_thresholds(point)}"


def other_basis_line(other: OtherAbnormality) -> str:
    """Return the thresholds that the finding of the other abnormality follows from."""
    point = other.operating_point
    return f"Other abnormality, operating point {ascii_text(point.name)}: {_thresholds(point)}"


def _thresholds(point: OperatingPoint) -> str:
    text = f"from {percent(point.threshold)} %"
    if point.indeterminate_low < point.indeterminate_high:
        band = f"{percent(point.indeterminate_low)} to {percent(point.indeterminate_high)} %"
        text += f", undetermined {band}"
    return text


def operating_point_text(point: OperatingPoint, label: str = "Operating point") -> str:
    """Return the name and thresholds of an operating point, as calibrated probabilities."""
    return (
        f"{label} {ascii_text(point.name)}: threshold {point.threshold!r}, "
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
    return (*named, *_probability_texts(conclusion), *_population_text(conclusion))


def probability_text(prediction: Prediction) -> str:
    """Return the probability of pneumonia as it was computed."""
    return f"Probability of pneumonia: {float(prediction.probability)!r}"


def other_probability_text(other: OtherAbnormality) -> str:
    """Return the probability of the other abnormality as it was computed."""
    return f"Probability of other abnormality: {float(other.probability)!r}"


def _probability_texts(prediction: Prediction) -> Iterator[str]:
    calibrated = "calibrated" if prediction.model.calibrated else "uncalibrated"
    yield probability_text(prediction)
    yield (
        f"Certainty of Finding is the {calibrated} probability of pneumonia in percent, "
        "whether pneumonia reads present, absent or undetermined"
    )
    other = prediction.other
    if other is None:
        return
    yield operating_point_text(other.operating_point, "Operating point of other abnormality")
    yield other_probability_text(other)
    yield (
        "Other abnormality is the model's probability of an abnormality other than pneumonia in "
        "percent, whether it reads present, absent or undetermined"
    )
    yield f"Both findings: {both_findings(prediction, other)}"


def _population_text(prediction: Prediction) -> Iterator[str]:
    if prediction.population is not None:
        yield f"Population: {ascii_text(prediction.population)}"
