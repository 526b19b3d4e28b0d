"""Finished jobs without their bytes, or gone: what retention does after the time it waits."""

from service.storage.ledger import Ledger

AT_ONCE = 1_000


def purge_finished(ledger: Ledger) -> list[str]:
    """Mark the bytes of every finished job as gone, and as discarded; return the marked ids."""
    marked = ledger.retention.mark_older(-1, AT_ONCE)
    for job_id in ledger.retention.marked(AT_ONCE):
        ledger.retention.discard(job_id, lambda: 0)
    return marked


def forget_finished(ledger: Ledger) -> list[str]:
    """Forget every finished job that others do not correct; return their ids."""
    purge_finished(ledger)
    return ledger.retention.forget_older(-1, AT_ONCE)
