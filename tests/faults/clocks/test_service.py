"""A whole service whose wall clock is set by hours and months, both ways, while it works.

The clock is libfaketime's: it is that of all processes of the service, and of no other.
"""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from peers.committing_pacs import CommittingPacs
from peers.dcmtk import StoreSCP, dcmtk_store
from peers.faketime import WallClock
from support.foreign_bundle import make_bundle
from support.lobar_process import LobarService, destination, wait_for
from synthetic.objects import make_cr

from service.domain.delivery import DeliveryState
from service.domain.job import JobState

pytestmark = pytest.mark.dcmtk
HOUR: Final = 3_600.0
DAY: Final = 86_400.0
OFFSETS: Final = (HOUR, -HOUR, 40 * DAY, -400 * DAY)  # from the machine's clock, one after another


@pytest.fixture
def wall(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path / "clock")


@pytest.fixture
def live(tmp_path: Path) -> Iterator[StoreSCP]:
    (tmp_path / "live").mkdir()
    server = StoreSCP(tmp_path / "live")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def pacs() -> CommittingPacs:
    return CommittingPacs(ae_title="PACS")


@pytest.fixture
def service(
    tmp_path: Path, wall: WallClock, live: StoreSCP, pacs: CommittingPacs
) -> Iterator[LobarService]:
    """The service, with a destination that stays and one that commits itself and can be lost."""
    with pacs.running():
        pass  # to have a port
    made = LobarService(
        tmp_path,
        [destination(live, "live"), destination(pacs, "pacs", storage_commitment=True)],
        LOBAR_RELAY__SWEEP_SECONDS="1",
        LOBAR_BUNDLE__PATH=str(make_bundle(tmp_path / "small")),
    )
    made.set(**wall.environment(made.environment["PYTHONPATH"]))
    with pacs.running():
        made.start()
    yield made
    made.kill()


def send(service: LobarService, folder: Path) -> str:
    """Store an instance; return its SOP Instance UID."""
    dataset, path = make_cr(rows=64, columns=64), folder / f"{uuid.uuid4().hex}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    assert dcmtk_store(service.dicom_port, service.ae_title, [path]).returncode == 0
    return str(dataset.SOPInstanceUID)


def states(service: LobarService, uid: str) -> dict[tuple[str, str], DeliveryState]:
    """Return the state of each delivery of an instance, by destination and kind."""
    ledger = service.ledger()
    try:
        (job,) = ledger.queries.find(uid)
        found = ledger.queries.deliveries(job.id)
        return {(each.destination, each.kind): each.state for each in found}
    finally:
        ledger.close()


def jumps(service: LobarService) -> list[float]:
    """List the jumps in the log, in seconds."""
    lines = [line for line in service.log.read_text().splitlines() if line.startswith("{")]
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [each["seconds"] for each in events if each["event"] == "clock_jumped"]


def test_no_step_of_the_clock_loses_parks_purges_or_stops_anything(
    service: LobarService, wall: WallClock, pacs: CommittingPacs, tmp_path: Path
) -> None:
    with pacs.running():
        ended = send(service, tmp_path)
        assert service.settled(ended).state is JobState.DELIVERED
        pacs.where = "nowhere"  # from now on it commits itself to nothing
        awaiting = send(service, tmp_path)
        wait_for(lambda: DeliveryState.STORED in states(service, awaiting).values())
    uids, set_by, before = [ended, awaiting], [], 0.0
    for offset in OFFSETS:
        wall.set(offset)
        set_by.append(offset - before)
        before = offset
        wait_for(lambda: len(jumps(service)) >= len(set_by))
        assert service.is_ready(), offset
        uids.append(send(service, tmp_path))
        wait_for(lambda: states(service, uids[-1]).get(("live", "sr")) is DeliveryState.DELIVERED)
        assert all(service.jobs(uid)[0].state is not JobState.PARKED for uid in uids)
        (kept,) = service.jobs(ended)
        assert kept.purged_at is None
        assert states(service, awaiting)["pacs", "sr"] is DeliveryState.STORED
    assert jumps(service) == [pytest.approx(each, abs=2) for each in set_by]
    metrics = service.metrics()
    assert metrics["lobar_clock_jumps_total"] == len(OFFSETS)
    assert metrics["lobar_clock_offset_seconds"] == pytest.approx(OFFSETS[-1], abs=60)
    assert metrics["lobar_balance"] == 0
    pacs.where = "here"
    with pacs.running():
        for uid in uids[2:]:
            assert service.settled(uid).state is JobState.DELIVERED
    assert service.balance() == 0
