"""SIGTERM: the service finishes its current work and exits without partial results."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers.dcmtk import StoreSCP
from support.lobar_process import LobarService, destination, wait_for

pytestmark = pytest.mark.dcmtk


def processes_of(group_file: Path) -> list[int]:
    """List the running processes whose environment names this state directory."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(group_file).encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
        except OSError:
            continue
    return found


def test_sigterm_ends_every_part_and_leaves_no_lease_and_no_half_written_file(
    lobar_service: Callable[..., LobarService],
    storescp: Callable[..., StoreSCP],
    instances: Callable[[int], list[tuple[Path, Any]]],
    store: Callable[..., int],
) -> None:
    receiver = storescp()
    service = lobar_service([destination(receiver, "pacs")])
    made = instances(4)
    assert store(service, *(file for file, _ in made)) == 0
    assert len(processes_of(service.state_dir)) >= 6
    os.kill(service.pid, signal.SIGTERM)
    wait_for(lambda: not processes_of(service.state_dir), seconds=60)
    ledger = service.ledger()
    jobs = ledger.queries.recent()
    assert [job.holder for job in jobs] == [None] * len(made)
    assert ledger.queries.job_counts().balance == 0
    ledger.close()
    assert list((service.state_dir / "spool" / "incoming").iterdir()) == []


def test_parts_do_not_outlive_a_supervisor_that_is_killed(
    lobar_service: Callable[..., LobarService],
) -> None:
    service = lobar_service()
    service.kill()
    wait_for(lambda: not processes_of(service.state_dir), seconds=60)
