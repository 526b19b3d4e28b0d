"""Lay out a probability on a scale from 0 to 1, with its operating point and its band."""

from dataclasses import dataclass
from typing import Final, Protocol

from service.domain.job import Job

WIDTH: Final = 1000  # of the drawing, in units of its own
_MARGIN: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbabilityScale:
    """One probability, the operating point that it is read at, and where both are drawn."""

    finding: str
    probability: float
    operating_point: str
    threshold: float | None  # None where the job did not record it
    low: float | None
    high: float | None

    @property
    def has_band(self) -> bool:
        """Whether the model abstains anywhere."""
        return self.low is not None and self.high is not None and self.low < self.high

    @staticmethod
    def place(value: float) -> float:
        """Return where a value from 0 to 1 is drawn, from the left."""
        inside = min(1.0, max(0.0, value))
        return round(_MARGIN + inside * (WIDTH - 2 * _MARGIN), 1)


def scale_of_pneumonia(job: Job) -> ProbabilityScale | None:
    """Return the scale of the finding of pneumonia; None where there is no prediction."""
    if job.finding is None or job.probability is None:
        return None
    return ProbabilityScale(
        finding=job.finding,
        probability=job.probability,
        operating_point=job.operating_point or "",
        threshold=job.threshold,
        low=job.indeterminate_low,
        high=job.indeterminate_high,
    )


class OtherPoint(Protocol):
    """The operating point for the other abnormality, as the evidence of a job has it."""

    @property
    def other_threshold(self) -> float | None:
        """The threshold; None where it was not recorded."""

    @property
    def other_indeterminate_low(self) -> float | None:
        """Where the band in which the model abstains begins."""

    @property
    def other_indeterminate_high(self) -> float | None:
        """Where it ends."""


def scale_of_other(job: Job, point: OtherPoint | None) -> ProbabilityScale | None:
    """Return the scale of the other abnormality; None where the model reads none."""
    if job.other is None:
        return None
    return ProbabilityScale(
        finding=job.other.finding,
        probability=job.other.probability,
        operating_point=job.other.operating_point,
        threshold=point.other_threshold if point else None,
        low=point.other_indeterminate_low if point else None,
        high=point.other_indeterminate_high if point else None,
    )
