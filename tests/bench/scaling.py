"""Drive what nodes share to its limit, one thing alone: the ledger on PostgreSQL, and Redis.

    PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.scaling [--seconds 8] [--nodes 1,2,4]

The ledger: so many processes, each with the threads of a node, let jobs pass through a durable
PostgreSQL: received with its patient, leased by eight, reported with a map of evidence and two
outputs, whose deliveries are leased and delivered; no bytes, no model, no destination. Printed are
jobs a second, what a job costs the processors of the clients and of the server, its transactions,
and the bytes that it leaves. All run on this machine: where it has few cores, read the costs, not
the rates.

Retention: jobs a second that one relay takes the bytes of, and then the rows.

Redis: messages a second that one worker starts tasks for, one that does nothing.
"""

import argparse
import multiprocessing
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from bench.backlog import CONCLUSION
from bench.harness.processes import processor_seconds
from peers.postgresql import PostgreSQLServer
from peers.redis_server import RedisServer, program_of
from sqlalchemy import create_engine, text
from support.backlog import instance

from service.dispatch.notifier import celery_app
from service.domain.delivery import OutputRecord
from service.domain.evidence import AttentionMap, Evidence
from service.domain.job import Job
from service.domain.patient import Patient
from service.domain.queues import INFER
from service.domain.routing import Outcome, OutputKind, Routes
from service.settings import Settings
from service.settings.sections import LedgerSettings, SpoolSettings
from service.storage.ledger import Acknowledged, Ledger
from service.storage.retention import Purged, purge
from service.storage.spool import Spool
from workers.tasks.celery_worker import work

