"""Instances that arrive at the same time share a transaction, and none fails with another."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError
from support.migrated_ledger import open_ledger

from service.domain.job import Instance, Receipt
from service.storage.ledger import Ledger, LedgerError
from service.storage.ledger.clock import same
from service.storage.ledger.database import Database
from service.storage.ledger.prepared import PreparedInsert
from service.storage.ledger.tables import EVENTS
from service.storage.ledger.work.receipts import Receipts

Maker = Callable[..., Instance]
MANY = 8


class Counted:
    """Receipts on a ledger of their own, with the transactions that they committed."""

    def __init__(self, url: str, at_once: int) -> None:
        self._ledger = open_ledger(url)
        self.database = Database(url)
        self._asked = threading.Semaphore(0)
        self.receipts = Receipts(self.database, same(self._now), at_once)
        self.commits = 0
        event.listen(self.database.engine, "commit", self._count)

    def record_at_once(self, instances: list[Instance]) -> list[Receipt | LedgerError]:
        """Record instances from a thread each, while no transaction can be written."""
        with ThreadPoolExecutor(len(instances)) as pool:
            with self._blocked():
                answers = [pool.submit(self._record, each) for each in instances]
                for _ in instances:
                    assert self._asked.acquire(timeout=60)
                time.sleep(0.2)  # the last has the time, and queues now
            return [each.result(60) for each in answers]

    def jobs(self) -> int:
        return self._ledger.queries.job_counts().received

    def balance(self) -> int:
        return self._ledger.queries.job_counts().balance

    def close(self) -> None:
        self.database.close()
        self._ledger.close()

    def _record(self, instance: Instance) -> Receipt | LedgerError:
        try:
            return self.receipts.record(instance, None)
        except LedgerError as exc:
            return exc

    def _now(self) -> float:
        self._asked.release()
        return 1_000_000.0

    def _count(self, _connection: Any) -> None:  # noqa: ANN401 -- SQLAlchemy's
        self.commits += 1

    @contextmanager
    def _blocked(self) -> Iterator[None]:
        """Hold the lock that each transaction needs, as another process may."""
        other = Database(self.database.url.render_as_string(hide_password=False))
        with other.write() as connection:  # of SQLite this is the lock itself
            if not other.is_sqlite:
                connection.execute(text("LOCK TABLE jobs IN EXCLUSIVE MODE"))
            yield
        other.close()


@pytest.fixture
def counted(ledger_url: str) -> Iterator[Callable[[int], Counted]]:
    opened: list[Counted] = []

    def make(at_once: int) -> Counted:
        opened.append(Counted(ledger_url, at_once))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def receipts_of(answers: list[Receipt | LedgerError]) -> list[Receipt]:
    assert [each for each in answers if isinstance(each, LedgerError)] == []
    return [each for each in answers if isinstance(each, Receipt)]


def test_instances_that_wait_for_a_transaction_share_the_next_one(
    counted: Callable[[int], Counted], instance: Maker
) -> None:
    here = counted(64)
    receipts = receipts_of(here.record_at_once([instance(n) for n in range(MANY)]))
    assert {each.job_id for each in receipts} == {instance(n).job_id for n in range(MANY)}
    assert [each.repeated for each in receipts] == [False] * MANY
    assert here.commits < MANY
    assert (here.jobs(), here.balance()) == (MANY, 0)


def test_each_has_a_transaction_of_its_own_where_one_at_once_is_allowed(
    counted: Callable[[int], Counted], instance: Maker
) -> None:
    here = counted(1)
    receipts_of(here.record_at_once([instance(n) for n in range(MANY)]))
    assert here.commits == MANY
    assert (here.jobs(), here.balance()) == (MANY, 0)


def test_repeats_and_corrections_within_a_transaction_refer_to_its_first(
    counted: Callable[[int], Counted], instance: Maker
) -> None:
    here = counted(64)
    same_bytes = [instance(1, copy=n) for n in range(MANY // 2)]
    others = [instance(1, copy=100 + n, bytes_=f"{n}") for n in range(MANY // 2)]
    receipts = receipts_of(here.record_at_once(same_bytes + others))
    assert len({each.job_id for each in receipts[: len(same_bytes)]}) == 1
    assert sum(each.repeated for each in receipts) == len(same_bytes) - 1
    new = {each.job_id for each in receipts}
    (first,) = [each.job_id for each in receipts if each.corrects is None and not each.repeated]
    assert first in new
    assert {each.corrects for each in receipts if each.corrects} == {first}
    assert (here.jobs(), here.balance()) == (1 + len(others), 0)


def test_a_job_that_is_named_by_a_sha256_is_known_by_it(ledger: Ledger, instance: Maker) -> None:
    first = ledger.jobs.receive(instance(1, bytes_="a"))
    named = {"digest": "blake3:" + "b" * 56}
    again = ledger.jobs.receive(instance(1, copy=1, **named), sha256=lambda: "a" * 64)
    assert (again.job_id, again.repeated) == (first.job_id, True)
    other = ledger.jobs.receive(instance(1, copy=2, **named), sha256=lambda: "c" * 64)
    assert (other.corrects, other.repeated) == (first.job_id, False)
    third = ledger.jobs.receive(instance(1, copy=3, **named), sha256=lambda: "d" * 64)
    assert (third.job_id, third.repeated) == (other.job_id, True)
    assert ledger.queries.job_counts().received == 2


def test_bytes_that_cannot_be_read_again_are_recorded_as_neither(
    ledger: Ledger, instance: Maker
) -> None:
    def unreadable() -> str:
        raise OSError("an unreadable file")

    ledger.jobs.receive(instance(1, bytes_="a"))
    with pytest.raises(LedgerError):
        ledger.jobs.receive(instance(1, copy=1, bytes_="b"), sha256=unreadable)
    assert ledger.queries.job_counts().received == 1
    named = instance(2, digest="blake3:" + "b" * 56)
    ledger.jobs.receive(named, sha256=unreadable)  # nobody needs its SHA-256
    ledger.jobs.receive(named, sha256=unreadable)
    assert ledger.queries.job_counts().received == 2


def test_one_that_cannot_be_recorded_fails_no_other(
    counted: Callable[[int], Counted], instance: Maker
) -> None:
    here = counted(64)
    wrong = instance(99, source=None)
    answers = here.record_at_once([wrong, *(instance(n) for n in range(MANY))])
    assert isinstance(answers[0], LedgerError)
    assert len(receipts_of(answers[1:])) == MANY
    assert (here.jobs(), here.balance()) == (MANY, 0)


def test_the_same_bytes_on_two_listeners_at_once_are_one_job(
    ledger_url: str, ledger: Ledger, instance: Maker
) -> None:
    other = Ledger(ledger_url)
    with ThreadPoolExecutor(2 * MANY) as pool:
        answers = [
            pool.submit((ledger, other)[n % 2].jobs.receive, instance(1, copy=n))
            for n in range(2 * MANY)
        ]
        receipts = [each.result(60) for each in answers]
    other.close()
    assert len({each.job_id for each in receipts}) == 1
    assert sum(not each.repeated for each in receipts) == 1
    assert ledger.queries.job_counts().balance == 0


def test_sqlite_undoes_a_statement_from_memory(tmp_path: Path, instance: Maker) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    ledger.jobs.receive(instance(1))
    with ledger._database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA temp_store").scalar() == 2  # in memory
    ledger.close()


def test_a_row_that_the_database_refuses_fails_with_its_kind_and_without_its_values(
    ledger: Ledger,
) -> None:
    insert = PreparedInsert(EVENTS, ("job_id", "at", "name", "detail"))
    row = {"job_id": "of nobody", "at": 1.0, "name": "received", "detail": {"size_bytes": 1}}
    with (
        pytest.raises(LedgerError) as raised,
        ledger._database.write() as connection,
    ):
        insert.run(connection, [row])
    assert isinstance(raised.value.__cause__, IntegrityError)
    assert "of nobody" not in str(raised.value)
    assert "of nobody" not in str(raised.value.__cause__.params)


@pytest.mark.postgresql
def test_a_connection_that_was_lost_is_made_anew(postgresql_url: str, instance: Maker) -> None:
    ledger, other = open_ledger(postgresql_url), Database(postgresql_url)
    ledger.jobs.receive(instance(1))
    with other.write() as connection:
        ended = connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        )
        assert True in ended.scalars().all()
    other.close()
    with suppress(LedgerError):
        ledger.jobs.receive(instance(2))
    assert ledger.jobs.receive(instance(3)).job_id == instance(3).job_id
    ledger.close()
