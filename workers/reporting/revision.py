"""Decide whether a job's outputs are its first, replace earlier ones, or are rebuilt unchanged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.domain.job import Job, Revision
from workers.reporting.uids import OutputIdentity, Predecessor


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionPlan:
    """The identity of a job's outputs, the report they replace, and their date."""

    identity: OutputIdentity
    predecessor: int | None  # row of `revisions`
    at: float  # seconds since the epoch


def plan_revision(
    job: Job, history: Sequence[Revision], report_uid: Callable[[OutputIdentity], str]
) -> RevisionPlan:
    """Decide which identity and date a job's outputs have, and which report they replace.

    A report that would get the SOP Instance UID of the job's last report is that report, built
    again: it keeps its predecessor and its date. Any other report replaces the last one, which is
    the job's own or that of the instance which this job corrects.

    Args:
        job: The job that is about to be reported.
        history: The reports about the job's SOP Instance UID, oldest first.
        report_uid: Returns the SOP Instance UID that the report has with an identity.
    """
    digest = job.digest if job.corrects else None
    own = [each for each in history if each.job_id == job.id]
    if own:
        last = own[-1]
        before = next((each for each in history if each.id == last.predecessor), None)
        again = OutputIdentity(digest=digest, predecessor=_predecessor(before))
        if report_uid(again) == last.sop_instance_uid:
            return RevisionPlan(identity=again, predecessor=last.predecessor, at=last.dated_at)
    latest = own[-1] if own else (history[-1] if history else None)
    return RevisionPlan(
        identity=OutputIdentity(digest=digest, predecessor=_predecessor(latest)),
        predecessor=latest.id if latest else None,
        at=job.asked_at,
    )


def _predecessor(revision: Revision | None) -> Predecessor | None:
    if revision is None:
        return None
    return Predecessor(
        sop_class_uid=revision.sop_class_uid,
        sop_instance_uid=revision.sop_instance_uid,
        series_instance_uid=revision.series_instance_uid,
    )
