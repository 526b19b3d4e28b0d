"""The result for one file, as `lobar analyze --json` prints it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Self

from workers.prediction import OtherAbnormality, Prediction, Region

REGION_DIGITS: Final = 4  # a fraction this fine is less than a pixel


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherAnalysis:
    """The reading of an abnormality other than pneumonia."""

    finding: str
    probability: float
    operating_point: str
    threshold: float
    indeterminate: list[float]  # the band around the threshold, low and high

    @classmethod
    def of(cls, other: OtherAbnormality) -> Self:
        """Build it with all that is needed to reproduce the finding."""
        point = other.operating_point
        return cls(
            finding=other.finding,
            probability=other.probability,
            operating_point=point.name,
            threshold=point.threshold,
            indeterminate=[point.indeterminate_low, point.indeterminate_high],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """One line of the JSON output, and one JSON file in an output folder."""

    file: str
    outcome: Literal["analysed", "not_analysed", "failed"]
    reason: str | None = None
    finding: str | None = None
    probability: float | None = None
    region: list[float] | None = None  # top, left, bottom, right as fractions of rows and columns
    operating_point: str | None = None
    threshold: float | None = None
    indeterminate: list[float] | None = None  # the band around the threshold, low and high
    other_abnormality: OtherAnalysis | None = None  # where the model reads one
    population: str | None = None  # of the patient, if the model has several
    model: str | None = None
    calibrated: bool | None = None
    weights_sha256: str | None = None
    outputs: list[str] = field(default_factory=list)


def analysed(file: Path, prediction: Prediction, outputs: list[str]) -> Analysis:
    """Build the analysis of a predicted file, with all that is needed to reproduce the number."""
    model, point = prediction.model, prediction.model.operating_point
    return Analysis(
        file=str(file),
        outcome="analysed",
        finding=prediction.finding,
        probability=prediction.probability,
        region=_edges(prediction.region),
        operating_point=point.name,
        threshold=point.threshold,
        indeterminate=[point.indeterminate_low, point.indeterminate_high],
        other_abnormality=OtherAnalysis.of(prediction.other) if prediction.other else None,
        population=prediction.population,
        model=f"{model.name} {model.version}",
        calibrated=model.calibrated,
        weights_sha256=model.weights_sha256,
        outputs=outputs,
    )


def _edges(region: Region | None) -> list[float] | None:
    if region is None:
        return None
    edges = (region.top, region.left, region.bottom, region.right)
    return [round(edge, REGION_DIGITS) for edge in edges]
