"""Jobs of each state in the ledger of a `Web`, as the workers would leave them."""

from typing import Final

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, Job
from service.domain.reasons import Reason
from support.routes import to
from support.web_server import Web

REPORT: Final = OutputRecord(
    kind="sr", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", sop_instance_uid="2.25.77"
)
CONCLUSION: Final = ConclusionRecord(
    finding="present",
    probability=0.87654,
    operating_point="screening",
    model="pneumonia 1.2",
    threshold=0.5,
    indeterminate_low=0.4,
    indeterminate_high=0.6,
)


def _leased(web: Web) -> Job:
    web.receive()
    (job,) = web.ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    return job


def parked(web: Web, reason: Reason = Reason.REPORT_FAILED) -> str:
    job = _leased(web)
    web.ledger.jobs.park(job, reason)
    return job.id


def reported(
    web: Web, conclusion: ConclusionRecord = CONCLUSION, report: OutputRecord = REPORT
) -> str:
    job = _leased(web)
    web.ledger.jobs.report(job, conclusion, [report], to(["pacs"]))
    return job.id


def delivered(web: Web) -> str:
    job_id = reported(web)
    (delivery,) = web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
    web.ledger.deliveries.delivered(delivery, status=0)
    return job_id
