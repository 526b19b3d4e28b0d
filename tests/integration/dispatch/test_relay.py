"""The relay asks the ledger and rings a real Redis: for what is due, and for nothing else."""

import base64
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from peers.redis_server import RedisServer
from structlog.testing import capture_logs
from support.inference_worker import PACS, House
from support.lobar_process import wait_for
from support.routes import to
from synthetic.objects import make_cr

from service.dispatch.notifier import Notifier
from service.dispatch.relay import Relay
from service.domain.delivery import OutputRecord, Reference
from service.domain.job import ConclusionRecord, JobState
from service.domain.queues import DELIVER, INFER
from service.domain.reasons import Reason

SOUTH = {**PACS, "name": "south"}
SR = OutputRecord(
    kind="sr", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", sop_instance_uid="2.25.1"
)
HOUR = 3_600


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(
        tmp_path,
        destinations=(PACS, SOUTH),
        relay={"interval_seconds": 0.01, "sweep_seconds": 0.01},
    )
    yield house
    house.ledger.close()


@pytest.fixture
def bell(redis_server: RedisServer) -> Iterator[Notifier]:
    notifier = Notifier(redis_server.url)
    yield notifier
    notifier.close()


@pytest.fixture
def relay(house: House, bell: Notifier) -> Relay:
    return Relay(house.settings, house.ledger, house.spool, bell)


@pytest.fixture
def rings(house: House, redis_server: RedisServer) -> Callable[[], list[str]]:
    """Let a relay ask once; gives the queues and lanes that it rang, and empties them."""

    def ask() -> list[str]:
        bell = Notifier(redis_server.url)
        Relay(house.settings, house.ledger, house.spool, bell).notify_due()
        bell.close()
        with redis.Redis.from_url(redis_server.url) as client:
            rung = [INFER for _ in client.lrange(INFER, 0, -1)]
            for raw in client.lrange(DELIVER, 0, -1):
                args, _, _ = json.loads(base64.b64decode(json.loads(raw)["body"]))
                rung.append(f"{DELIVER} {args[0]}")
            client.flushall()
        return sorted(rung)

    return ask


def reported(house: House, *destinations: str) -> str:
    job_id = house.receive(make_cr(rows=8, columns=8))
    (job,) = house.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    conclusion = ConclusionRecord(
        finding="absent", probability=0.1, operating_point="balanced", model="m 1"
    )
    house.spool.put_output(job_id, "sr", SR.sop_instance_uid, b"a report")
    house.ledger.jobs.report(job, conclusion, [SR], to(destinations))
    return job_id


def test_it_rings_for_commitment_that_is_to_be_asked_for_and_to_be_told(
    house: House, rings: Callable[[], list[str]]
) -> None:
    reported(house, "south")
    (delivery,) = house.ledger.deliveries.lease("south", "d/", 1, lease_seconds=60)
    sent = Reference(SR.sop_class_uid, SR.sop_instance_uid)
    house.ledger.deliveries.stored(delivery, status=0, sent=sent)
    house.ledger.commitment_requests.receive("MODALITY", "1.2.3", [sent])
    assert rings() == ["deliver @commitments", "deliver south"]
    asked = house.ledger.commitments.lease(
        "south", "d/", 1, transaction_uid="1.2.9", lease_seconds=60
    )
    house.ledger.commitments.asked(asked, again_in=HOUR)
    (request,) = house.ledger.commitment_requests.lease("d/", 1, lease_seconds=60)
    house.ledger.commitment_requests.told(request, [])
    assert rings() == []
    house.clock.pass_seconds(HOUR + 1)
    assert rings() == ["deliver south"]


def make_old(path: Path) -> None:
    os.utime(path, (time.time() - 2 * HOUR,) * 2)


def test_nothing_is_due_and_nothing_is_rung(rings: Callable[[], list[str]]) -> None:
    assert rings() == []


def test_due_jobs_are_rung_for_once_until_they_are_leased(
    house: House, rings: Callable[[], list[str]]
) -> None:
    for _ in range(3):
        house.receive(make_cr(rows=8, columns=8))
    assert rings() == [INFER]
    assert rings() == [INFER], "nobody has moved them, so it rings again"
    house.ledger.jobs.lease("w/", 8, lease_seconds=60, maximum_attempts=3)
    assert rings() == []
    house.clock.pass_seconds(61)
    assert rings() == [INFER], "the lease ran out"


