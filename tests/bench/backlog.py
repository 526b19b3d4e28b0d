"""Time the ledger's operations with a backlog, in a small ledger and in a large one.

    PYTHONPATH=tests .venv/bin/python -m bench.backlog --postgresql

Each ledger has as many rows of `jobs` as the first number says, and as many due jobs, due
deliveries and due commitment requests as the second. For each operation it prints the median and
the 95th percentile in milliseconds, and how many times the median in the small ledger that is. At
the end comes the cycle of a job (lease, report, lease its delivery, deliver) with made up results,
without a model and without a destination. The bar: 10 ms in the median, and the cycle at a large
backlog at least 0.9 of that at a small one.
"""

import argparse
import itertools
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from bench.worklist import ledger_urls
from sqlalchemy import text

from service.domain.delivery import OutputRecord, Reference
from service.domain.job import ConclusionRecord, Instance, Job
from service.domain.reasons import Reason
from service.domain.routing import Outcome, Routes
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.ledger.database import Database
from service.storage.spool import Spool
from service.telemetry.ledger_collector import LedgerMetrics

SIZES: Final = ((1_000, 100), (1_000_000, 100), (1_000_000, 100_000))
DESTINATIONS: Final = ("pacs", "vault")
DAY: Final = 86_400
CONCLUSION: Final = ConclusionRecord(
    finding="present", probability=0.75, operating_point="screening", model="m 1"
)
ROUTES: Final = Routes(dict.fromkeys(Outcome, (("sr", "pacs"),)), has_destinations=True)
_RANDOM_HEX: Final = {"sqlite": "lower(hex(randomblob(16)))", "postgresql": "md5(random()::text)"}

# the newest are due: half of them received, half reported; of the others one in 200 is parked, and
# the bytes of most were removed by retention
_JOBS: Final = """
INSERT INTO jobs (id, sop_instance_uid, sop_class_uid, series_instance_uid, study_instance_uid,
  transfer_syntax_uid, sha256, size_bytes, calling_ae_title, source, state, reason, attempt,
  attempt_base, faults, due_at, received_at, asked_at, reported_at, finished_at, purged_at, finding,
  probability, operating_point, model)
WITH RECURSIVE number(n) AS
  (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < {jobs} - 1),
  aged AS (SELECT n, CASE WHEN n < {due} THEN 'received' WHEN n < 2 * {due} THEN 'reported'
    WHEN n - n / 200 * 200 = 7 THEN 'parked' ELSE 'delivered' END AS state,
    {now} - n * 30.0 AS at FROM number)
SELECT {hex}, '2.25.' || n, '1.2.840.10008.5.1.4.1.1.1', '2.25.1.' || n, '2.25.2.' || n / 2,
  '1.2.840.10008.1.2.1', '{zeros}', 8000000, 'ROOM' || n - n / 12 * 12, 'dicom', state,
  CASE WHEN state = 'parked' THEN 'report-failed' END, 1, 1, 0,
  CASE WHEN state = 'received' THEN at END, at, at, CASE WHEN state <> 'received' THEN at END,
  CASE WHEN state = 'delivered' THEN at + 10 END,
  CASE WHEN state = 'delivered' AND n > {jobs} / 10 THEN at + 900 END,
  CASE WHEN state <> 'received' THEN 'absent' END, CASE WHEN state <> 'received' THEN 0.25 END,
  'screening', 'm 1' FROM aged
"""
_OTHERS: Final = (
    """INSERT INTO outputs (job_id, kind, sop_class_uid, sop_instance_uid)
SELECT id, 'sr', '1.2.840.10008.5.1.4.1.1.88.34', sop_instance_uid || '.9'
FROM jobs WHERE state <> 'received'""",
    """INSERT INTO deliveries (job_id, kind, destination, state, reason, attempt, refusals, due_at,
  since, status, finished_at)
SELECT id, 'sr', 'pacs', CASE state WHEN 'reported' THEN 'pending' ELSE state END, reason, 1, 0,
  CASE state WHEN 'reported' THEN received_at END, received_at, 0, finished_at
FROM jobs WHERE state <> 'received'""",
    """INSERT INTO deliveries (job_id, kind, destination, state, attempt, refusals, due_at, since,
  sent_sop_class_uid, sent_sop_instance_uid, finished_at)
SELECT id, 'sr', 'vault', CASE state WHEN 'reported' THEN 'stored' ELSE 'delivered' END, 1, 0,
  CASE state WHEN 'reported' THEN received_at END, received_at, '1.2.840.10008.5.1.4.1.1.88.34',
  sop_instance_uid || '.9', finished_at
FROM jobs WHERE state <> 'received'""",
    """INSERT INTO events (job_id, at, name, detail) SELECT id, received_at, name, '{}'
FROM jobs CROSS JOIN (SELECT 'received' AS name UNION ALL SELECT 'leased') AS named""",
    """INSERT INTO census (subject, state, name, number)
SELECT 'received', '', '', count(*) FROM jobs""",
)

