"""A shadow model: what it says about an instance, beside what was reported. Nothing of it is sent.

The comparison is complete in itself, so that it stays true when an instance is analysed again, or
when the shadow model becomes the one that reports.
"""

from dataclasses import dataclass
from typing import Final

from service.domain.monitoring.inputs import InputGroups
from service.domain.reasons import Reason
from service.domain.routing import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a model said about an instance: a finding, or why there is none."""

    model: str  # name and version
    operating_point: str
    finding: str | None = None
    probability: float | None = None
    reason: Reason | None = None
    weights_sha256: str | None = None

    @property
    def by(self) -> tuple[str, str]:
        """The model and its operating point."""
        return self.model, self.operating_point

    @property
    def outcome(self) -> Outcome:
        """The outcome that a report of it would have."""
        return Outcome(self.finding) if self.finding else Outcome.NOT_ANALYSED


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowWork:
    """An instance that the shadow model is to read, as leased."""

    id: int
    job_id: str
    planned_at: float  # seconds since the epoch
    attempt: int
    holder: str | None
    reported: Outcome
    reported_by: tuple[str, str]  # model and operating point


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What two models said about one instance."""

    job_id: str
    planned_at: float
    reported: Reading
    shadow: Reading

    @property
    def is_change(self) -> bool:
        """Whether a report of the shadow model would have another outcome."""
        return self.reported.outcome is not self.shadow.outcome

    @property
    def difference(self) -> float | None:
        """The shadow's probability less the reported one; None where one model gave none."""
        if self.reported.probability is None or self.shadow.probability is None:
            return None
        return self.shadow.probability - self.reported.probability


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitored:
    """What is kept of an analysis for those who watch the model.

    Attributes:
        drift_inputs: the groups of the instance; None where the model did not see it.
        reported: what the model said, for the shadow model to be compared with; None where no
            shadow model is to read the instance.
    """

    drift_inputs: InputGroups | None = None
    reported: Reading | None = None


NOT_MONITORED: Final = Monitored()
