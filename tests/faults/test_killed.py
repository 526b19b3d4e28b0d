"""kill -9 at the worst moments: nothing acknowledged is lost, nothing is reported twice."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers.dcmtk import StoreSCP
from pydicom import dcmread
from support.lobar_process import LobarService, destination, wait_for

from service.domain.job import JobState

pytestmark = pytest.mark.dcmtk
Instances = Callable[[int], list[tuple[Path, Any]]]


def spooled(service: LobarService) -> list[Path]:
    return list((service.state_dir / "spool" / "inbox").glob("??/*.dcm"))


def reported_sources(receiver: StoreSCP) -> list[str]:
    """List the source of each report that arrived, one entry per report object."""
    sources = []
    for path in receiver.received():
        dataset = dcmread(path, force=True)
        if dataset.get("Modality") == "SR":
            study = dataset.CurrentRequestedProcedureEvidenceSequence[0]
            sources.append(
                str(
                    study.ReferencedSeriesSequence[0]
                    .ReferencedSOPSequence[0]
                    .ReferencedSOPInstanceUID
                )
            )
    return sorted(sources)


def test_a_listener_killed_between_spool_and_commit_has_promised_nothing(
    lobar_service: Callable[..., LobarService],
    storescp: Callable[..., StoreSCP],
    instances: Instances,
    store: Callable[..., int],
) -> None:
    receiver = storescp()
    service = lobar_service([destination(receiver, "pacs")])
    ((file, dataset),) = instances(1)
    listener = service.part("listener")
    # a held write lock makes the commit wait, after the bytes have been spooled
    blocker = sqlite3.connect(service.state_dir / "ledger.sqlite3", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    answers: list[int] = []
    sender = threading.Thread(target=lambda: answers.append(store(service, file)))
    sender.start()
    wait_for(lambda: spooled(service))
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
    assert reported_sources(receiver) == [dataset.SOPInstanceUID]


def test_workers_killed_during_inference_and_delivery_report_everything_once(
    lobar_service: Callable[..., LobarService],
    storescp: Callable[..., StoreSCP],
    instances: Instances,
    store: Callable[..., int],
) -> None:
    receiver = storescp("--sleep-after", "1")  # it has the object and has not answered yet
    service = lobar_service([destination(receiver, "pacs")], LOBAR_INFER__MAXIMUM_ATTEMPTS="5")
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
    # the receiver writes one file per SOP Instance UID: a second report of the same source would
    # be a second file
    assert reported_sources(receiver) == sorted(each.SOPInstanceUID for _, each in made)
    assert service.balance() == 0


def test_everything_killed_at_once_continues_where_it_was(
    lobar_service: Callable[..., LobarService],
    storescp: Callable[..., StoreSCP],
    instances: Instances,
    store: Callable[..., int],
) -> None:
    receiver = storescp()
    service = lobar_service([destination(receiver, "pacs")])
    made = instances(4)
    assert store(service, *(file for file, _ in made)) == 0
    service.kill()
    service.start()
    for _, each in made:
        assert service.settled(each.SOPInstanceUID).state == JobState.DELIVERED
    assert reported_sources(receiver) == sorted(each.SOPInstanceUID for _, each in made)
