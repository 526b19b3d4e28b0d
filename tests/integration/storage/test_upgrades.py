"""Upgrades from each revision of the tables with work in flight, on both databases, and killed."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from peers.postgresql import PostgreSQLServer
from sqlalchemy import event, inspect, text
from support.purged import forget_finished
from support.routes import to
from support.system.clock import Clock

from service.admin.backup import back_up
from service.admin.restore import restore
from service.domain.delivery import OutputRecord, Reference
from service.domain.job import ConclusionRecord, JobState
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.ledger.database import Database
from service.storage.ledger.migrations import MIGRATIONS
from service.storage.ledger.transfer import Cells
from service.storage.spool import Spool

SR_CLASS: Final = "1.2.840.10008.5.1.4.1.1.88.34"
CONCLUSION: Final = ConclusionRecord(
    finding="absent", probability=0.1, operating_point="screening", model="m 2"
)
JOBS: Final = ("received", "leased", "pending", "sending", "stored", "delivered", "parked", "none")
STATES: Final = {
    "received": "received",
    "leased": "received",
    "pending": "reported",
    "sending": "reported",
    "stored": "reported",
    "delivered": "delivered",
    "parked": "parked",
    "none": "not_analysed",
}


def revisions() -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    return [each.revision for each in reversed(list(script.walk_revisions()))]


def number(name: str) -> str:
    return f"{JOBS.index(name):032x}"


def job(name: str) -> Cells:
    is_reported = STATES[name] not in {"received", "not_analysed"}
    return {
        "id": number(name),
        "sop_instance_uid": f"1.2.3.{JOBS.index(name)}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1",
        "series_instance_uid": "1.2.3.100",
        "study_instance_uid": "1.2.3.200",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "sha256": "a" * 64,  # until 0013
        "digest": "a" * 64,
        "size_bytes": 10,
        "calling_ae_title": "MODALITY",
        "source": "dicom",
        "state": STATES[name],
        "reason": {"parked": "report-failed", "none": "lateral-view"}.get(name),
        "attempt": 1,
        "attempt_base": 0,
        "faults": 0,
        "holder": "old/infer/1/" if name == "leased" else None,
        "due_at": {"received": 7.0, "leased": 9e9}.get(name),
        "received_at": 5.0,
        "asked_at": 5.0,
        "reported_at": 6.0 if is_reported else None,
        "arrived_at": 5.0,
        "finished_at": 8.0 if name in {"delivered", "none"} else None,
        "kept_since": 8.0 if name in {"delivered", "none"} else None,
        "finding": "present" if is_reported else None,
        "probability": 0.75 if is_reported else None,
        "operating_point": "screening" if is_reported else None,
        "model": "m 1" if is_reported else None,
    }


def delivery(name: str, state: str) -> Cells:
    return {
        "job_id": number(name),
        "kind": "sr",
        "destination": "pacs",
        "state": state,
        "attempt": 1,
        "refusals": 0,
        "holder": "old/deliver/1/" if name == "sending" else None,
        "due_at": None if state == "delivered" else (9e9 if name == "sending" else 7.0),
        "since": 6.0,
        "finished_at": 8.0 if state == "delivered" else None,
        "sent_sop_class_uid": SR_CLASS,
        "sent_sop_instance_uid": f"2.25.{JOBS.index(name)}",
    }


def fill(store: Database) -> None:
    """Write work in flight as an old version would have, by plain SQL, into the columns it had."""
    with store.write() as connection:
        tables = set(inspect(connection).get_table_names())
        columns = {
            table: {each["name"] for each in inspect(connection).get_columns(table)}
            for table in tables
        }

        def write(table: str, row: Cells) -> None:
            known = {name: value for name, value in row.items() if name in columns[table]}
            names, values = ", ".join(known), ", ".join(f":{name}" for name in known)
            statement = f"INSERT INTO {table} ({names}) VALUES ({values})"  # noqa: S608 -- ours
            connection.execute(text(statement), known)

        has_commitment = "requests" in tables
        for name in JOBS:
            write("jobs", job(name))
            write("events", {"job_id": number(name), "at": 5.0, "name": "received", "detail": "{}"})
            if STATES[name] in {"reported", "delivered"}:
                uid = f"2.25.{JOBS.index(name)}"
                output = {"kind": "sr", "sop_class_uid": SR_CLASS, "sop_instance_uid": uid}
                write("outputs", {"job_id": number(name), **output})
                is_stored = name == "stored" and has_commitment
                state = {"delivered": "delivered"}.get(name, "stored" if is_stored else "pending")
                write("deliveries", delivery(name, state))
                if "revisions" in tables:
                    revision = {"series_instance_uid": "2.25.99", "dated_at": 6.0}
                    write("revisions", {"job_id": number(name), **output, **revision})
        if has_commitment:
            request = {"transaction_uid": "1.2.9", "calling_ae_title": "MODALITY"}
            counts = {"attempt": 0, "refusals": 0, "due_at": 7.0, "since": 6.0}
            write("requests", {**request, **counts, "instances": '[["1.2.4", "1.2.5"]]'})
        if "tally_changes" in tables:
            received = {"subject": "received", "state": "", "name": "", "number": len(JOBS)}
            write("tally_changes", received)
        else:
            connection.execute(
                text("UPDATE tallies SET total = :n WHERE name = 'received'"), {"n": len(JOBS)}
            )


def at_revision(url: str, revision: str) -> Database:
    store = Database(url)
    store.upgrade(revision)
    fill(store)
    return store


def deliver_all(ledger: Ledger) -> int:
    sent = ledger.deliveries.lease("pacs", "d/", 99, lease_seconds=60)
    for each in sent:
        ledger.deliveries.delivered(each, status=0)
    return len(sent)


def finish(ledger: Ledger, clock: Clock, *, has_commitment: bool) -> None:
    """Do with the service's own code what is left to do, and judge it."""
    ledger.release("old/")
    counts = ledger.queries.job_counts()
    assert (counts.received, counts.balance, counts.in_flight) == (len(JOBS), 0, 5)
    assert ledger.tallies.verify() == []
    parked = ledger.jobs.requeue(number("parked"), to(["pacs"]))
    assert parked.state is JobState.RECEIVED
    ledger.jobs.reanalyse(number("delivered"))
    analysed = set()
    while leased := ledger.jobs.lease("w/", 9, lease_seconds=60, maximum_attempts=3):
        for each in leased:
            analysed.add(each.id)
            uid = f"2.25.{each.id[-1]}1"
            output = OutputRecord(kind="sr", sop_class_uid=SR_CLASS, sop_instance_uid=uid)
            ledger.jobs.report(each, CONCLUSION, [output], to(["pacs"]))
    assert analysed == {number(each) for each in ("received", "leased", "parked", "delivered")}
    assert deliver_all(ledger) == (6 if has_commitment else 7)
    if has_commitment:
        asked = ledger.commitments.lease("pacs", "d/", 9, transaction_uid="1.2.8", lease_seconds=60)
        ledger.commitments.asked(asked, again_in=10)
        reference = Reference(SR_CLASS, f"2.25.{JOBS.index('stored')}")
        ledger.commitments.answered(
            "1.2.8", [reference], {}, again_in=lambda _: 10.0, maximum_refusals=3
        )
        (request,) = ledger.commitment_requests.lease("d/", 9, lease_seconds=60)
        ledger.commitment_requests.close(request, [])
    states = {each.id: each.state for each in ledger.queries.recent(99)}
    assert states.pop(number("none")) is JobState.NOT_ANALYSED
    assert set(states.values()) == {JobState.DELIVERED}
    clock.pass_seconds(1)
    assert len(forget_finished(ledger)) == len(JOBS)
    counts = ledger.queries.job_counts()
    assert (counts.forgotten, counts.balance) == (len(JOBS), 0)
    assert ledger.tallies.verify() == []


