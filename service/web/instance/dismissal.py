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


def dismissal_of(
    job: Job, trace: Sequence[Event], acts: Sequence[AuditRecord]
) -> Dismissal | None:
    """Return the dismissal that closed a job; None for a job that is not dismissed.

    A dismissal from the command line is in the trace and not in the audit trail, so a record
    from before the event that closed the job is only its own if nothing else is between them.
    """
    closed = next((each for each in reversed(trace) if each.name == "dismissed"), None)
    if job.state is not JobState.DISMISSED or closed is None:
        return None
    act = next((each for each in reversed(acts) if each.at >= closed.at), None)
    by_a_person = act is not None and act.action is Action.DISMISS
    return Dismissal(
        at=closed.at,
        user=act.user if act and by_a_person else "",
        sentence=str(closed.detail.get("why") or ""),
    )
