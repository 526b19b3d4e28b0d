"""How long a job took is counted from when its analysis was asked for."""

from pathlib import Path

from support.inference_worker import House
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


def deliver(house: House, uid: str) -> float:
    """Analyse in ten seconds, deliver, and give what was added to the seconds that jobs took."""
    (job,) = house.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    house.clock.pass_seconds(10)
    output = OutputRecord(kind="sr", sop_class_uid="1.2.3", sop_instance_uid=uid)
    house.ledger.jobs.report(job, CONCLUSION, [output], to(["pacs"]))
    (delivery,) = house.ledger.deliveries.lease("pacs", "w/", 1, lease_seconds=60)
    house.ledger.deliveries.delivered(delivery, status=0)
    before = SECONDS._sum.get()
    record_completion(house.ledger, job.id)
    return float(SECONDS._sum.get() - before)


def test_another_analysis_a_year_later_is_not_a_year_late(tmp_path: Path) -> None:
    house = House(tmp_path)
    job_id = house.receive(make_cr(rows=8, columns=8))
    assert 9 < deliver(house, "2.25.1") < 20
    house.clock.pass_seconds(365 * 86_400)
    house.ledger.jobs.reanalyse(job_id)
    assert 9 < deliver(house, "2.25.2") < 20
    house.ledger.close()
