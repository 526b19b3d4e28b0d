"""Retention against what happens at the same time, and against kill -9, on both databases."""

import contextlib
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from support.migrated_ledger import open_ledger
from support.purged import forget_finished
from support.system.clock import Clock
from synthetic.objects import make_cr

from service.commitment.evaluation import evaluate
from service.domain.delivery import Reference
from service.domain.job import Job, JobState, Receipt, Source, TransitionError
from service.domain.reasons import Reason
from service.receiving.ingest import Ingest
from service.settings import Settings
from service.settings.sections import SpoolSettings
from service.storage.ledger import Ledger
from service.storage.retention import DAY_SECONDS, purge
from service.storage.spool import Spool

JOBS = 24
FOREVER = 10_000 * DAY_SECONDS


class House:
    """A ledger and a spool; every process or thread opens the ledger for itself."""

    def __init__(self, folder: Path, url: str, clock: Clock) -> None:
        self.clock = clock
        self.url = url
        self.ledger = open_ledger(url, clock)
        self.spool = Spool(folder / "state" / "spool")
        self.spool.prepare()
        self.settings = Settings(state_dir=folder / "state", spool=SpoolSettings(keep_days=7))

    def receive(self, dataset: Dataset) -> Receipt:
        arrived = self.spool.incoming / uuid.uuid4().hex
        dataset.save_as(arrived, enforce_file_format=True)
        ingest = Ingest(self.spool, self.ledger, lambda: None)
        receipt = ingest.receive(arrived, source=Source.UPLOAD)
        assert isinstance(receipt, Receipt), receipt
        return receipt

    def finish(self, dataset: Dataset) -> str:
        """Receive an instance and end its job."""
        job_id = self.receive(dataset).job_id
        (job,) = self.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
        self.ledger.jobs.not_analysed(job, Reason.VIEW)
        return job_id

    def purge(self, at_once: int = 1_000) -> int:
        return purge(self.settings, self.ledger, self.spool, at_once=at_once).by_age

    def job(self, job_id: str) -> Job:
        job = self.ledger.queries.job(job_id)
        assert job is not None
        return job

    def has_bytes(self, job_id: str) -> bool:
        return self.spool.inbox(job_id).is_file()


@pytest.fixture
def house(tmp_path: Path, ledger_url: str, clock: Clock) -> Iterator[House]:
    made = House(tmp_path, ledger_url, clock)
    yield made
    made.ledger.close()


@pytest.fixture
def datasets() -> list[Dataset]:
    return [make_cr(rows=8, columns=8) for _ in range(JOBS)]


def at_once(*tasks: Callable[[], Any]) -> list[Any]:
    """Run tasks in threads that begin together; return their results."""
    barrier = threading.Barrier(len(tasks))

    def run(task: Callable[[], Any]) -> Any:  # noqa: ANN401 -- any result
        barrier.wait()
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(run, tasks))


def test_a_job_is_either_analysed_again_with_its_bytes_or_refused_without(
    house: House, datasets: list[Dataset]
) -> None:
    jobs = [house.finish(each) for each in datasets]
    house.clock.pass_seconds(8 * DAY_SECONDS)

    def reanalyse() -> set[str]:
        taken = set()
        for job_id in reversed(jobs):  # the oldest is purged first: they meet in the middle
            with contextlib.suppress(TransitionError):
                house.ledger.jobs.reanalyse(job_id)
                taken.add(job_id)
        return taken

    def take() -> int:
        return sum(house.purge(at_once=1) for _ in jobs)

    again, _ = at_once(reanalyse, take)
    house.purge()
    for job_id in jobs:
        job = house.job(job_id)
        is_in_flight = job_id in again
        assert (job.state is JobState.RECEIVED) == is_in_flight
        assert (job.purged_at is None) == is_in_flight == house.has_bytes(job_id)


