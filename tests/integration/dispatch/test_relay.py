"""The relay notifies a real Redis of the work that the ledger says is due, and of nothing else."""

import base64
import json
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest
import redis
from peers.redis_server import RedisServer
from sqlalchemy import create_engine, func, select
from structlog.testing import capture_logs
from support.backlog import instance
from support.inference_worker import PACS, Workspace
from support.lobar_process import wait_for
from support.routes import to
from support.system.clock import Clock
from synthetic.objects import make_cr

from service.dispatch.notifier import Notifier
from service.dispatch.relay import Relay
from service.domain.delivery import OutputRecord, Reference
from service.domain.job import ConclusionRecord, JobState
from service.domain.queues import DELIVER, INFER
from service.domain.reasons import Reason
from service.storage.ledger.tables import TALLY_CHANGES
from service.storage.spool import Spool

SOUTH = {**PACS, "name": "south"}
SR = OutputRecord(
    kind="sr", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", sop_instance_uid="2.25.1"
)
HOUR = 3_600
DAY = 24 * HOUR


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(
        tmp_path,
        destinations=(PACS, SOUTH),
        relay={"interval_seconds": 0.01, "sweep_seconds": 0.01},
    )
    yield workspace
    workspace.ledger.close()


@pytest.fixture
def notifier(redis_server: RedisServer) -> Iterator[Notifier]:
    notifier = Notifier(redis_server.url)
    yield notifier
    notifier.close()


@pytest.fixture
def awake() -> Clock:
    """The clock by which the relay's sweeps find that a file stays as it is."""
    return Clock()


@pytest.fixture
def relay(workspace: Workspace, notifier: Notifier, awake: Clock) -> Relay:
    spool = Spool(workspace.settings.spool_dir, clock=awake)
    return Relay(workspace.settings, workspace.ledger, spool, notifier)


@pytest.fixture
def notified(workspace: Workspace, redis_server: RedisServer) -> Callable[[], list[str]]:
    """Run a relay once; return the queues and destinations it notified, and empty them."""

    def ask() -> list[str]:
        notifier = Notifier(redis_server.url)
        Relay(workspace.settings, workspace.ledger, workspace.spool, notifier).notify_due()
        notifier.close()
        with redis.Redis.from_url(redis_server.url) as client:
            found = [INFER for _ in client.lrange(INFER, 0, -1)]
            for raw in client.lrange(DELIVER, 0, -1):
                args, _, _ = json.loads(base64.b64decode(json.loads(raw)["body"]))
                found.append(f"{DELIVER} {args[0]}")
            client.flushall()
        return sorted(found)

    return ask


def reported(workspace: Workspace, *destinations: str) -> str:
    job_id = workspace.receive(make_cr(rows=8, columns=8))
    (job,) = workspace.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    conclusion = ConclusionRecord(
        finding="absent", probability=0.1, operating_point="balanced", model="m 1"
    )
    workspace.spool.put_output(job_id, "sr", SR.sop_instance_uid, b"a report")
    workspace.ledger.jobs.report(job, conclusion, [SR], to(destinations))
    return job_id


def test_it_notifies_of_commitments_to_request_and_results_to_report(
    workspace: Workspace, notified: Callable[[], list[str]]
) -> None:
    reported(workspace, "south")
    (delivery,) = workspace.ledger.deliveries.lease("south", "d/", 1, lease_seconds=60)
    sent = Reference(SR.sop_class_uid, SR.sop_instance_uid)
    workspace.ledger.deliveries.stored(delivery, status=0, sent=sent)
    workspace.ledger.commitment_requests.receive("MODALITY", "1.2.3", [sent])
    assert notified() == ["deliver @commitments", "deliver south"]
    asked = workspace.ledger.commitments.lease(
        "south", "d/", 1, transaction_uid="1.2.9", lease_seconds=60
    )
    workspace.ledger.commitments.asked(asked, again_in=HOUR)
    (request,) = workspace.ledger.commitment_requests.lease("d/", 1, lease_seconds=60)
    workspace.ledger.commitment_requests.close(request, [])
    assert notified() == []
    workspace.clock.pass_seconds(HOUR + 1)
    assert notified() == ["deliver south"]


def test_nothing_is_due_and_nothing_is_notified(notified: Callable[[], list[str]]) -> None:
    assert notified() == []


