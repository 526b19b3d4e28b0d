"""The database under the ledger: its version, its append-only trace, its errors."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from peers.postgresql import PostgreSQLServer
from sqlalchemy import create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError

from service.domain.audit import Action, AuditRecord
from service.domain.delivery import DeliveryState
from service.domain.job import Instance, JobState
from service.storage.ledger import Ledger, LedgerError
from service.storage.ledger.database import Database
from service.storage.ledger.migrations import MIGRATIONS, known_revisions, latest_revision
from service.storage.ledger.tables import METADATA

Maker = Callable[..., Instance]


def test_the_migrations_make_the_tables_that_the_code_uses(ledger: Ledger, ledger_url: str) -> None:
    engine = create_engine(ledger_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()
    ledger.upgrade()  # once more changes nothing


def test_revisions_are_those_that_alembic_finds() -> None:
    """They are taken from the names of the files, so that a part need not import Alembic."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert known_revisions() == {each.revision for each in script.walk_revisions()}
    assert latest_revision() == script.get_current_head()


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


def migrate_further(url: str, folder: Path, statements: str) -> None:
    """Migrate a ledger as a newer version would: by one revision more than this one has."""
    copy = folder / "migrations"
    shutil.copytree(MIGRATIONS, copy)
    (copy / "versions" / "9999_newer.py").write_text(NEWER.format(statements=statements))
    config = Config()
    config.set_main_option("script_location", str(copy))
    engine = create_engine(url)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    engine.dispose()


NEWER: Final = """
import sqlalchemy as sa
from alembic import op

from service.storage.ledger.versions import works_with

revision, down_revision = "9999", "0013"
branch_labels = depends_on = None


def upgrade():
    op.add_column("jobs", sa.Column("newer", sa.String(8)))
    {statements}
"""


def test_a_version_works_with_a_newer_ledger_that_only_added_to_the_tables(
    ledger: Ledger, ledger_url: str, tmp_path: Path, instance: Maker
) -> None:
    migrate_further(ledger_url, tmp_path, 'works_with(op.get_bind(), revision, "0013")')
    ledger.upgrade()
    assert ledger.is_current()
    ledger.jobs.receive(instance(1))
    (job,) = ledger.jobs.lease("a/infer/1/", 1, lease_seconds=60, maximum_attempts=3)
    assert job.state is JobState.RECEIVED


@pytest.mark.parametrize(
    "statements",
    [
        "",
        'works_with(op.get_bind(), "9998", "0013")',
        'works_with(op.get_bind(), revision, "9999")',
    ],
)
def test_a_newer_ledger_that_did_not_say_so_is_refused(
    ledger: Ledger, ledger_url: str, tmp_path: Path, statements: str
) -> None:
    migrate_further(ledger_url, tmp_path, statements)
    with pytest.raises(LedgerError, match=r"9999.*newer"):
        ledger.upgrade()
    assert not ledger.is_current()


@pytest.mark.postgresql
@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_hold_every_name_is_refused_in_one_line(
    postgresql_server: PostgreSQLServer, encoding: str
) -> None:
    name = postgresql_server.create_database(encoding)
    ledger = Ledger(postgresql_server.url(name))
    try:
        with pytest.raises(LedgerError) as raised:
            ledger.upgrade()
    finally:
        ledger.close()
        postgresql_server.drop_database(name)
    said = str(raised.value)
    assert f"encoding {encoding}" in said
    assert "ENCODING 'UTF8'" in said
    assert "\n" not in said


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


def test_threads_that_write_at_once_take_turns(tmp_path: Path) -> None:
    """None of them waits in SQLite, which would refuse it at once here."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    database.upgrade()

    @event.listens_for(database.engine, "connect")
    def _no_patience(connection: Any, _record: object) -> None:  # noqa: ANN401 -- a DBAPI connection
        connection.execute("PRAGMA busy_timeout=0")

    database.engine.dispose()

    def write(number: int) -> None:
        with database.write() as connection:
            row = (
                "INSERT INTO audit (at, action, outcome, user_name, role, address, detail) "
                "VALUES (:at, 'sign-in', 'success', '', '', '', '{}')"
            )
            connection.execute(text(row), {"at": number})

    with ThreadPoolExecutor(40) as threads:
        list(threads.map(write, range(200)))
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit")).scalar_one() == 200
    database.close()


def test_a_thread_waits_for_its_turn_for_a_bounded_time(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ledger.sqlite3'}", busy_seconds=0.1)
    database.upgrade()

    def write() -> None:
        with database.write():
            pass

    with ThreadPoolExecutor(1) as other:
        with (
            database.write(),
            pytest.raises(LedgerError, match=r"^Other threads wrote for 0\.1 seconds"),
        ):
            other.submit(write).result()
        other.submit(write).result()
    database.close()