_RESET: Final = (
    """UPDATE jobs SET holder = NULL, due_at = received_at, attempt_base = attempt, faults = 0
WHERE holder IS NOT NULL""",
    "UPDATE deliveries SET holder = NULL, due_at = since WHERE holder IS NOT NULL",
)


def fill(url: str, jobs: int, due: int) -> None:
    """Fill a ledger with statements of the database's own, which take seconds for a million."""
    database = Database(url)
    backend = database.url.get_backend_name()
    values = {"jobs": jobs, "due": due, "now": time.time() - 60, "zeros": "0" * 64}
    with database.write() as connection:
        for statement in (_JOBS.format(**values, hex=_RANDOM_HEX[backend]), *_OTHERS):
            connection.exec_driver_sql(statement)
    _analyse(database)
    database.close()


def _analyse(database: Database) -> None:
    """Do what PostgreSQL's autovacuum does in its own time."""
    if database.url.get_backend_name() == "postgresql":
        with database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(
                text("VACUUM ANALYZE")
            )


def instance(uid: str | None = None, content: str = "a") -> Instance:
    """Make an instance that the ledger does not have."""
    uid = uid or f"2.25.{uuid.uuid4().int}"
    return Instance(
        job_id=uuid.uuid4().hex,
        sop_instance_uid=uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
        series_instance_uid=f"{uid[:60]}.1",
        study_instance_uid=f"{uid[:60]}.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        sha256=content * 64,
        size_bytes=1,
        calling_ae_title="ROOM1",
    )


def output(job: Job) -> OutputRecord:
    """Make the report of a job."""
    return OutputRecord(
        kind="sr", sop_class_uid="1.2.3", sop_instance_uid=f"2.25.{int(job.id, 16)}"
    )