def test_a_repeated_instance_gets_its_bytes_back_or_finds_them(
    house: House, datasets: list[Dataset]
) -> None:
    jobs = [house.finish(each) for each in datasets]
    house.clock.pass_seconds(8 * DAY_SECONDS)
    assert house.purge(at_once=JOBS // 2) == JOBS // 2

    def send(some: list[Dataset]) -> list[Receipt]:
        return [house.receive(each) for each in some]

    receipts, twice, purged = at_once(
        lambda: send(datasets),
        lambda: send(list(reversed(datasets))),
        lambda: sum(house.purge(at_once=1) for _ in jobs),
    )
    assert purged <= JOBS // 2, "what was stored again is kept as long from then"
    assert all(each.repeated for each in receipts + twice)
    for job_id in jobs:
        job = house.job(job_id)
        assert (job.purged_at is None) == house.has_bytes(job_id)
    house.clock.pass_seconds(1)
    assert [house.receive(each).job_id for each in datasets] == jobs
    assert all(house.has_bytes(job_id) for job_id in jobs)
    assert house.ledger.queries.job_counts().balance == 0
    assert sorted(path.stem for path in house.spool.files()) == sorted(jobs), "no other file"


def test_bytes_that_were_stored_again_are_analysed_again(house: House) -> None:
    source = make_cr(rows=8, columns=8)
    job_id = house.finish(source)
    house.clock.pass_seconds(8 * DAY_SECONDS)
    house.purge()
    with pytest.raises(TransitionError, match="bytes are gone"):
        house.ledger.jobs.reanalyse(job_id)
    receipt = house.receive(source)
    assert (receipt.job_id, receipt.repeated) == (job_id, True)
    at_this_moment = {event.name for event in house.ledger.queries.trace(job_id)[-2:]}
    assert at_this_moment == {"received-again", "stored-again"}
    assert house.ledger.jobs.reanalyse(job_id).state is JobState.RECEIVED
    assert house.has_bytes(job_id)


def test_an_instance_whose_job_was_forgotten_is_a_new_job(house: House) -> None:
    source = make_cr(rows=8, columns=8)
    first = house.finish(source)
    house.spool.discard(first)
    assert forget_finished(house.ledger) == [first]
    receipt = house.receive(source)
    assert (receipt.job_id == first, receipt.repeated) == (False, False)
    with pytest.raises(LookupError):
        house.ledger.retention.restore(first, lambda: pytest.fail("there is no such job"))


def test_nothing_is_committed_that_is_being_discarded(
    house: House, datasets: list[Dataset]
) -> None:
    jobs = dict(zip((str(each.SOPInstanceUID) for each in datasets), datasets, strict=True))
    ids = {str(each.SOPInstanceUID): house.finish(each) for each in datasets}
    house.clock.pass_seconds(8 * DAY_SECONDS)

    def commit() -> list[str]:
        committed = []
        for uid in reversed(jobs):
            named = (Reference(str(jobs[uid].SOPClassUID), uid),)
            found = evaluate(house.ledger, house.spool, "1.2.3", named)
            committed += [each.sop_instance_uid for each in found.result.committed]
            assert bool(found.result.failed) != bool(found.result.committed)
        return committed

    committed, _ = at_once(commit, lambda: sum(house.purge(at_once=1) for _ in jobs))
    house.purge()
    for uid, job_id in ids.items():
        assert house.has_bytes(job_id) == (uid in committed)


def test_a_kill_between_mark_and_discard_is_made_up_for(
    house: House, datasets: list[Dataset]
) -> None:
    jobs = [house.finish(each) for each in datasets[:4]]
    house.clock.pass_seconds(8 * DAY_SECONDS)
    house.ledger.close()  # the child opens its own connections
    child = os.fork()
    if not child:
        _purge_until_killed(house)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert [house.job(job_id).purged_at is None for job_id in jobs] == [False] * 4
    left = [house.has_bytes(job_id) for job_id in jobs]
    assert left.count(True) >= 2, "it was killed after the mark and before the last file"
    for job_id in jobs:
        with pytest.raises(TransitionError, match="bytes are gone"):
            house.ledger.jobs.reanalyse(job_id)
    assert house.purge() == 0
    assert not any(house.has_bytes(job_id) for job_id in jobs)


def _purge_until_killed(house: House) -> None:
    """Apply retention, and be killed as the second file is about to be removed."""
    left = iter((False, True))

    class Killed(Spool):
        """A double of the spool: its second removal is the end of the process."""

        def discard(self, job_id: str) -> int:
            if next(left):
                os.kill(os.getpid(), signal.SIGKILL)
            return super().discard(job_id)

    try:
        purge(house.settings, Ledger(house.url, house.clock), Killed(house.spool.root))
    finally:
        os._exit(1)


def test_a_crash_before_the_bytes_are_back_leaves_nothing_behind(house: House) -> None:
    job_id = house.finish(make_cr(rows=8, columns=8))
    house.clock.pass_seconds(8 * DAY_SECONDS)
    house.purge()

    def place_and_die() -> None:
        house.spool.inbox(job_id).write_bytes(b"bytes")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        house.ledger.retention.restore(job_id, place_and_die)
    assert house.job(job_id).purged_at is not None
    house.purge()
    assert not house.has_bytes(job_id)


def test_the_oldest_go_first_and_their_order_is_of_finishing(
    house: House, datasets: list[Dataset]
) -> None:
    jobs = []
    for each in datasets[:5]:
        jobs.append(house.finish(each))
        house.clock.pass_seconds(1)
    assert house.ledger.retention.mark_oldest(FOREVER, 2) == jobs[:2]
    assert house.ledger.retention.mark_older(1.5, 2) == [jobs[2], jobs[3]]
    assert sorted(house.ledger.retention.marked(9)) == sorted(jobs[:4])
