"""Time the worklist in a ledger of many jobs.

    PYTHONPATH=tests .venv/bin/python -m bench.worklist --jobs 100000

Fills a ledger with synthetic jobs, patients and verdicts, one a minute until now, and prints for
each query the median and the slowest of its repetitions in milliseconds, on SQLite and, with
`--postgresql`, on a server of its own; then the time in which an instance is recorded, with a
patient and without.
"""

import argparse
import random
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Table, insert, text

from service.domain.job import Instance, JobState
from service.domain.patient import Patient
from service.domain.patient_search import words_of
from service.storage.ledger import Ledger
from service.storage.ledger.database import Database
from service.storage.ledger.reading.worklist import Order, WorklistFilter
from service.storage.ledger.tables import EVENTS, JOBS, PATIENT_WORDS, PATIENTS, VERDICTS

SECONDS_BETWEEN: Final = 60.0
AT_ONCE: Final = 20_000
SYLLABLES: Final = ("an", "ber", "da", "el", "fi", "go", "hu", "ka", "lu", "mor", "ne", "ra", "st")
STATES: Final = (*(("delivered",) * 90), *(("not_analysed",) * 6), "reported", "received", "parked")
FINDINGS: Final = (*(("absent",) * 7), *(("present",) * 2), "indeterminate")


def name(chance: random.Random) -> str:
    """Return a name that nobody has."""
    family, given = ("".join(chance.choices(SYLLABLES, k=3)).title() for _ in range(2))
    return f"{family}^{given}"


def rows(number: int, count: int, chance: random.Random, now: float) -> Iterator[dict[Table, Any]]:
    """Yield the rows of each job, the oldest first."""
    for index in range(number, number + count):
        job_id, uid = uuid.UUID(int=chance.getrandbits(128)).hex, f"1.2.826.0.1.{index}"
        state = chance.choice(STATES)
        finding = chance.choice(FINDINGS) if state in {"delivered", "reported"} else None
        at = now - index * SECONDS_BETWEEN
        job = {
            "id": job_id,
            "sop_instance_uid": uid,
            "series_instance_uid": f"{uid}.1",
            "study_instance_uid": f"{uid}.2",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1",
            "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            "digest": f"{index:064x}",
            "size_bytes": 1,
            "calling_ae_title": f"ROOM{index % 12}",
            "source": "dicom",
            "state": state,
            "reason": "report-failed" if state == "parked" else None,
            "attempt": 1,
            "attempt_base": 0,
            "faults": 0,
            "received_at": at,
            "asked_at": at,
            "finding": finding,
            "probability": chance.random() if finding else None,
        }
        patient = Patient(
            patient_name=name(chance),
            patient_id=f"P{chance.randrange(10**7):07}",
            accession_number=f"A{index:08}",
            modality="CR",
        )
        words = [{"job_id": job_id, "kind": k, "word": w} for k, w in words_of(patient)]
        event = {"job_id": job_id, "at": at, "name": "received", "detail": {}}
        verdict = [] if finding is None or index % 50 else [{**_verdict(job), "at": at}]
        yield {
            JOBS: [job],
            PATIENTS: [{"job_id": job_id, **asdict(patient)}],
            PATIENT_WORDS: words,
            EVENTS: [event] * 4,
            VERDICTS: verdict,
        }


def _verdict(job: dict[str, Any]) -> dict[str, Any]:
    return {
        "user_name": "reader",
        "opinion": "agree",
        "comment": "",
        "job_id": job["id"],
        "report_uid": "1.2.3",
        "sop_instance_uid": job["sop_instance_uid"],
        "digest": job["digest"],
        "finding": job["finding"],
        "probability": 0.5,
        "operating_point": "screening",
        "model": "pneumonia 1",
    }


def fill(url: str, jobs: int) -> None:
    """Fill the ledger."""
    chance, now, database = random.Random(1), time.time(), Database(url)
    for number in range(0, jobs, AT_ONCE):
        gathered: dict[Table, list[dict[str, Any]]] = {}
        for each in rows(number, min(AT_ONCE, jobs - number), chance, now):
            for table, some in each.items():
                gathered.setdefault(table, []).extend(some)
        with database.write() as connection:
            for table, values in gathered.items():
                connection.execute(insert(table), values)
    with database.engine.connect() as connection:
        if database.url.get_backend_name() == "postgresql":
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(
                text("VACUUM ANALYZE")
            )
    database.close()


