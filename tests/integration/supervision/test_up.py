"""What `lobar up` does with what an earlier run on this machine left in the ledger."""

from pathlib import Path

from support.inference_worker import Workspace
from synthetic.objects import make_cr

from service.storage.faults import Fault
from service.supervision.up import begin_anew
from service.telemetry.heartbeat import holder_name


def test_leases_and_the_breaker_of_this_machine_are_released_and_those_of_others_are_not(
    tmp_path: Path,
) -> None:
    here = Workspace(tmp_path)
    job_id = here.receive(make_cr(rows=8, columns=8))
    mine = holder_name("infer")
    here.ledger.jobs.lease(mine, 1, lease_seconds=60, maximum_attempts=3)
    for name in (mine.rstrip("/").rpartition("/")[0] + "/", "elsewhere/infer/"):
        here.ledger.breakers.open(name, lambda _: 60, Fault.DISK_FULL)
    begin_anew(here.ledger)
    assert here.job(job_id).holder is None
    assert [each.name for each in here.ledger.breakers.not_closed()] == ["elsewhere/infer/"]
    here.ledger.close()
