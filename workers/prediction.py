"""The model's conclusion about one instance, in immutable values."""

from dataclasses import dataclass
from enum import StrEnum

from service.domain.evidence import AttentionMap, Region
from service.domain.monitoring.shadow import Reading
from service.domain.reasons import Reason
from service.domain.routing import Outcome

__all__ = [
    "AttentionMap",
    "Conclusion",
    "Finding",
    "Model",
    "NotAnalysable",
    "NotAnalysed",
    "OperatingPoint",
    "OtherAbnormality",
    "Prediction",
    "Region",
    "reading_of",
]


class Finding(StrEnum):
    """The finding that a probability means at an operating point."""

    PRESENT = "present"
    ABSENT = "absent"
    INDETERMINATE = "indeterminate"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A named threshold with the band around it in which the model abstains.

    All values are calibrated probabilities in [0, 1];
    indeterminate_low <= threshold <= indeterminate_high.
    """

    name: str
    threshold: float
    indeterminate_low: float
    indeterminate_high: float

    def __post_init__(self) -> None:
        if not 0 <= self.indeterminate_low <= self.threshold <= self.indeterminate_high <= 1:
            raise ValueError(f"operating point {self.name}: the band must hold the threshold")

    def read(self, probability: float) -> Finding:
        """Return the finding for a probability; the band is open at both ends."""
        if self.indeterminate_low < probability < self.indeterminate_high:
            return Finding.INDETERMINATE
        return Finding.PRESENT if probability >= self.threshold else Finding.ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a report must name of the bundle so that its number can be reproduced."""

    name: str
    version: str
    weights_sha256: str  # 64 lower-case hexadecimal digits
    calibrated: bool
    operating_point: OperatingPoint


def _require_probability(value: float) -> None:
    if not 0 <= value <= 1:  # nor is NaN, which would read as absent
        raise ValueError(f"{value} is not a probability")


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherAbnormality:
    """The calibrated probability of an abnormality other than pneumonia, and the finding."""

    finding: Finding
    probability: float  # in [0, 1]
    operating_point: OperatingPoint

    def __post_init__(self) -> None:
        _require_probability(self.probability)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One instance's calibrated probability of pneumonia and the finding."""

    finding: Finding
    probability: float  # in [0, 1]
    model: Model
    region: Region | None = None  # where the evidence lies, if the model names it
    other: OtherAbnormality | None = None  # if the model reads it
    population: str | None = None  # whose operating points were used, if the model has several
    attention: AttentionMap | None = None  # for the page of the job; no output shows it

    def __post_init__(self) -> None:
        _require_probability(self.probability)

    @property
    def outcome(self) -> Outcome:
        """The outcome of the instance: that of its finding."""
        return Outcome(self.finding)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAnalysed:
    """The conclusion that the model did not analyse an instance, and why."""

    reason: Reason
    model: Model

    @property
    def outcome(self) -> Outcome:
        """The outcome of the instance: not analysed."""
        return Outcome.NOT_ANALYSED


Conclusion = Prediction | NotAnalysed
"""The conclusion about one instance, which every kind of output presents."""


def reading_of(conclusion: Conclusion) -> Reading:
    """Return what a model said about an instance, to be compared with another model."""
    model = conclusion.model
    found: Prediction | None = None
    reason: Reason | None = None
    if isinstance(conclusion, Prediction):
        found = conclusion
    else:
        reason = conclusion.reason
    return Reading(
        model=f"{model.name} {model.version}",
        weights_sha256=model.weights_sha256,
        operating_point=model.operating_point.name,
        finding=found.finding if found else None,
        probability=found.probability if found else None,
        reason=reason,
    )


class NotAnalysable(Exception):  # noqa: N818 -- named by the state it leads to
    """The instance is not for this model: a coded reason, and a detail for people.

    `population` is the patient's, where the model named it.
    """

    def __init__(self, reason: Reason, detail: str = "", *, population: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail
        self.population = population
