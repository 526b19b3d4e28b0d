"""Jobs that a person lets go on: the parked ones, or ended ones for another analysis."""

import contextlib
from collections.abc import Iterable, Iterator

from service.domain.job import Job, JobState, TransitionError
from service.domain.routing import Routes
from service.storage.ledger import Ledger


def requeued(ledger: Ledger, routes: Routes, jobs: Iterable[Job]) -> Iterator[Job]:
    """Let those that are parked go on from where they were parked."""
    for job in jobs:
        if job.state is JobState.PARKED:
            yield ledger.jobs.requeue(job.id, routes)


def reanalysed(ledger: Ledger, jobs: Iterable[Job]) -> Iterator[Job]:
    """Have those that have ended, or are parked, analysed again as far as their bytes are here."""
    for job in jobs:
        with contextlib.suppress(TransitionError):  # in flight, or taken by retention
            yield ledger.jobs.reanalyse(job.id)