@pytest.mark.parametrize("revision", revisions())
def test_work_in_flight_goes_on_after_an_upgrade(
    ledger_url: str, revision: str, clock: Clock
) -> None:
    store = at_revision(ledger_url, revision)
    with store.read() as connection:
        has_commitment = "requests" in inspect(connection).get_table_names()
    store.close()
    with closing(Ledger(ledger_url, clock)) as ledger:
        ledger.upgrade()
        finish(ledger, clock, has_commitment=has_commitment)


@pytest.fixture
def other_url(ledger_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of the other kind."""
    if not ledger_url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path / 'other.sqlite3'}"
        return
    server: PostgreSQLServer = request.getfixturevalue("postgresql_server")
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


@pytest.mark.postgresql
def test_a_backup_of_an_old_version_is_restored_into_this_one(
    ledger_url: str, other_url: str, tmp_path: Path
) -> None:
    at_revision(ledger_url, "0003").close()
    here = Settings(state_dir=tmp_path / "here", ledger={"url": ledger_url})
    there = Settings(state_dir=tmp_path / "there", ledger={"url": other_url})
    spool = Spool(here.spool_dir)
    spool.prepare()
    for name in JOBS:
        spool.inbox(number(name)).write_bytes(b"x")
    manifest = back_up(here, tmp_path / "backup").manifest
    assert (manifest.revision, manifest.files.lines, manifest.missing) == ("0003", len(JOBS), 4)
    restore(there, tmp_path / "backup")
    clock = Clock(time.time() + 60)  # later than the restore, which ended the leases
    with closing(Ledger(other_url, clock)) as ledger:
        finish(ledger, clock, has_commitment=True)


@pytest.mark.parametrize("revision", ["0001", "0003"])
def test_an_upgrade_that_is_killed_leaves_the_old_tables_whole(
    ledger_url: str, revision: str, clock: Clock
) -> None:
    store = at_revision(ledger_url, revision)
    before = all_rows(ledger_url)
    store.close()
    kills = 0
    for statement in range(5, 10_000, 25):
        if not upgrade_until_killed(ledger_url, statement):
            break
        kills += 1
        assert all_rows(ledger_url) == before
    assert kills >= 3
    with closing(Ledger(ledger_url, clock)) as ledger:
        ledger.upgrade()
        finish(ledger, clock, has_commitment=revision != "0001")


def all_rows(url: str) -> tuple[str, list[tuple[str, Cells]]]:
    with closing(Ledger(url)) as ledger, ledger.transfer.snapshot() as snapshot:
        return snapshot.revision, list(snapshot.rows())


def upgrade_until_killed(url: str, statement: int) -> bool:
    """Upgrade in a process that is killed before so many statements; return whether it was."""
    child = os.fork()
    if not child:
        try:
            _upgrade(url, _kill_at(statement))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _kill_at(statement: int) -> Callable[..., None]:
    left = [statement]

    def count(*_: Any) -> None:  # noqa: ANN401 -- SQLAlchemy's arguments
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    return count


def _upgrade(url: str, before_each: Callable[..., None]) -> None:
    store = Database(url)
    event.listen(store.engine, "before_cursor_execute", before_each)
    store.upgrade()
