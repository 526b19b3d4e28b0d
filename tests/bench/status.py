"""Print what the queries of the status page cost with 100,000 jobs, and how they are planned.

    PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.status [JOBS] [--plans]

The bar: each within 50 ms on both databases, so that a page that several people keep open costs
little.
"""

import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from peers.postgresql import PostgreSQLServer
from sqlalchemy import Connection, event, insert, text

from service.domain.delivery import DeliveryState
from service.domain.job import JobState
from service.domain.reasons import Reason
from service.storage.ledger import Ledger
from service.storage.ledger.tables import DELIVERIES, EVENTS, JOBS, OUTPUTS, TALLY_CHANGES

JOBS_IN_ALL: Final = 100_000
DAYS: Final = 30.0
PARKED_EVERY: Final = 200
WAITING: Final = 500  # the newest
DESTINATIONS: Final = ("pacs", "research", "never")
ROUNDS: Final = 7
_AT_ONCE: Final = 2_000


def main() -> None:
    """Fill a SQLite and a PostgreSQL ledger, and print a line for each query."""
    numbers = [int(each) for each in sys.argv[1:] if each.isdigit()]
    count = numbers[0] if numbers else JOBS_IN_ALL
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        _measure("SQLite", f"sqlite:///{folder / 'ledger.sqlite3'}", count)
        cluster = folder / "postgresql"
        cluster.mkdir()
        server = PostgreSQLServer(cluster)
        server.start()
        try:
            _measure("PostgreSQL", server.url(server.create_database()), count)
        finally:
            server.kill()


def _measure(database: str, url: str, count: int) -> None:
    ledger = Ledger(url)
    ledger.upgrade()
    _fill(ledger, count)
    print(f"{database}, {count:,} jobs")
    for name, query in _queries(ledger).items():
        seconds = [_timed(query) for _ in range(ROUNDS)]
        print(f"  {name:<28} {1000 * statistics.median(seconds):7.1f} ms")
        if "--plans" in sys.argv:
            _explain(ledger, query)
    ledger.close()


def _queries(ledger: Ledger) -> dict[str, Callable[[], object]]:
    flow = ledger.flow
    some = [job.id for job in ledger.queries.recent(50)]
    return {
        "analysis": flow.analysis,
        "destinations": lambda: flow.destinations(DESTINATIONS),
        "latencies of an hour": lambda: flow.latencies(3600),
        "per minute, 3 hours": lambda: flow.per_minute(180),
        "parked": lambda: flow.parked(10),
        "parked for one reason": lambda: flow.parked_for(Reason.REPORT_FAILED, 200),
        "latest model": flow.latest_model,
        "overdue requests": lambda: flow.overdue_requests(600),
        "50 jobs of an upload": lambda: flow.jobs(some),
        "job counts": ledger.queries.job_counts,
    }


def _timed(query: Callable[[], object]) -> float:
    started = time.perf_counter()
    query()
    return time.perf_counter() - started


def _explain(ledger: Ledger, query: Callable[[], object]) -> None:
    """Print the plan of each statement of a query."""
    engine = ledger._database.engine
    statements: list[tuple[str, Any]] = []

    def note(_c: object, _u: object, statement: str, parameters: Any, *_more: object) -> None:  # noqa: ANN401
        if statement.startswith("SELECT"):
            statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    query()
    event.remove(engine, "before_cursor_execute", note)
    how = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        for statement, parameters in statements:
            rows = connection.exec_driver_sql(f"{how} {statement}", parameters)
            for row in rows:
                print(f"      {row[-1]}")


def _fill(ledger: Ledger, count: int) -> None:
    now = time.time()
    with ledger._database.engine.begin() as connection:
        for start in range(0, count, _AT_ONCE):
            jobs = [_job(n, count, now) for n in range(start, min(count, start + _AT_ONCE))]
            _insert(connection, jobs)
        received = {"subject": "received", "state": "", "name": "", "number": count}
        connection.execute(insert(TALLY_CHANGES), [received])
    with ledger._database.engine.begin() as connection:
        connection.execute(text("ANALYZE"))


def _insert(connection: Connection, jobs: list[dict[str, Any]]) -> None:
    connection.execute(insert(JOBS), jobs)
    reported = [each for each in jobs if each["reported_at"]]
    connection.execute(insert(OUTPUTS), [_output(each) for each in reported])
    connection.execute(insert(DELIVERIES), [row for each in reported for row in _deliveries(each)])
    connection.execute(insert(EVENTS), [row for each in jobs for row in _events(each)])


def _job(n: int, count: int, now: float) -> dict[str, Any]:
    """Build the n-th job: the older half of a month, the newer half of the last three hours."""
    age = (count - n) / count
    received = now - (age * 2 * 10_800 if age < 0.5 else DAYS * 86_400 * age)
    left = count - n
    state = JobState.DELIVERED
    if n % PARKED_EVERY == 0:
        state = JobState.PARKED
    elif left <= WAITING:
        state = JobState.RECEIVED if left % 2 else JobState.REPORTED
    reported = None if state is JobState.RECEIVED else received + 1 + n % 7
    uid = f"2.25.{uuid.uuid4().int}"
    return {
        "id": uuid.uuid4().hex,
        "sop_instance_uid": uid,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1",
        "series_instance_uid": uid,
        "study_instance_uid": uid,
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "digest": "0" * 64,
        "size_bytes": 8_000_000,
        "calling_ae_title": "MODALITY",
        "source": "dicom",
        "state": state,
        "reason": _reason(n) if state is JobState.PARKED else None,
        "due_at": received if state is JobState.RECEIVED else None,
        "received_at": received,
        "asked_at": received,
        "reported_at": reported,
        "finished_at": received + 10 if state is JobState.DELIVERED else None,
        "finding": None if reported is None else ("present", "absent")[n % 2],
        "probability": None if reported is None else n % 1000 / 1000,
        "operating_point": None if reported is None else "balanced",
        "model": None if reported is None else "lobar_pneumonia 0.3.0",
    }


def _reason(n: int) -> Reason:
    reasons = (Reason.DESTINATION_UNREACHABLE, Reason.DESTINATION_REFUSED, Reason.REPORT_FAILED)
    return reasons[n // PARKED_EVERY % 3]


def _output(job: dict[str, Any]) -> dict[str, Any]:
    return {
        "job_id": job["id"],
        "kind": "sr",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.34",
        "sop_instance_uid": f"2.25.{uuid.uuid4().int}",
    }


def _deliveries(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    states = {
        JobState.DELIVERED: DeliveryState.DELIVERED,
        JobState.PARKED: DeliveryState.PARKED,
        JobState.REPORTED: DeliveryState.PENDING,
    }
    state = states[job["state"]]
    for name in DESTINATIONS[:2]:
        yield {
            "job_id": job["id"],
            "kind": "sr",
            "destination": name,
            "state": state,
            "attempt": 1,
            "due_at": job["reported_at"] if state is DeliveryState.PENDING else None,
            "since": job["reported_at"],
            "status": 0,
            "finished_at": job["finished_at"],
        }


def _events(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    names = ["received", "leased", "reported", "output-postponed"]
    for name in names:
        detail = {"destination": "pacs", "why": "no-connection"} if name[0] == "o" else {}
        yield {"job_id": job["id"], "at": job["received_at"], "name": name, "detail": detail}


if __name__ == "__main__":
    main()
