"""Evaluate commitment requests: committed is what the ledger knows and the inbox still holds."""

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
    """The result for the sender, and the jobs of the committed instances."""

    result: Result
    job_ids: tuple[str, ...]


def evaluate(
    ledger: Ledger, spool: Spool, transaction_uid: str, instances: tuple[Reference, ...]
) -> CommitmentEvaluation:
    """Evaluate each requested instance against the present ledger and inbox.

    The bytes are kept by retention from now on before their presence is judged, so that nothing is
    committed that is being discarded.

    Raises:
        LedgerError: The ledger does not respond.
    """
    jobs = ledger.commitment_requests.jobs_of(instances)
    kept = ledger.retention.keep({job_id for of_uid in jobs.values() for job_id, _ in of_uid})
    committed: dict[Reference, str] = {}
    failed: dict[Reference, int] = {}
    for each in instances:
        held = {
            sop_class_uid: job_id
            for job_id, sop_class_uid in jobs.get(each.sop_instance_uid, [])
            if job_id in kept and spool.inbox(job_id).is_file()
        }
        if each.sop_class_uid in held:
            committed[each] = held[each.sop_class_uid]
        else:
            failed[each] = CLASS_INSTANCE_CONFLICT if held else NO_SUCH_INSTANCE
    result = Result(transaction_uid=transaction_uid, committed=tuple(committed), failed=failed)
    return CommitmentEvaluation(result=result, job_ids=tuple(committed.values()))