class Operations:
    """What is timed: each call does one operation on rows that no other call had."""

    def __init__(self, ledger: Ledger, url: str) -> None:
        self._ledger = ledger
        self._database = Database(url)
        settings = Settings()
        self._metrics = LedgerMetrics(settings, ledger, Spool(settings.spool_dir))
        known = ledger.queries.recent(400)
        self._known = itertools.cycle(known)
        self._leased: list[Job] = []

    def all(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Yield each operation with its name."""
        ledger, queries, flow = self._ledger, self._ledger.queries, self._ledger.flow
        yield "receive, new", lambda: ledger.jobs.receive(instance())
        yield "receive, repeated", lambda: ledger.jobs.receive(self._same("0"))
        yield "receive, a correction", lambda: ledger.jobs.receive(self._same(uuid.uuid4().hex[0]))
        yield "lease 8 jobs", self._lease
        yield "lease 1 job as a probe", self._probe
        yield "renew a lease", lambda: ledger.jobs.renew(self._leased[-1], 600)
        yield "report", self._report
        yield "postpone", lambda: ledger.jobs.postpone(self._leased.pop(), 3600, "error")
        yield (
            "lease 32 deliveries",
            partial(ledger.deliveries.lease, "pacs", "host/deliver/1/", 32, lease_seconds=60),
        )
        yield "delivered", self._deliver
        yield "lease 32 commitments", self._ask
        yield "release a process with leases", self._release
        yield "release a process without", lambda: ledger.release("host/other/1/")
        yield (
            "park deliveries of removed destinations",
            partial(ledger.deliveries.park_unknown, DESTINATIONS),
        )
        yield "due", queries.due
        yield "job counts", queries.job_counts
        yield "delivery counts", queries.delivery_counts
        yield "metrics of the ledger", lambda: list(self._metrics._of_ledger())
        yield "find by job id", lambda: queries.find(next(self._known).id)
        yield "find by the beginning of a job id", lambda: queries.find(next(self._known).id[:8])
        yield "find by instance UID", lambda: queries.find(next(self._known).sop_instance_uid)
        yield "find by study UID", lambda: queries.find(next(self._known).study_instance_uid)
        yield "find by the UID of a report", lambda: queries.find(f"2.25.{2_000}.9")
        yield "find what is not there", lambda: queries.find("1.2.3.4.5")
        yield "retention: bytes", self._finished(7 * DAY, purged=False)
        yield "retention: rows", self._finished(365 * DAY, purged=True)
        yield "heartbeat", lambda: ledger.heartbeats.beat("infer", "host/infer/1/", ready=True)
        yield "status: analysis", flow.analysis
        yield "status: destinations", lambda: flow.destinations(DESTINATIONS)
        yield "status: parked", lambda: flow.parked(10)
        yield "status: parked for a reason", lambda: flow.parked_for(Reason.REPORT_FAILED, 200)
        yield "status: per minute", lambda: flow.per_minute(180)
        yield "status: latest model", flow.latest_model

    def lease_again(self) -> None:
        """Make due what an operation leased, as if never tried, and lease jobs for the next."""
        with self._database.write() as connection:
            for statement in _RESET:
                connection.exec_driver_sql(statement)
        self._leased = []
        self._lease()

    def cycles(self, count: int) -> float:
        """Return how many jobs a second are leased, reported and delivered; the backlog stays."""
        taken, done = 0.0, 0
        while done < count:
            for _ in range(8):
                self._ledger.jobs.receive(instance())
            began = time.perf_counter()
            for job in self._lease():
                self._ledger.jobs.report(job, CONCLUSION, [output(job)], ROUTES)
                done += 1
            for each in self._ledger.deliveries.lease("pacs", "d/", 8, lease_seconds=600):
                self._ledger.deliveries.delivered(each, status=0)
            taken += time.perf_counter() - began
        return done / taken

    def _same(self, content: str) -> Instance:
        return instance(next(self._known).sop_instance_uid, content)

    def _lease(self) -> Sequence[Job]:
        leased = self._ledger.jobs.lease("host/infer/1/", 8, lease_seconds=600, maximum_attempts=3)
        self._leased.extend(leased)
        return leased

    def _probe(self) -> None:
        leased = self._ledger.jobs.lease(
            "host/infer/1/", 1, lease_seconds=600, maximum_attempts=3, probes=True
        )
        self._leased.extend(leased)

    def _report(self) -> None:
        job = self._leased.pop()
        self._ledger.jobs.report(job, CONCLUSION, [output(job)], ROUTES)

    def _deliver(self) -> None:
        (each,) = self._ledger.deliveries.lease("pacs", "host/deliver/1/", 1, lease_seconds=600)
        self._ledger.deliveries.delivered(
            each, status=0, sent=Reference(each.sop_class_uid, each.sop_instance_uid)
        )

    def _ask(self) -> None:
        self._ledger.commitments.lease(
            "vault",
            "host/deliver/1/",
            32,
            transaction_uid=f"2.25.{uuid.uuid4().int}",
            lease_seconds=60,
        )

    def _release(self) -> None:
        self._ledger.release("host/infer/1/")

    def _finished(self, seconds: float, *, purged: bool) -> Callable[[], object]:
        before = time.time() - seconds
        return partial(self._ledger.jobs.finished_before, before, 1000, purged=purged)

    def close(self) -> None:
        """Close the connections."""
        self._database.close()


def timed(
    run: Callable[[], object], times: int, before: Callable[[], object]
) -> tuple[float, float]:
    """Return the median and the 95th percentile of several runs, after one that is not counted."""
    taken = []
    for _ in range(times + 1):
        before()
        began = time.perf_counter()
        run()
        taken.append((time.perf_counter() - began) * 1000)
    taken.pop(0)
    return statistics.median(taken), sorted(taken)[int(0.95 * (len(taken) - 1))]


def writers(url: str, count: int, seconds: float) -> float:
    """Return how many instances a second so many threads record, each over its own connection."""
    done, until = [0] * count, time.monotonic() + seconds

    def write(number: int) -> None:
        ledger = Ledger(url)
        while time.monotonic() < until:
            ledger.jobs.receive(instance())
            done[number] += 1
        ledger.close()

    threads = [threading.Thread(target=write, args=[number]) for number in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return sum(done) / seconds


def measure(
    url: str, jobs: int, due: int, options: argparse.Namespace, first: dict[str, float]
) -> None:
    """Print a line for each operation on one ledger."""
    ledger = Ledger(url)
    ledger.upgrade()
    fill(url, jobs, due)
    while ledger.census.fold():
        pass
    print(f"{url.partition(':')[0]}, {jobs:,} jobs, {due:,} due | median ms | p95 ms | ratio")
    operations = Operations(ledger, url)
    for title, run in operations.all():
        median, late = timed(run, options.times, operations.lease_again)
        small = first.setdefault(title, median)
        print(f"{title} | {median:.2f} | {late:.2f} | {median / small:.1f}", flush=True)
    rate = operations.cycles(options.cycles)
    small = first.setdefault("cycles", rate)
    print(f"jobs a second through the ledger | {rate:.0f} | | {rate / small:.2f}", flush=True)
    for count in (1, 8):
        print(f"instances a second recorded by {count} | {writers(url, count, 5):.0f}", flush=True)
    operations.close()
    ledger.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each operation and each ledger."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--cycles", type=int, default=400)
    parser.add_argument("--postgresql", action="store_true", help="as well as SQLite")
    parser.add_argument(
        "--sizes", default=",".join(f"{jobs}/{due}" for jobs, due in SIZES), help="JOBS/DUE,..."
    )
    options = parser.parse_args(arguments)
    sizes = [tuple(map(int, each.split("/"))) for each in options.sizes.split(",")]
    seen: dict[str, dict[str, float]] = {}
    for jobs, due in sizes:
        with ledger_urls(postgresql=options.postgresql) as urls:
            for url in urls:
                measure(url, jobs, due, options, seen.setdefault(url.partition(":")[0], {}))


if __name__ == "__main__":
    main()
