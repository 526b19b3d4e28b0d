"""Look up what a request names in its path."""

import re
from http import HTTPStatus
from pathlib import Path
from typing import Final

from service.domain.job import Job
from service.domain.user import Identity
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.web.problem import Problem, not_found
from service.web.schemas import (
    DeliveryResponse,
    EventResponse,
    JobDetailResponse,
    JobResponse,
    OutputResponse,
    RevisionResponse,
)

_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")


def known_job(ledger: Ledger, job_id: str) -> Job:
    """Return the job with this id.

    Raises:
        Problem: there is none.
    """
    job = ledger.queries.job(job_id) if _JOB_ID.fullmatch(job_id) else None
    if job is None:
        raise not_found("job")
    return job


def job_detail(ledger: Ledger, job: Job, identity: Identity) -> JobDetailResponse:
    """Return what the ledger holds about a job for somebody, as `GET /api/jobs/{id}` gives it."""
    queries = ledger.queries
    return JobDetailResponse(
        job=JobResponse.of(job),
        outputs=list(map(OutputResponse.of, queries.outputs(job.id))),
        revisions=list(map(RevisionResponse.of, queries.revisions(job))),
        deliveries=list(map(DeliveryResponse.of, queries.deliveries(job.id))),
        trace=[
            EventResponse.of(each, with_sentence=identity.may_read_sentences)
            for each in queries.trace(job.id)
        ],
    )


def known_output(ledger: Ledger, spool: Spool, job: Job, kind: str) -> Path:
    """Return the file of an output of a job.

    Raises:
        Problem: there is no such output, or retention removed its file.
    """
    made = {each.kind: each for each in ledger.queries.outputs(job.id)}.get(kind)
    if made is None:
        raise not_found("output of this job")
    file = spool.outbox(job.id, made.kind, made.sop_instance_uid)
    if job.purged_at is not None or not file.is_file():
        sentence = "Retention removed the bytes of this output (spool.keep_days)."
        raise Problem(HTTPStatus.GONE, sentence)
    return file
