"""Which edition of its report a job is at: the first, a later one, or one that is made again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.domain.job import Job, Revision
from workers.reporting.uids import Edition, Predecessor


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """An edition, what it follows in the ledger, and when its objects are dated."""

    edition: Edition
    follows: int | None
    at: float  # seconds since the epoch


def edition_of(job: Job, history: Sequence[Revision], named: Callable[[Edition], str]) -> Dated:
    """Say which edition a job's outputs are now.

    `history` holds the reports about the job's SOP Instance UID, the first first; `named` gives
    the SOP Instance UID that the report would have in an edition. What comes out under the name
    of the job's last report is that report, made again. Anything else follows the last report,
    be it the job's own or that of the bytes which this job corrects.
    """
    digest = job.sha256 if job.corrects else None
    own = [each for each in history if each.job_id == job.id]
    if own:
        last = own[-1]
        before = next((each for each in history if each.id == last.follows), None)
        again = Edition(digest=digest, follows=_predecessor(before))
        if named(again) == last.sop_instance_uid:
            return Dated(edition=again, follows=last.follows, at=last.dated_at)
    latest = own[-1] if own else (history[-1] if history else None)
    return Dated(
        edition=Edition(digest=digest, follows=_predecessor(latest)),
        follows=latest.id if latest else None,
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
