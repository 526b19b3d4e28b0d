"""The time that a job took counts from the request for its analysis."""

from pathlib import Path

from support.inference_worker import Workspace
from support.routes import to
from synthetic.objects import make_cr

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord
from service.telemetry.completion import record_completion
from service.telemetry.metrics import END_TO_END_SECONDS

CONCLUSION = ConclusionRecord(
    finding="absent", probability=0.1, operating_point="balanced", model="m 1"
)
SECONDS = END_TO_END_SECONDS.labels(until="delivered")


def deliver(workspace: Workspace, uid: str) -> float:
    """Analyse in ten seconds, deliver, and return the seconds added to the metric."""
    (job,) = workspace.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    workspace.clock.pass_seconds(10)
    output = OutputRecord(kind="sr", sop_class_uid="1.2.3", sop_instance_uid=uid)
    workspace.ledger.jobs.report(job, CONCLUSION, [output], to(["pacs"]))
    (delivery,) = workspace.ledger.deliveries.lease("pacs", "w/", 1, lease_seconds=60)
    workspace.ledger.deliveries.delivered(delivery, status=0)
    before = SECONDS._sum.get()
    record_completion(workspace.ledger, job.id)
    return float(SECONDS._sum.get() - before)


def test_another_analysis_a_year_later_is_not_a_year_late(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    job_id = workspace.receive(make_cr(rows=8, columns=8))
    assert 9 < deliver(workspace, "2.25.1") < 20
    workspace.clock.pass_seconds(365 * 86_400)
    workspace.ledger.jobs.reanalyse(job_id)
    assert 9 < deliver(workspace, "2.25.2") < 20
    workspace.ledger.close()
