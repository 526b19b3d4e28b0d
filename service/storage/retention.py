"""Retention: remove a finished job's bytes first, its row and trace much later."""

from typing import Final

from service.crash_points import CrashPoint, passed
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool

DAY_SECONDS: Final = 86_400
AT_ONCE: Final = 1_000


def purge(settings: Settings, ledger: Ledger, spool: Spool, *, at_once: int = AT_ONCE) -> int:
    """Remove finished jobs' bytes past `spool.keep_days` and their rows past `ledger.keep_days`.

    Ages are of scheduling time: a clock that is set forward removes nothing. Jobs in flight or
    parked are never removed. At most `at_once` jobs lose their bytes and as many
    their rows, so that the caller can do other work in between.

    Returns:
        How many times a job lost its bytes or its row; 0 when nothing is left to remove.
    """
    removed, now = 0, ledger.now()
    before = now - settings.spool.keep_days * DAY_SECONDS
    for job_id in ledger.jobs.finished_before(before, at_once):
        spool.discard(job_id)
        passed(CrashPoint.RETENTION_DISCARDED)
        removed += ledger.jobs.mark_purged(job_id)
        passed(CrashPoint.RETENTION_MARKED)
    before = now - settings.ledger.keep_days * DAY_SECONDS
    for job_id in ledger.jobs.finished_before(before, at_once, purged=True):
        removed += ledger.jobs.forget(job_id)
        passed(CrashPoint.RETENTION_FORGOTTEN)
    return removed
