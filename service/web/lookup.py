"""Look up what a request names in its path."""

import re
from typing import Final

from service.domain.job import Job
from service.storage.ledger import Ledger
from service.web.problem import not_found

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
