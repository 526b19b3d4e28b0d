"""What retention takes: an ended job's bytes first, its row and trace much later."""

from typing import Final

from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool

DAY_SECONDS: Final = 86_400
AT_ONCE: Final = 1_000


def purge(
    settings: Settings, ledger: Ledger, spool: Spool, *, now: float, at_once: int = AT_ONCE
) -> int:
    """Remove ended jobs' bytes past `spool.keep_days` and their rows past `ledger.keep_days`.

    Gives how many times a job lost its bytes or its row: 0 when nothing is left to take. At most
    `at_once` of either are taken, so that whoever asks can do something else in between. Jobs in
    flight or parked are never touched.
    """
    touched = 0
    before = now - settings.spool.keep_days * DAY_SECONDS
    for job_id in ledger.jobs.finished_before(before, at_once):
        spool.discard(job_id)
        touched += ledger.jobs.mark_purged(job_id)
    before = now - settings.ledger.keep_days * DAY_SECONDS
    for job_id in ledger.jobs.finished_before(before, at_once, purged=True):
        touched += ledger.jobs.forget(job_id)
    return touched
