"""The words in which a result speaks, the same in the report and on the overlay; ASCII only.

The object keeps the source's character set, and ASCII reads the same in every one of them.
"""

import unicodedata
from typing import Final

from workers.prediction import Model, OperatingPoint

CAUTION: Final = "AI result, unverified. Not a medical device: for research use only."


def ascii_text(text: str, *, longest: int = 64) -> str:
    """Fold a name into ASCII without a backslash or control characters, as LO needs (PS3.5 6.2)."""
    folded = unicodedata.normalize("NFKD", text)
    plain = "".join(
        character if character.isascii() and character.isprintable() else "?"
        for character in folded
        if not unicodedata.combining(character)
    )
    return plain.replace("\\", "/").strip()[:longest].strip() or "unnamed"


def percent(probability: float) -> str:
    """Give a probability in percent to one decimal."""
    return f"{100 * probability:.1f}"


def operating_point_text(point: OperatingPoint) -> str:
    """Give an operating point by name and values, as calibrated probabilities."""
    return (
        f"Operating point {ascii_text(point.name)}: threshold {point.threshold!r}, "
        f"undetermined between {point.indeterminate_low!r} and {point.indeterminate_high!r}"
    )


def model_text(model: Model) -> str:
    """Give a model by name and version."""
    return f"{ascii_text(model.name)} {ascii_text(model.version)}"


def parameters_text(model: Model, probability: float) -> tuple[str, ...]:
    """Give what must be known to reproduce and to read the number, one statement each."""
    calibrated = "calibrated" if model.calibrated else "uncalibrated"
    return (
        operating_point_text(model.operating_point),
        f"Calibrated: {'yes' if model.calibrated else 'no'}",
        f"Weights SHA-256: {model.weights_sha256}",
        f"Probability of pneumonia: {float(probability)!r}",
        (
            f"Certainty of Finding is the {calibrated} probability of pneumonia in percent, "
            "whether pneumonia reads present, absent or undetermined"
        ),
    )
