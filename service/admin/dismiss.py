"""Dismiss parked jobs: those that an id names, or all that pass a filter, in batches."""

import time
from collections.abc import Iterable, Iterator
from typing import Final

from service.audit.recording import record_command
from service.domain.audit import Action
from service.domain.job import Job, JobState
from service.storage.ledger import Ledger, ParkedFilter

BATCH: Final = 50
"""Jobs closed in one transaction: the ledger is free for others after some tens of milliseconds."""

_PAUSE_SECONDS: Final = 0.02  # for those who wait for SQLite's write lock


def dismissed(ledger: Ledger, jobs: Iterable[Job], why: str) -> Iterator[Job]:
    """Dismiss the parked ones; `why` is one sentence that `require_sentence` has taken."""
    for job in jobs:
        if job.state is JobState.PARKED:
            moved = ledger.jobs.dismiss(job.id, why)
            record_command(ledger, Action.DISMISS, job, parked_for=job.reason)
            yield moved


def dismiss_all(ledger: Ledger, wanted: ParkedFilter, why: str, *, batch: int = BATCH) -> int:
    """Dismiss all parked jobs that pass a filter; return how many.

    The audit trail gets one record, before the first job is closed: the filter, and how many
    passed it then. The trace of each job says why.
    """
    record_command(
        ledger,
        Action.DISMISS,
        jobs=ledger.queries.parked_count(wanted),
        parked_for=wanted.reason,
        received_before=wanted.before,
        calling_ae_title=wanted.calling_ae_title,
    )
    count, after = 0, None
    while jobs := ledger.jobs.dismiss_some(wanted, why, batch, after):
        count += len(jobs)
        after = (jobs[-1].received_at, jobs[-1].id)
        time.sleep(_PAUSE_SECONDS)
    return count
