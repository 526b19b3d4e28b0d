"""Record metrics when a job's final delivery completes."""

import structlog

from service.domain.job import JobState
from service.storage.ledger import Ledger
from service.telemetry.metrics import END_TO_END_SECONDS

log = structlog.get_logger()


def record_completion(ledger: Ledger, job_id: str) -> None:
    """Observe and log how long a job took, if every destination has every output.

    The time counts from the request for analysis, so that a reanalysis years later is not slow.
    """
    job = ledger.queries.job(job_id)
    if job is not None and job.state is JobState.DELIVERED and job.finished_at is not None:
        END_TO_END_SECONDS.labels(until="delivered").observe(
            max(0.0, job.finished_at - job.asked_at)
        )
        log.info("job_delivered", job_id=job.id)
