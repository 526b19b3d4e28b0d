"""Which edition of its report a job is at: the first, a later one, or one that is made again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.domain.job import Job, Revision
from workers.reporting.uids import OutputIdentity, Predecessor


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionPlan:
    """An edition, its predecessor in the ledger, and when its objects are dated."""

    identity: OutputIdentity
    predecessor: int | None
    at: float  # seconds since the epoch


def plan_revision(
    job: Job, history: Sequence[Revision], named: Callable[[OutputIdentity], str]
) -> RevisionPlan:
    """Say which edition a job's outputs are now.

    `history` holds the reports about the job's SOP Instance UID, the first first; `named` gives
    the SOP Instance UID that the report would have in an edition. What comes out under the name
    of the job's last report is that report, made again. Anything else replaces the last report,
    be it the job's own or that of the bytes which this job corrects.
    """
    digest = job.sha256 if job.corrects else None
    own = [each for each in history if each.job_id == job.id]
    if own:
        last = own[-1]
        before = next((each for each in history if each.id == last.predecessor), None)
        again = OutputIdentity(digest=digest, predecessor=_predecessor(before))
        if named(again) == last.sop_instance_uid:
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