def queries(ledger: Ledger) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield each query with its name."""
    week = time.time() - 7 * 86400
    everything = WorklistFilter(with_patients=True)
    known = ledger.queries.recent(1)[0]
    patient = ledger.patients.of(known.id)
    assert patient is not None
    first = ledger.worklist.page(everything)
    filters = {
        "default: the last 7 days, positives first": replace(everything, since=week),
        "everything, positives first": everything,
        "everything, next page": replace(everything, cursor=first.following or ""),
        "everything, the newest first": replace(everything, order=Order.NEWEST),
        "state parked": replace(everything, states=frozenset({JobState.PARKED})),
        "state delivered, newest": replace(
            everything, states=frozenset({JobState.DELIVERED}), order=Order.NEWEST
        ),
        "two states": replace(everything, states=frozenset({JobState.PARKED, JobState.RECEIVED})),
        "finding absent": replace(everything, findings=frozenset({"absent"})),
        "finding present, newest": replace(
            everything, findings=frozenset({"present"}), order=Order.NEWEST
        ),
        "calling AE title": replace(everything, calling_ae_title="ROOM3"),
        "unknown calling AE title": replace(everything, calling_ae_title="NOWHERE"),
        "AE title, state, finding": replace(
            everything,
            calling_ae_title="ROOM3",
            states=frozenset({JobState.PARKED}),
            findings=frozenset({"present"}),
        ),
        "one day a month ago": replace(
            everything, since=week - 23 * 86400, until=week - 22 * 86400
        ),
        "with a verdict": replace(everything, has_verdict=True),
        "without a verdict": replace(everything, has_verdict=False),
        "search: a whole name": replace(everything, text=patient.patient_name),
        "search: three letters": replace(everything, text="mor"),
        "search: one letter": replace(everything, text="m"),
        "search: two beginnings": replace(everything, text="mor st"),
        "search: patient ID": replace(everything, text=patient.patient_id),
        "search: accession number": replace(everything, text=patient.accession_number),
        "search: every accession number": replace(everything, text="a0"),
        "search: instance UID": replace(everything, text=known.sop_instance_uid),
        "search: unknown UID": replace(everything, text="1.2.3.4.5"),
        "search: beginning of a job id": replace(everything, text=known.id[:6]),
        "search: nothing has it": replace(everything, text="xyzzy"),
    }
    for title, wanted in filters.items():
        yield title, partial(ledger.worklist.page, wanted)
    yield "calling AE titles", ledger.worklist.calling_ae_titles
    yield "revision", ledger.worklist.revision
    yield "job counts", ledger.queries.job_counts


def receive(ledger: Ledger, patient: Patient | None) -> None:
    """Record one instance."""
    uid = f"2.25.{uuid.uuid4().int}"
    ledger.jobs.receive(
        Instance(
            job_id=uuid.uuid4().hex,
            sop_instance_uid=uid,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
            series_instance_uid=f"{uid[:60]}.1",
            study_instance_uid=f"{uid[:60]}.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            digest="0" * 64,
            size_bytes=1,
            calling_ae_title="ROOM1",
        ),
        patient,
    )


def timed(run: Callable[[], object], times: int) -> tuple[float, float]:
    """Return the median and the slowest of several runs, after one that is not counted."""
    run()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken), max(taken)


@contextmanager
def ledger_urls(*, postgresql: bool) -> Iterator[list[str]]:
    """Make an empty database of each kind."""
    folder = Path(tempfile.mkdtemp(prefix="lobar-bench-"))
    urls = [f"sqlite:///{folder / 'ledger.sqlite3'}"]
    server = None
    try:
        if postgresql:
            from peers.postgresql import PostgreSQLServer  # noqa: PLC0415 -- needs its programs

            server = PostgreSQLServer(Path(tempfile.mkdtemp(prefix="lobar-bench-")))
            server.start()
            urls.append(server.url(server.create_database()))
        yield urls
    finally:
        if server is not None:
            server.stop()
            shutil.rmtree(server.folder)
        shutil.rmtree(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each query."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--postgresql", action="store_true", help="as well as SQLite")
    parser.add_argument("--only", default="", help="queries with these words in their name")
    options = parser.parse_args(arguments)
    somebody = Patient(
        patient_name="Beispiel^Änne=山田^太郎", patient_id="P-1", accession_number="A-1"
    )
    with ledger_urls(postgresql=options.postgresql) as urls:
        for url in urls:
            ledger = Ledger(url)
            ledger.upgrade()
            fill(url, options.jobs)
            print(f"{url.partition(':')[0]}, {options.jobs} jobs | median ms | slowest ms")
            for title, run in queries(ledger):
                if options.only not in title:
                    continue
                median, slowest = timed(run, options.times)
                print(f"{title} | {median:.1f} | {slowest:.1f}", flush=True)
            for title, patient in (("without", None), ("with", somebody)):
                median, slowest = timed(partial(receive, ledger, patient), 200)
                print(f"record an instance {title} a patient | {median:.2f} | {slowest:.2f}")
            ledger.close()


if __name__ == "__main__":
    main()