def test_each_destination_with_due_outputs_has_a_ring_of_its_own(
    house: House, rings: Callable[[], list[str]]
) -> None:
    for _ in range(3):
        reported(house, "pacs", "south")
    assert rings() == ["deliver pacs", "deliver south"]


def test_a_destination_that_is_left_alone_is_not_rung_for_until_its_time_is_over(
    house: House, rings: Callable[[], list[str]]
) -> None:
    reported(house, "pacs", "south")
    house.ledger.deliveries.open_breaker("pacs", lambda _: 30)
    assert rings() == ["deliver south"]
    house.clock.pass_seconds(31)
    assert rings() == ["deliver pacs", "deliver south"]


def test_what_waits_for_its_time_or_for_a_person_is_not_rung_for(
    house: House, rings: Callable[[], list[str]]
) -> None:
    house.receive(make_cr(rows=8, columns=8))
    house.receive(make_cr(rows=8, columns=8))
    waiting, given_up = house.ledger.jobs.lease("w/", 2, lease_seconds=60, maximum_attempts=3)
    house.ledger.jobs.postpone(waiting, 30, "error")
    house.ledger.jobs.park(given_up, Reason.REPORT_FAILED)
    assert rings() == []
    house.clock.pass_seconds(31)
    assert rings() == [INFER]


def test_what_is_owed_to_a_destination_that_is_gone_is_parked(house: House, relay: Relay) -> None:
    both, gone = reported(house, "pacs", "removed"), reported(house, "removed")
    relay.sweep()
    assert house.stands(gone) == (JobState.PARKED, Reason.DESTINATION_REMOVED)
    assert house.stands(both) == (JobState.REPORTED, None), "the other destination is still owed"
    states = {each.destination: each.reason for each in house.ledger.queries.deliveries(both)}
    assert states == {"pacs": None, "removed": Reason.DESTINATION_REMOVED}


def test_a_sweep_removes_orphans_and_neither_young_nor_promised_bytes(
    house: House, relay: Relay
) -> None:
    promised = house.spool.inbox(house.receive(make_cr(rows=8, columns=8)))
    orphan, young = house.spool.inbox("0" * 32), house.spool.inbox("1" * 32)
    half, coming = house.spool.incoming / "half", house.spool.incoming / "coming"
    for path in (orphan, young, half, coming):
        path.write_bytes(b"bytes")
    for path in (promised, orphan, half):
        make_old(path)
    relay.sweep()
    assert [path.exists() for path in (promised, orphan, young, half, coming)] == [
        *(True, False, True, False, True)
    ]


def test_a_sweep_takes_what_retention_allows(house: House, relay: Relay) -> None:
    house.clock.pass_seconds(-8 * 24 * HOUR)
    job_id = house.receive(make_cr(rows=8, columns=8))
    (job,) = house.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    house.ledger.jobs.not_analysed(job, Reason.VIEW)
    relay.sweep()
    assert not house.spool.inbox(job_id).exists()
    assert house.job(job_id).purged_at is not None


def test_it_goes_on_until_it_is_told_to_stop_whatever_the_ledger_does(
    house: House, relay: Relay, tmp_path: Path, redis_server: RedisServer
) -> None:
    stopping = threading.Event()
    thread = threading.Thread(target=relay.run, args=[stopping])
    ledger, aside = tmp_path / "ledger.sqlite3", tmp_path / "aside"
    orphan = house.spool.inbox("0" * 32)
    house.receive(make_cr(rows=8, columns=8))
    with redis.Redis.from_url(redis_server.url) as client, capture_logs() as events:
        thread.start()
        wait_for(lambda: client.llen(INFER))
        ledger.rename(aside)
        ledger.mkdir()
        house.ledger.close()
        wait_for(lambda: any(each["event"] == "relay_failed" for each in events))
        ledger.rmdir()
        aside.rename(ledger)
        client.flushall()
        wait_for(lambda: client.llen(INFER))
        orphan.write_bytes(b"nobody was promised these")
        make_old(orphan)
        wait_for(lambda: not orphan.exists())
        stopping.set()
        thread.join(30)
    assert not thread.is_alive()
