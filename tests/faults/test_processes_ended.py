"""Parts and the service are ended: nothing acknowledged is lost, nothing is reported twice.

By kill -9 at the worst moments, and by SIGTERM. The tests share a service, which each of them
finds running and may end.
"""

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.dcmtk import StoreSCP
from pydicom import dcmread
from support.lobar_process import LobarService, destination, processes_of, wait_for

from service.domain.job import JobState

pytestmark = pytest.mark.dcmtk
Instances = Callable[[int], list[tuple[Path, Any]]]


def spooled(service: LobarService) -> list[Path]:
    return list((service.state_dir / "spool" / "inbox").glob("??/*.dcm"))


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSCP]:
    """A destination that has an object for a second before it answers."""
    server = StoreSCP(tmp_path_factory.mktemp("storescp"), "--sleep-after", "1")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def shared_service(
    receiver: StoreSCP, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LobarService]:
    service = LobarService(
        tmp_path_factory.mktemp("lobar"),
        [destination(receiver, "pacs")],
        LOBAR_INFER__MAXIMUM_ATTEMPTS="5",
    )
    yield service
    service.kill()


@pytest.fixture
def service(shared_service: LobarService) -> LobarService:
    shared_service.start()
    return shared_service


def report_counts(receiver: StoreSCP, made: list[tuple[Path, Any]]) -> list[int]:
    """Count for each of these instances the report objects that arrived.

    The receiver writes one file per SOP Instance UID: a second report of the same source would be
    a second file.
    """
    sources = []
    for path in receiver.received():
        dataset = dcmread(path, force=True)
        if dataset.get("Modality") == "SR":
            (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
            (series,) = study.ReferencedSeriesSequence
            (reference,) = series.ReferencedSOPSequence
            sources.append(reference.ReferencedSOPInstanceUID)
    return [sources.count(dataset.SOPInstanceUID) for _, dataset in made]


def test_a_listener_killed_between_spool_and_commit_has_promised_nothing(
    service: LobarService,
    receiver: StoreSCP,
    instances: Instances,
    store: Callable[..., int],
) -> None:
    made = instances(1)
    ((file, dataset),) = made
    before = set(spooled(service))
    listener = service.part("listener")
    # a held write lock makes the commit wait, after the bytes have been spooled
    blocker = sqlite3.connect(service.state_dir / "ledger.sqlite3", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    answers: list[int] = []
    sender = threading.Thread(target=lambda: answers.append(store(service, file)))
    sender.start()
    wait_for(lambda: set(spooled(service)) - before)
    service.kill_part("listener")
    sender.join()
    blocker.execute("ROLLBACK")
    blocker.close()
    assert answers[0] != 0, "the sender was answered Success for bytes without a job"
    assert service.jobs(dataset.SOPInstanceUID) == []

    wait_for(lambda: service.part("listener") != listener)
    service.wait_until_ready()
    assert store(service, file) == 0
    assert service.settled(dataset.SOPInstanceUID).state == JobState.DELIVERED
    assert report_counts(receiver, made) == [1]


def test_workers_killed_during_inference_and_delivery_report_everything_once(
    service: LobarService,
    receiver: StoreSCP,
    instances: Instances,
    store: Callable[..., int],
) -> None:
    made = instances(3)
    infer = service.part("infer")
    assert store(service, *(file for file, _ in made)) == 0

    def leased() -> bool:
        return any(job.holder for _, each in made for job in service.jobs(each.SOPInstanceUID))

    wait_for(leased)
    service.kill_part("infer")

    def delivering() -> bool:
        ledger = service.ledger()
        jobs = [job for _, each in made for job in service.jobs(each.SOPInstanceUID)]
        held = any(row.holder for job in jobs for row in ledger.queries.deliveries(job.id))
        ledger.close()
        return held

    wait_for(delivering)
    service.kill_part("deliver")
    for _, each in made:
        assert service.settled(each.SOPInstanceUID).state == JobState.DELIVERED
    assert service.part("infer") != infer
    assert report_counts(receiver, made) == [1] * len(made)
    assert service.balance() == 0


def test_everything_killed_at_once_continues_where_it_was(
    service: LobarService,
    receiver: StoreSCP,
    instances: Instances,
    store: Callable[..., int],
) -> None:
    made = instances(4)
    assert store(service, *(file for file, _ in made)) == 0
    service.kill()
    service.start()
    for _, each in made:
        assert service.settled(each.SOPInstanceUID).state == JobState.DELIVERED
    assert report_counts(receiver, made) == [1] * len(made)


def test_sigterm_ends_every_part_and_leaves_no_lease_and_no_half_written_file(
    service: LobarService, instances: Instances, store: Callable[..., int]
) -> None:
    made = instances(4)
    assert store(service, *(file for file, _ in made)) == 0
    assert len(processes_of(service.state_dir)) >= 6
    os.kill(service.pid, signal.SIGTERM)
    wait_for(lambda: not processes_of(service.state_dir), seconds=60)
    jobs = [service.jobs(each.SOPInstanceUID) for _, each in made]
    assert [(len(found), found[0].holder) for found in jobs] == [(1, None)] * len(made)
    assert service.balance() == 0
    assert list((service.state_dir / "spool" / "incoming").iterdir()) == []
