"""Time the ledger's operations with a backlog, in a small ledger and in a large one.

    PYTHONPATH=tests .venv/bin/python -m bench.backlog --postgresql

Each ledger has as many rows of `jobs` as the first number says, and as many due jobs, due
deliveries and due commitment requests as the second. For each operation it prints the median and
the 95th percentile in milliseconds, and how many times the median in the small ledger that is. The
bar: 10 ms in the median.

With `--compare` it prints how many jobs a second pass through each ledger (lease, report, lease the
delivery, deliver) with made up results, in turns, without a model and without a destination. The
bar: with a large backlog at least 0.9 of that with a small one.
"""

import argparse
import itertools
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from bench.worklist import ledger_urls
from support.backlog import fill_backlog, instance

from service.domain.delivery import OutputRecord, Reference
from service.domain.job import ConclusionRecord, Instance, Job
from service.domain.reasons import Reason
from service.domain.routing import Outcome, OutputKind, Routes
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.ledger.database import Database
from service.storage.spool import Spool
from service.telemetry.ledger_collector import LedgerMetrics

SIZES: Final = ((1_000, 100), (1_000_000, 100), (1_000_000, 100_000))
DESTINATIONS: Final = ("pacs", "vault")
DAY: Final = 86_400
_ROUNDS: Final = 7
CONCLUSION: Final = ConclusionRecord(
    finding="present", probability=0.75, operating_point="screening", model="m 1"
)
ROUTES: Final = Routes(dict.fromkeys(Outcome, ((OutputKind.SR, "pacs"),)), has_destinations=True)
_RESET: Final = (
    """UPDATE jobs SET holder = NULL, due_at = received_at, attempt_base = attempt, faults = 0
WHERE holder IS NOT NULL""",
    "UPDATE deliveries SET holder = NULL, due_at = since WHERE holder IS NOT NULL",
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
        yield "find by the UID of a report", lambda: queries.find("2.25.300.9")
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
        retention = self._ledger.retention
        if purged:
            return partial(retention.forget_older, seconds, 1000)
        return partial(retention.mark_older, seconds, 1000)

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
    fill_backlog(url, jobs=jobs, due=due, now=time.time())
    print(f"{url.partition(':')[0]}, {jobs:,} jobs, {due:,} due | median ms | p95 ms | ratio")
    operations = Operations(ledger, url)
    for title, run in operations.all():
        median, late = timed(run, options.times, operations.lease_again)
        small = first.setdefault(title, median)
        print(f"{title} | {median:.2f} | {late:.2f} | {median / small:.1f}", flush=True)
    for count in (1, 8):
        print(f"instances a second recorded by {count} | {writers(url, count, 5):.0f}", flush=True)
    operations.close()
    ledger.close()


def compare_cycles(urls: Sequence[str], sizes: Sequence[tuple[int, int]], cycles: int) -> None:
    """Print how many jobs a second pass through each ledger, in turns on the same machine."""
    ledgers = [Ledger(url) for url in urls]
    every = []
    for ledger, url, (jobs, due) in zip(ledgers, urls, sizes, strict=True):
        ledger.upgrade()
        fill_backlog(url, jobs=jobs, due=due, now=time.time())
        every.append(Operations(ledger, url))
    rates: list[list[float]] = [[] for _ in every]
    for _ in range(_ROUNDS):
        for kept, operations in zip(rates, every, strict=True):
            kept.append(operations.cycles(cycles))
    medians = [statistics.median(each) for each in rates]
    for (jobs, due), rate in zip(sizes, medians, strict=True):
        print(
            f"{urls[0].partition(':')[0]}, {jobs:,} jobs, {due:,} due: jobs a second through the "
            f"ledger | {rate:.0f} | ratio {rate / medians[0]:.2f}",
            flush=True,
        )
    for operations in every:
        operations.close()
    for ledger in ledgers:
        ledger.close()


def sweep(url: str, files: int) -> None:
    """Print how long the relay sweeps an inbox of so many old files, each of a job."""
    ledger = Ledger(url)
    ledger.upgrade()
    fill_backlog(url, jobs=files, due=100, now=time.time())
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as folder:
        spool = Spool(Path(folder))
        spool.prepare()
        for job in ledger.queries.recent(files):
            spool.inbox(job.id).touch()
        began = time.perf_counter()
        removed = spool.sweep(ledger.jobs.known, older_than_seconds=-1)
        seconds = time.perf_counter() - began
    print(f"{url.partition(':')[0]}: {files:,} files swept in {seconds:.2f} s, {removed} removed")
    ledger.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each operation and each ledger."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--cycles", type=int, default=400)
    parser.add_argument("--sweep", type=int, default=0, help="only sweep so many files")
    parser.add_argument("--compare", action="store_true", help="only jobs a second, in turns")
    parser.add_argument("--postgresql", action="store_true", help="as well as SQLite")
    parser.add_argument(
        "--sizes", default=",".join(f"{jobs}/{due}" for jobs, due in SIZES), help="JOBS/DUE,..."
    )
    options = parser.parse_args(arguments)
    sizes = [
        (int(jobs), int(due))
        for jobs, due in (each.split("/") for each in options.sizes.split(","))
    ]
    if options.sweep:
        with ledger_urls(postgresql=options.postgresql) as urls:
            for url in urls:
                sweep(url, options.sweep)
        return
    if options.compare:
        with ExitStack() as made:
            pairs = [made.enter_context(ledger_urls(postgresql=options.postgresql)) for _ in sizes]
            for of_each_size in zip(*pairs, strict=True):
                compare_cycles(of_each_size, sizes, options.cycles)
        return
    seen: dict[str, dict[str, float]] = {}
    for jobs, due in sizes:
        with ledger_urls(postgresql=options.postgresql) as urls:
            for url in urls:
                measure(url, jobs, due, options, seen.setdefault(url.partition(":")[0], {}))


if __name__ == "__main__":
    main()
