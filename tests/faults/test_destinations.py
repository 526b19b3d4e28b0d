"""Destinations that are down, full or refuse: none delays another, each response is recorded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers.dcmtk import StoreSCP
from support.lobar_process import LobarService, destination, wait_for
from support.routes import to

from service.domain.delivery import DeliveryState
from service.domain.job import JobState

pytestmark = pytest.mark.dcmtk


def test_a_destination_that_is_down_delays_no_other_and_gets_everything_when_it_is_back(
    lobar_service: Callable[..., LobarService],
    storescp: Callable[..., StoreSCP],
    instances: Callable[[int], list[tuple[Path, Any]]],
    store: Callable[..., int],
) -> None:
    live, dead = storescp(), storescp()
    dead.stop()
    service = lobar_service([destination(dead, "dead"), destination(live, "live")])
    made = instances(3)
    assert store(service, *(file for file, _ in made)) == 0
    wait_for(lambda: len(live.received()) == 2 * len(made))
    for _, dataset in made:
        (job,) = service.jobs(dataset.SOPInstanceUID)
        assert job.state == JobState.REPORTED, "one delivery is still pending"
    dead.start()
    for _, dataset in made:
        assert service.settled(dataset.SOPInstanceUID).state == JobState.DELIVERED
    assert len(dead.received()) == 2 * len(made)


def test_a_destination_that_refuses_parks_and_a_requeue_delivers(
    lobar_service: Callable[..., LobarService],
    storescp: Callable[..., StoreSCP],
    instances: Callable[[int], list[tuple[Path, Any]]],
    store: Callable[..., int],
) -> None:
    receiver = storescp()
    refusing = {**destination(receiver, "pacs"), "ae_title": "STORESCP"}
    service = lobar_service(
        [refusing], LOBAR_DELIVER__GIVE_UP_DAYS="0.00001", LOBAR_DELIVER__BACKOFF_SECONDS="0.2"
    )
    receiver.stop()
    ((file, dataset),) = instances(1)
    assert store(service, file) == 0
    job = service.settled(dataset.SOPInstanceUID)
    assert (job.state, job.reason) == (JobState.PARKED, "destination-unreachable")
    assert service.balance() == 0
    receiver.start()
    ledger = service.ledger()
    ledger.deliveries.close_breaker("pacs")
    assert ledger.jobs.requeue(job.id, to(["pacs"])).state == JobState.REPORTED
    delivered = service.settled(dataset.SOPInstanceUID)
    assert delivered.state == JobState.DELIVERED
    states = {each.state for each in ledger.queries.deliveries(job.id)}
    ledger.close()
    assert states == {DeliveryState.DELIVERED}
