"""Requeue parked jobs, and have finished jobs analysed again."""

import contextlib
from collections.abc import Iterable, Iterator

from service.audit.recording import record_command
from service.domain.audit import Action
from service.domain.job import Job, JobState, TransitionError
from service.domain.routing import Routes
from service.storage.ledger import Ledger


def requeued(ledger: Ledger, routes: Routes, jobs: Iterable[Job]) -> Iterator[Job]:
    """Requeue the parked ones, each from the step at which it was parked."""
    for job in jobs:
        if job.state is JobState.PARKED:
            moved = ledger.jobs.requeue(job.id, routes)
            record_command(ledger, Action.REQUEUE, job)
            yield moved


def reanalysed(ledger: Ledger, jobs: Iterable[Job]) -> Iterator[Job]:
    """Reanalyse the finished and parked ones whose bytes are still in the spool."""
    for job in jobs:
        with contextlib.suppress(TransitionError):  # in flight, or taken by retention
            moved = ledger.jobs.reanalyse(job.id)
            record_command(ledger, Action.REANALYSE, job)
            yield moved