_PROCESSES: Final = multiprocessing.get_context("spawn")
_RECEIVERS: Final = 16  # threads of a node that record instances, as associations do
_REPORTERS: Final = 4  # and that record reports, as of an infer worker
_BATCH: Final = 8
_LEASE: Final = 600
_START_SECONDS: Final = 60
_KINDS: Final = (OutputKind.SR, OutputKind.OVERLAY)
_ROUTES: Final = Routes(
    dict.fromkeys(Outcome, tuple((kind, "pacs") for kind in _KINDS)), has_destinations=True
)
_EVIDENCE: Final = Evidence(
    attention=AttentionMap(rows=14, columns=14, values=tuple(n / 1000 for n in range(196))),
    weights_sha256="0" * 64,
)
_PURGED: Final = 1_000
_FILE_BYTES: Final = 700_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What several nodes let pass through a ledger."""

    jobs: int
    seconds: float
    client_seconds: float  # of processors
    server_seconds: float
    transactions: float
    stored_bytes: float
    log_bytes: float

    def print(self, nodes: int) -> None:
        """Print a line."""
        print(
            f"ledger, {nodes} nodes | jobs a second {self.jobs / self.seconds:.0f} | "
            f"client ms a job {1000 * self.client_seconds / self.jobs:.2f} | "
            f"server ms a job {1000 * self.server_seconds / self.jobs:.2f} | "
            f"transactions a job {self.transactions / self.jobs:.1f} | "
            f"kB stored a job {self.stored_bytes / self.jobs / 1000:.1f} | "
            f"kB of log a job {self.log_bytes / self.jobs / 1000:.1f}",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each number of nodes, and one for Redis."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--nodes", default="1,2,4")
    options = parser.parse_args(arguments)
    with _postgresql() as server:
        for count in map(int, options.nodes.split(",")):
            drive_ledger(server, count, options.seconds).print(count)
        drive_retention(server)
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name:
        redis = RedisServer(Path(name), program_of("valkey"))
        redis.start()
        try:
            drive_redis(redis, options.seconds)
        finally:
            redis.kill()


@contextmanager
def _postgresql() -> Iterator[PostgreSQLServer]:
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name:
        server = PostgreSQLServer(Path(name), is_durable=True)
        server.start()
        try:
            yield server
        finally:
            server.kill()


def drive_ledger(server: PostgreSQLServer, count: int, seconds: float) -> Passed:
    """Let so many nodes pass jobs through an empty ledger, and say what that took."""
    url = server.url(server.create_database())
    ledger = Ledger(url)
    ledger.upgrade()
    ledger.close()
    pipes = [_PROCESSES.Pipe() for _ in range(count)]
    nodes = [
        _PROCESSES.Process(target=_node, args=(url, number, seconds, there), daemon=True)
        for number, (_, there) in enumerate(pipes)
    ]
    for each in nodes:
        each.start()
    for here, _ in pipes:
        _hear(here)
    pids = [each.pid for each in nodes if each.pid is not None]
    before, server_before = _facts(url), processor_seconds([server.pid])
    clients_before, began = processor_seconds(pids), time.monotonic()
    for here, _ in pipes:
        here.send("go")
    jobs = sum(_hear(here, seconds + _START_SECONDS) for here, _ in pipes)
    took = time.monotonic() - began
    after = _facts(url)
    passed = Passed(
        jobs=jobs,
        seconds=took,
        client_seconds=processor_seconds(pids) - clients_before,
        server_seconds=processor_seconds([server.pid]) - server_before,
        transactions=after[0] - before[0],
        stored_bytes=after[1] - before[1],
        log_bytes=after[2] - before[2],
    )
    for each in nodes:
        each.kill()
        each.join()
    return passed


def drive_retention(server: PostgreSQLServer) -> None:
    """Let one relay's retention take finished jobs, each with the bytes of an instance."""
    url = server.url(server.create_database())
    ledger = Ledger(url)
    ledger.upgrade()
    with (
        closing(ledger),
        tempfile.TemporaryDirectory(prefix="lobar-bench-") as name,
        ThreadPoolExecutor(_RECEIVERS) as receivers,
        ThreadPoolExecutor(_REPORTERS) as reporters,
    ):
        spool = Spool(Path(name))
        spool.prepare()
        for _ in range(_PURGED // _RECEIVERS):
            _pass(ledger, "node/infer/1/", receivers, reporters)
        jobs = ledger.queries.recent(_PURGED)
        for job in jobs:
            spool.inbox(job.id).write_bytes(bytes(_FILE_BYTES))
        short = 1e-9  # days
        settings = Settings(
            state_dir=Path(name),
            ledger=LedgerSettings(url=url, keep_days=short),
            spool=SpoolSettings(keep_days=short),
        )
        began, purged = time.monotonic(), Purged()
        while (more := purge(settings, ledger, spool)).jobs:
            purged += more
        rate = purged.by_age / (time.monotonic() - began)
    print(f"retention | jobs a second by one relay, bytes and row {rate:.0f}", flush=True)


def _hear(here: Connection, seconds: float = _START_SECONDS) -> int:
    if not here.poll(seconds):
        raise TimeoutError("a process of the benchmark says nothing")
    heard: int = here.recv()
    return heard


def _facts(url: str) -> tuple[float, float, float]:
    """Return transactions so far, bytes of the database, and bytes of the write-ahead log."""
    engine = create_engine(url)
    query = text(
        "SELECT pg_stat_get_db_xact_commit(oid), pg_database_size(oid), "
        "pg_current_wal_lsn() - '0/0' FROM pg_database WHERE datname = current_database()"
    )
    with engine.connect() as connection:
        time.sleep(1)  # until the other sessions have said what they did
        transactions, size, log = connection.execute(query).one()
    engine.dispose()
    return float(transactions), float(size), float(log)


def _node(url: str, number: int, seconds: float, there: Connection) -> None:
    """Let jobs pass through a ledger, as the parts of one node do; say how many."""
    ledger = Ledger(url)
    holder = f"node{number}/infer/1/"
    with (
        closing(ledger),
        ThreadPoolExecutor(_RECEIVERS) as receivers,
        ThreadPoolExecutor(_REPORTERS) as reporters,
    ):
        _pass(ledger, holder, receivers, reporters)
        there.send(0)
        there.recv()
        until, done = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            done += _pass(ledger, holder, receivers, reporters)
        there.send(done)
        there.recv()  # until this process is killed: what it used is read before


def _pass(
    ledger: Ledger, holder: str, receivers: ThreadPoolExecutor, reporters: ThreadPoolExecutor
) -> int:
    """Let a batch pass; return how many were delivered: perhaps those of other nodes."""

    def report(job: Job) -> None:
        ledger.jobs.report(job, CONCLUSION, _outputs(job), _ROUTES, evidence=_EVIDENCE)

    def receive(_: int) -> None:
        number = f"{uuid.uuid4().int % 10**8:08}"
        patient = Patient(
            patient_name=f"SURNAME{number}^GIVEN",
            patient_id=number,
            birth_date="19700101",
            sex="F",
            accession_number=f"A{number}",
            study_date="20260101",
            modality="DX",
            view_position="PA",
        )
        ledger.jobs.receive(instance(), patient)

    list(receivers.map(receive, range(_RECEIVERS)))
    for _ in range(_RECEIVERS // _BATCH):
        jobs = ledger.jobs.lease(holder, _BATCH, lease_seconds=_LEASE, maximum_attempts=3)
        list(reporters.map(report, jobs))
    most = len(_KINDS) * _RECEIVERS
    leased = ledger.deliveries.lease("pacs", holder, most, lease_seconds=_LEASE)
    answers = [Acknowledged(delivery=each, status=0) for each in leased]
    for first in range(0, len(answers), _REPORTERS):  # that come while one is recorded
        ledger.deliveries.delivered_together(answers[first : first + _REPORTERS])
    return len(answers) // len(_KINDS)


def _outputs(job: Job) -> list[OutputRecord]:
    number = int(job.id, 16)
    return [
        OutputRecord(kind=kind, sop_class_uid="1.2.3", sop_instance_uid=f"2.25.{number + place}")
        for place, kind in enumerate(_KINDS)
    ]


def drive_redis(server: RedisServer, seconds: float) -> None:
    """Fill a queue, and print how fast one worker starts a task for each message."""
    here, there = _PROCESSES.Pipe()
    app = celery_app(server.url)
    began = time.monotonic()
    sent = 0
    while time.monotonic() - began < seconds / 2:
        app.send_task(INFER, args=(), queue=INFER, retry=False)
        sent += 1
    rate = sent / (time.monotonic() - began)
    used = processor_seconds([server.pid])
    worker = _PROCESSES.Process(target=_worker, args=(server.url, sent, there), daemon=True)
    worker.start()
    taken = _hear(here, _START_SECONDS + seconds) / 1e6
    used = processor_seconds([server.pid]) - used
    worker.kill()
    print(
        f"redis | messages a second sent by one process {rate:.0f} | "
        f"started by one worker {sent / taken:.0f} | "
        f"server ms a message received {1000 * used / sent:.3f}",
        flush=True,
    )


def _worker(url: str, count: int, there: Connection) -> None:
    """Start a task for each message; say in how many microseconds so many were started."""
    first: list[float] = []
    left = [count]

    def task(*_: str) -> None:
        if not first:
            first.append(time.monotonic())
        left[0] -= 1
        if not left[0]:
            there.send(round((time.monotonic() - first[0]) * 1e6))

    work(url, INFER, task, ready=threading.Event(), stopping=threading.Event())


if __name__ == "__main__":
    main()