def test_due_jobs_are_notified_once_a_round_until_they_are_leased(
    workspace: Workspace, notified: Callable[[], list[str]]
) -> None:
    for _ in range(3):
        workspace.receive(make_cr(rows=8, columns=8))
    assert notified() == [INFER]
    assert notified() == [INFER], "not leased, so it notifies again"
    workspace.ledger.jobs.lease("w/", 8, lease_seconds=60, maximum_attempts=3)
    assert notified() == []
    workspace.clock.pass_seconds(61)
    assert notified() == [INFER], "the lease ran out"


def test_each_destination_with_due_outputs_is_notified(
    workspace: Workspace, notified: Callable[[], list[str]]
) -> None:
    for _ in range(3):
        reported(workspace, "pacs", "south")
    assert notified() == ["deliver pacs", "deliver south"]


def test_a_destination_with_an_open_breaker_is_not_notified_until_it_closes(
    workspace: Workspace, notified: Callable[[], list[str]]
) -> None:
    reported(workspace, "pacs", "south")
    workspace.ledger.deliveries.open_breaker("pacs", lambda _: 30)
    assert notified() == ["deliver south"]
    workspace.clock.pass_seconds(31)
    assert notified() == ["deliver pacs", "deliver south"]


def test_what_is_not_due_or_waits_for_a_person_is_not_notified(
    workspace: Workspace, notified: Callable[[], list[str]]
) -> None:
    workspace.receive(make_cr(rows=8, columns=8))
    workspace.receive(make_cr(rows=8, columns=8))
    waiting, given_up = workspace.ledger.jobs.lease("w/", 2, lease_seconds=60, maximum_attempts=3)
    workspace.ledger.jobs.postpone(waiting, 30, "error")
    workspace.ledger.jobs.park(given_up, Reason.REPORT_FAILED)
    assert notified() == []
    workspace.clock.pass_seconds(31)
    assert notified() == [INFER]


def test_deliveries_to_a_removed_destination_are_parked(workspace: Workspace, relay: Relay) -> None:
    both, gone = reported(workspace, "pacs", "removed"), reported(workspace, "removed")
    relay.sweep()
    assert workspace.stands(gone) == (JobState.PARKED, Reason.DESTINATION_REMOVED)
    assert workspace.stands(both) == (JobState.REPORTED, None), (
        "the other delivery is still pending"
    )
    states = {each.destination: each.reason for each in workspace.ledger.queries.deliveries(both)}
    assert states == {"pacs": None, "removed": Reason.DESTINATION_REMOVED}


def test_a_sweep_removes_orphans_and_neither_young_nor_promised_bytes(
    workspace: Workspace, relay: Relay, awake: Clock
) -> None:
    promised = workspace.spool.inbox(workspace.receive(make_cr(rows=8, columns=8)))
    orphan, young = workspace.spool.inbox("0" * 32), workspace.spool.inbox("1" * 32)
    half, coming = workspace.spool.incoming / "half", workspace.spool.incoming / "coming"
    for path in (orphan, half):
        path.write_bytes(b"bytes")
    relay.sweep()
    assert orphan.exists()
    awake.pass_seconds(HOUR)
    for path in (young, coming):
        path.write_bytes(b"bytes")
    relay.sweep()
    assert [path.exists() for path in (promised, orphan, young, half, coming)] == [
        *(True, False, True, False, True)
    ]


def test_a_sweep_takes_what_retention_allows(workspace: Workspace, relay: Relay) -> None:
    job_id = workspace.receive(make_cr(rows=8, columns=8))
    (job,) = workspace.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    workspace.ledger.jobs.not_analysed(job, Reason.VIEW)
    workspace.clock.pass_seconds(6 * 24 * HOUR)
    relay.sweep()
    assert workspace.spool.inbox(job_id).exists()
    workspace.clock.pass_seconds(2 * 24 * HOUR)
    relay.sweep()
    assert not workspace.spool.inbox(job_id).exists()
    assert workspace.job(job_id).purged_at is not None


