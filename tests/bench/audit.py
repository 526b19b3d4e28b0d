"""What the audit trail costs: `PYTHONPATH=tests python -m bench.audit [--count N]`.

It appends records to a new SQLite ledger, and prints bytes and seconds: of appending, of a page of
each filter, and of building the messages.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sqlalchemy import insert

from service.audit.message import Source, message
from service.domain.audit import Action, AuditOutcome, AuditRecord
from service.storage.ledger import Ledger
from service.storage.ledger.access.audit_trail import AuditFilter
from service.storage.ledger.database import Database
from service.storage.ledger.tables import AUDIT

VIEWED = AuditRecord(
    at=1764424800.25,
    action=Action.VIEW,
    user="ann.example",
    role="radiologist",
    address="192.0.2.117",
    study_instance_uid="1.2.826.0.1.3680043.8.498.12345678901234567890123456789012",
    sop_instance_uid="1.2.826.0.1.3680043.8.498.98765432109876543210987654321098",
    patient_id="1234567890",
    detail={"page": "job"},
)
APPENDED = 200


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.sqlite3"
        ledger = Ledger(f"sqlite:///{file}")
        ledger.upgrade()
        empty = file.stat().st_size
        fill(f"sqlite:///{file}", count)
        print(f"{count} records: {(file.stat().st_size - empty) / 1e6:.1f} MB")
        each = seconds(lambda: append(ledger)) / APPENDED
        print(f"append one, durable: {1000 * each:.2f} ms")
        filters = {
            "no filter": AuditFilter(),
            "a user": AuditFilter(user="user-7"),
            "a patient": AuditFilter(patient_id="P7"),
            "a job": AuditFilter(job_id=f"{7:032x}"),
            "a rare action": AuditFilter(action=Action.DISMISS),
            "failures, of which there are none": AuditFilter(outcome=AuditOutcome.FAILURE),
            "a day": AuditFilter(since=VIEWED.at + 1000, until=VIEWED.at + 2000),
        }
        for name, where in filters.items():
            took = seconds(lambda where=where: ledger.audit.recent(101, None, where))  # type: ignore[misc]
            print(f"a page of {name}: {1000 * took:.1f} ms")
        print(
            f"count what is pending: {1000 * seconds(lambda: ledger.audit.count_after(0)):.1f} ms"
        )
        built = seconds(lambda: [message(VIEWED, Source(id="LOBAR")) for _ in range(1000)])
        size = len(message(VIEWED, Source(id="LOBAR")))
        print(f"a message: {size} bytes, {built:.3f} ms")
        ledger.close()


def append(ledger: Ledger) -> None:
    """Append some records, each in its own transaction."""
    for _ in range(APPENDED):
        ledger.audit.append(VIEWED)


def fill(url: str, count: int) -> None:
    """Write records in one transaction, of 50 users and 20,000 jobs."""
    database = Database(url)
    rows = []
    for n in range(count):
        record = replace(VIEWED, at=VIEWED.at + n, user=f"user-{n % 50}")
        rows.append(
            {
                "at": record.at,
                "action": str(record.action),
                "outcome": str(record.outcome),
                "user_name": record.user,
                "role": record.role,
                "address": record.address,
                "job_id": f"{n % 20_000:032x}",
                "study_instance_uid": record.study_instance_uid,
                "sop_instance_uid": record.sop_instance_uid,
                "patient_id": f"P{n % 9_000}",
                "detail": record.detail,
            }
        )
    with database.write() as connection:
        connection.execute(insert(AUDIT), rows)
    database.close()


def seconds(work: Callable[[], object]) -> float:
    """Return how long some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
