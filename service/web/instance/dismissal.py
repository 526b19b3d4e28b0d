"""Find who closed a job without a report, when and why."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.audit import Action, AuditRecord
from service.domain.job import Event, Job, JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class Dismissal:
    """The dismissal of a job; a field is blank where it was not recorded."""

    at: float  # seconds since the epoch
    user: str
    sentence: str  # that person's, which may name the patient


def dismissal_of(job: Job, trace: Sequence[Event], acts: Sequence[AuditRecord]) -> Dismissal | None:
    """Return the dismissal that closed a job; None for a job that is not dismissed."""
    closed = next((each for each in reversed(trace) if each.name == "dismissed"), None)
    if job.state is not JobState.DISMISSED or closed is None:
        return None
    own = (each for each in acts if each.action is Action.DISMISS and each.at >= closed.at)
    act = next(own, None)  # it is recorded after the event; one of before closed it another time
    return Dismissal(
        at=closed.at,
        user=act.user if act else "",
        sentence=str(closed.detail.get("why") or ""),
    )