def test_a_sweep_goes_on_until_retention_has_nothing_left(
    workspace: Workspace, notifier: Notifier
) -> None:
    job_ids = [workspace.receive(make_cr(rows=8, columns=8)) for _ in range(5)]
    for job in workspace.ledger.jobs.lease("w/", 5, lease_seconds=60, maximum_attempts=3):
        workspace.ledger.jobs.not_analysed(job, Reason.VIEW)
    workspace.clock.pass_seconds(8 * DAY)
    settings, ledger, spool = workspace.settings, workspace.ledger, workspace.spool
    Relay(settings, ledger, spool, notifier, at_once=2).sweep()
    assert all(workspace.job(job_id).purged_at is not None for job_id in job_ids)
    assert not any(spool.inbox(job_id).exists() for job_id in job_ids)


def test_it_runs_until_it_is_stopped_whatever_the_ledger_does(
    workspace: Workspace, relay: Relay, awake: Clock, tmp_path: Path, redis_server: RedisServer
) -> None:
    def is_swept() -> bool:
        awake.pass_seconds(HOUR)
        return not orphan.exists()

    stopping = threading.Event()
    thread = threading.Thread(target=relay.run, args=[stopping])
    ledger, aside = tmp_path / "ledger.sqlite3", tmp_path / "aside"
    orphan = workspace.spool.inbox("0" * 32)
    workspace.receive(make_cr(rows=8, columns=8))
    with redis.Redis.from_url(redis_server.url) as client, capture_logs() as events:
        thread.start()
        wait_for(lambda: client.llen(INFER))
        ledger.rename(aside)
        ledger.mkdir()
        workspace.ledger.close()
        wait_for(lambda: any(each["event"] == "relay_failed" for each in events))
        ledger.rmdir()
        aside.rename(ledger)
        client.flushall()
        wait_for(lambda: client.llen(INFER))
        orphan.write_bytes(b"nobody was promised these")
        wait_for(is_swept)
        stopping.set()
        thread.join(30)
    assert not thread.is_alive()


class SlowSpool(Spool):
    """A double of a spool on a disk that is slow to list: its sweep lasts until it is let go."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.is_sweeping, self.may_end = threading.Event(), threading.Event()

    def sweep(
        self, known: Callable[[Collection[str]], Collection[str]], *, older_than_seconds: float
    ) -> int:
        self.is_sweeping.set()
        self.may_end.wait(60)
        return super().sweep(known, older_than_seconds=older_than_seconds)


def test_workers_are_notified_while_it_sweeps(
    workspace: Workspace, notifier: Notifier, redis_server: RedisServer
) -> None:
    spool, stopping = SlowSpool(workspace.spool.root), threading.Event()
    relay = Relay(workspace.settings, workspace.ledger, spool, notifier)
    thread = threading.Thread(target=relay.run, args=[stopping])
    with redis.Redis.from_url(redis_server.url) as client:
        thread.start()
        assert spool.is_sweeping.wait(30)
        workspace.receive(make_cr(rows=8, columns=8))
        wait_for(lambda: client.llen(INFER))
        assert not spool.may_end.is_set()
    spool.may_end.set()
    stopping.set()
    thread.join(30)
    assert not thread.is_alive()


def test_a_sweep_that_fails_for_an_unknown_cause_ends_the_relay(
    workspace: Workspace, notifier: Notifier
) -> None:
    """The supervisor starts it anew; else nothing would be swept any more."""

    class BrokenSpool(Spool):
        """A double that has a defect."""

        def sweep(
            self, known: Callable[[Collection[str]], Collection[str]], *, older_than_seconds: float
        ) -> int:
            raise ZeroDivisionError(known, older_than_seconds)

    spool = BrokenSpool(workspace.spool.root)
    with pytest.raises(ZeroDivisionError):
        Relay(workspace.settings, workspace.ledger, spool, notifier).run(threading.Event())


def test_the_relay_folds_the_tallies(workspace: Workspace, relay: Relay) -> None:
    for _ in range(130):
        workspace.ledger.jobs.receive(instance())
    stopping = threading.Event()
    thread = threading.Thread(target=relay.run, args=[stopping])
    thread.start()
    wait_for(lambda: changes(workspace) == 2)
    stopping.set()
    thread.join(30)
    assert workspace.ledger.tallies.verify() == []


def changes(workspace: Workspace) -> int:
    engine = create_engine(workspace.settings.ledger_url)
    with engine.connect() as connection:
        query = select(func.count()).select_from(TALLY_CHANGES)
        number: int = connection.execute(query).scalar_one()
    engine.dispose()
    return number
