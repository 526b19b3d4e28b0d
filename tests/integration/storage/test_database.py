"""The database under the ledger: its version, its append-only trace, its errors."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from service.domain.audit import Action, AuditRecord
from service.domain.delivery import DeliveryState
from service.domain.job import Instance, JobState
from service.storage.ledger import Ledger, LedgerError
from service.storage.ledger.database import MIGRATIONS, Database
from service.storage.ledger.tables import METADATA

Maker = Callable[..., Instance]


def test_the_migrations_make_the_tables_that_the_code_uses(ledger: Ledger, ledger_url: str) -> None:
    engine = create_engine(ledger_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()
    ledger.upgrade()  # once more changes nothing


OF_THE_FIRST_VERSION = (
    (
        "INSERT INTO jobs (id, sop_instance_uid, sop_class_uid, series_instance_uid, "
        "study_instance_uid, transfer_syntax_uid, sha256, size_bytes, calling_ae_title, source, "
        "state, attempt, attempt_base, received_at) "
        "VALUES ('a', '1.2', '1.3', '1.4', '1.5', '1.6', 'b', 10, 'AE', 'dicom', 'reported', "
        "1, 0, 7)"
    ),
    "INSERT INTO outputs VALUES ('a', 'sr', '1.7', '1.8')",
    (
        "INSERT INTO deliveries (job_id, kind, destination, state, attempt, refusals, due_at, "
        "since) VALUES ('a', 'sr', 'pacs', 'pending', 0, 0, 7, 7)"
    ),
    "INSERT INTO events (job_id, at, name, detail) VALUES ('a', 7, 'received', '{}')",
)


JOB_OF_BEFORE: Final = (
    "INSERT INTO jobs (id, sop_instance_uid, sop_class_uid, series_instance_uid, "
    "study_instance_uid, transfer_syntax_uid, sha256, size_bytes, calling_ae_title, source, "
    "faults, attempt, attempt_base, state, received_at, asked_at, reported_at, finished_at) "
)
OF_BEFORE_THE_CLOCK: Final = (
    JOB_OF_BEFORE + "VALUES ('a', '1.2', '1.3', '1.4', '1.5', '1.6', 'b', 10, 'AE', 'dicom', "
    "0, 1, 0, 'delivered', :at, :at, :at, :at)",
    JOB_OF_BEFORE + "VALUES ('b', '1.2', '1.3', '1.4', '1.5', '1.6', 'c', 10, 'AE', 'dicom', "
    "0, 1, 0, 'received', :at, :at, :at - 60, NULL)",
    "INSERT INTO events (job_id, at, name, detail) VALUES ('a', :at, 'received', '{}')",
)


def test_an_upgrade_from_the_first_version_keeps_all_rows(ledger_url: str) -> None:
    store = Database(ledger_url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with store.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    with store.write() as connection:
        for statement in OF_THE_FIRST_VERSION:
            connection.execute(text(statement))
    store.close()
    ledger = Ledger(ledger_url)
    ledger.upgrade()
    (job,) = ledger.queries.recent()
    assert (job.state, job.asked_at) == (JobState.REPORTED, 7)
    assert (job.other, job.population) == (None, None)
    (output,) = ledger.queries.outputs("a")
    (delivery,) = ledger.queries.deliveries("a")
    assert (output.kind, delivery.state) == ("sr", DeliveryState.PENDING)
    assert [event.name for event in ledger.queries.trace("a")] == ["received"]
    ledger.close()


def test_migrations_can_be_undone_and_keep_all_rows(
    ledger: Ledger, ledger_url: str, instance: Maker
) -> None:
    job_id = ledger.jobs.receive(instance()).job_id
    store = Database(ledger_url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with store.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0006")
        columns = {each["name"] for each in inspect(connection).get_columns("jobs")}
        tables = set(inspect(connection).get_table_names())
        connection.commit()
    store.close()
    assert columns.isdisjoint({"arrived_at", "kept_since", "discarded_at", "promised_at"})
    assert "clocks" not in tables
    ledger.upgrade()
    (job,) = ledger.queries.recent()
    assert job.id == job_id


def test_an_upgrade_goes_on_where_the_wall_clock_was(ledger_url: str) -> None:
    """Rows of before are as old as they were, and scheduling time is that of the last event."""
    store = Database(ledger_url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with store.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0007")
        connection.commit()
    at = time.time() - 600
    with store.write() as connection:
        for statement in OF_BEFORE_THE_CLOCK:
            connection.execute(text(statement), {"at": at})
    store.close()
    ledger = Ledger(ledger_url)
    ledger.upgrade()
    assert ledger.now() == pytest.approx(time.time(), abs=30)
    assert ledger.retention.mark_older(900, 9) == []
    assert ledger.retention.mark_older(500, 9) == ["a"]
    again = ledger.queries.job("b")
    assert again is not None
    assert (again.asked_at, again.reported_at) == (pytest.approx(at), None)
    ledger.close()


def test_several_processes_may_upgrade_at_once(ledger_url: str) -> None:
    def upgrade(_: int) -> int:
        ledger = Ledger(ledger_url)
        ledger.upgrade()
        received = ledger.queries.job_counts().received
        ledger.close()
        return received

    with ThreadPoolExecutor(6) as processes:
        assert list(processes.map(upgrade, range(6))) == [0] * 6


def test_the_trace_is_append_only(ledger: Ledger, ledger_url: str, instance: Maker) -> None:
    ledger.jobs.receive(instance())
    engine = create_engine(ledger_url)
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text("UPDATE events SET name = 'delivered'"))
    engine.dispose()


@pytest.mark.parametrize("change", ["UPDATE audit SET user_name = 'x'", "DELETE FROM audit"])
def test_the_audit_trail_is_append_only(ledger: Ledger, ledger_url: str, change: str) -> None:
    ledger.audit.append(AuditRecord(at=7, action=Action.VIEW, user="ann", detail={"n": 1}))
    engine = create_engine(ledger_url)
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text(change))
    engine.dispose()
    (record,) = ledger.audit.recent()
    assert (record.user, record.action, record.detail) == ("ann", Action.VIEW, {"n": 1})


def test_a_ledger_of_a_newer_version_is_refused_in_plain_words(
    ledger: Ledger, ledger_url: str
) -> None:
    engine = create_engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(LedgerError, match=r"9999.*newer"):
        ledger.upgrade()


def test_a_ledger_that_cannot_be_reached_says_so_in_one_line() -> None:
    ledger = Ledger("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(LedgerError) as raised:
        ledger.upgrade()
    assert "\n" not in str(raised.value)
    ledger.close()


def test_a_reader_sees_one_moment_while_writers_go_on(ledger: Ledger, instance: Maker) -> None:
    def write(first: int) -> None:
        for n in range(first, first + 25):
            ledger.jobs.receive(instance(n))

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, first) for first in (0, 100)]
        balances = [ledger.queries.job_counts().balance for _ in range(30)]
        for writer in writers:
            writer.result()
    assert balances == [0] * 30
    assert ledger.queries.job_counts().received == 50


def test_a_process_is_alive_while_it_beats(ledger: Ledger, clock) -> None:  # noqa: ANN001
    ledger.heartbeats.beat("infer", "host/infer/1/", ready=False)
    ledger.heartbeats.beat("infer", "host/infer/1/", ready=True)
    (beat,) = ledger.heartbeats.alive(20)
    assert (beat.role, beat.ready) == ("infer", True)
    clock.pass_seconds(21)
    assert ledger.heartbeats.alive(20) == []
    ledger.heartbeats.beat("infer", "host/infer/1/", ready=True)
    ledger.heartbeats.stop("host/infer/1/")
    assert ledger.heartbeats.alive(20) == []
