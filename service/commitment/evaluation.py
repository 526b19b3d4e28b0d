"""Which instances we commit ourselves to: those that the ledger knows and the inbox still holds."""

from dataclasses import dataclass

from service.dicom.statuses import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_INSTANCE,
)
from service.dicom.storage_commitment import (
    Result,
)
from service.domain.delivery import Reference
from service.storage.ledger import Ledger
from service.storage.spool import Spool


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentEvaluation:
    """What a sender is told, and the jobs that hold what it is told of."""

    result: Result
    job_ids: tuple[str, ...]


def evaluate(
    ledger: Ledger, spool: Spool, transaction_uid: str, instances: tuple[Reference, ...]
) -> CommitmentEvaluation:
    """Look for each instance as it is now.

    Raises:
        LedgerError: the ledger does not answer.
    """
    jobs = ledger.commitment_requests.jobs_of(instances)
    committed: dict[Reference, str] = {}
    failed: dict[Reference, int] = {}
    for each in instances:
        held = {
            sop_class_uid: job_id
            for job_id, sop_class_uid in jobs.get(each.sop_instance_uid, [])
            if spool.inbox(job_id).is_file()
        }
        if each.sop_class_uid in held:
            committed[each] = held[each.sop_class_uid]
        else:
            failed[each] = CLASS_INSTANCE_CONFLICT if held else NO_SUCH_INSTANCE
    result = Result(transaction_uid=transaction_uid, committed=tuple(committed), failed=failed)
    return CommitmentEvaluation(result=result, job_ids=tuple(committed.values()))
